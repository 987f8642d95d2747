"""`make`: what is no target is said before anything runs, and CPU=1 installs without CUDA.

Each test runs in a copy of the Makefile without an environment, and prints commands instead of running them.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# Without the flags and the level of `make test`: a make inside another prints which folder it enters.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


@pytest.fixture
def folder(tmp_path):
    """A folder as of a fresh clone, with a folder `tests`, which plain make would call up to date."""
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "tests").mkdir()
    return tmp_path


def make(folder, *words):
    """What `make -n` prints, and its exit code."""
    command = ["make", "-n", *words, f"PYTHON={sys.executable}"]
    done = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("tests", "test"), ("tests slow", "test"), ("test slwo", "slow"), ("instal", "install"), ("lnit", "lint")],
)
def test_a_near_miss_of_a_target_is_one_sentence_and_exit_code_two(folder, typed, meant):
    code, said = make(folder, *typed.split())
    wrong = next(word for word in typed.split() if word not in ("test", "slow"))
    assert code == 2
    assert re.fullmatch(rf".*there is no target '{wrong}'; did you mean '{meant}'\?\.?  Stop\.\n", said)


def test_what_is_like_no_target_lists_them(folder):
    code, said = make(folder, "xyz")
    assert code == 2 and "there is no target 'xyz'; known: all install test slow" in said


def test_help_has_a_line_for_each_target(folder):
    done = subprocess.run(["make", "help"], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    named = re.search(r"^TARGETS := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split()
    assert sorted(line.split()[0] for line in done.stdout.splitlines()) == sorted(named)


def test_the_cpu_installation_takes_the_locks_torch_from_pytorchs_index_and_no_cuda_package(folder):
    code, said = make(folder, "install", "CPU=1")
    lock = (ROOT / "requirements.lock").read_text().splitlines()
    builds = [line for line in lock if line.startswith(("torch==", "torchvision=="))]
    assert code == 0 and len(builds) == 2
    assert re.search(rf"--index-url https://download.pytorch.org/whl/cpu .*{' '.join(builds)}", said, re.DOTALL)
    left_out = re.compile(re.search(r"grep -viE '(.*)' requirements.lock", said)[1], re.IGNORECASE)
    kept = [line for line in lock if not left_out.search(line)]
    assert set(builds) < set(kept) and not [line for line in kept if re.match("nvidia|cuda|triton", line)]
    assert len(kept) > len(lock) - 30
    assert "-r .venv/requirements.cpu" in said and "-r requirements.lock" not in said


@pytest.mark.parametrize("words", [[], ["CPU=0"], ["CPU="]])
def test_without_the_variable_the_whole_lock_is_installed(folder, words):
    _, said = make(folder, "install", *words)
    assert "-r requirements.lock" in said and "whl/cpu" not in said


def test_the_environment_keeps_the_choice_and_does_not_change_it_silently(folder):
    (folder / ".venv").mkdir()
    (folder / ".venv/.cpu").touch()
    assert "whl/cpu" in make(folder, "test")[1]
    (folder / ".venv/.cpu").unlink()
    (folder / ".venv/.installed").touch()
    code, said = make(folder, "install", "CPU=1")
    assert code == 2 and ".venv has the CUDA builds; remove it (rm -r .venv)" in said
