"""Leases of cards: one job per card, waiting jobs, masks; all with fake cards and real processes."""

import os
import subprocess
import sys
import time
from itertools import pairwise

import pytest

from tests.workflow.conftest import copy_project
from workflow import gpu

WRITE_CARD = (
    "import os, pathlib, sys, time; "
    "card = os.environ['CUDA_VISIBLE_DEVICES']; start = time.monotonic(); time.sleep(0.3); "
    "pathlib.Path(sys.argv[1]).write_text(f'{card} {start} {time.monotonic()}')"
)


def leased(locks, mask, *command):
    """Start `python -m workflow.gpu` on the fake cards of a mask."""
    environ = dict(os.environ, CUDA_VISIBLE_DEVICES=mask)
    words = [sys.executable, "-m", "workflow.gpu", "--locks", str(locks), "--", *command]
    return subprocess.Popen(words, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_four_jobs_on_two_cards_never_share_a_card(tmp_path):
    files = [tmp_path / f"job{i}" for i in range(4)]
    jobs = [
        leased(tmp_path / "locks", "3,5", sys.executable, "-c", WRITE_CARD, str(file))
        for file in files
    ]
    assert [job.wait(timeout=60) for job in jobs] == [0, 0, 0, 0]
    spans = {}
    for card, start, end in (file.read_text().split() for file in files):
        spans.setdefault(card, []).append((float(start), float(end)))
    assert set(spans) == {"3", "5"}
    for uses in spans.values():
        uses.sort()
        assert all(first[1] <= second[0] for first, second in pairwise(uses))


MEET = (
    "import os, pathlib, sys, time; "
    "here = pathlib.Path(sys.argv[1]); card = os.environ['CUDA_VISIBLE_DEVICES']; "
    "(here / f'{os.getpid()} {card}').touch(); end = time.monotonic() + 30\n"
    "while len(list(here.iterdir())) < 4 and time.monotonic() < end: time.sleep(0.05)\n"
    "sys.exit(len(list(here.iterdir())) != 4)"
)


def test_four_jobs_at_once_hold_four_different_cards_of_the_mask(tmp_path):
    here = tmp_path / "here"
    here.mkdir()
    jobs = [
        leased(tmp_path / "locks", "2,3,5,7", sys.executable, "-c", MEET, str(here))
        for _ in range(4)
    ]
    # each waits for the others while it holds its card: none ends unless all four run together
    assert [job.wait(timeout=60) for job in jobs] == [0, 0, 0, 0]
    assert sorted(file.name.split()[1] for file in here.iterdir()) == ["2", "3", "5", "7"]


SNAKEFILE = """
rule all:
    input: expand("job{i}", i=range(4))

rule one:
    output: "job{i}"
    resources: gpu=1
    shell: "PYTHON -m workflow.gpu --locks locks -- PYTHON job.py {output}"
"""


@pytest.mark.parametrize(("cards", "together"), [(4, 4), (2, 2)])
def test_snakemake_runs_as_many_jobs_as_it_is_given_gpus_each_on_a_card_of_its_own(
    tmp_path, snakemake, monkeypatch, cards, together
):
    (tmp_path / "Snakefile").write_text(SNAKEFILE.replace("PYTHON", sys.executable))
    (tmp_path / "job.py").write_text(WRITE_CARD.replace("; ", "\n").replace("0.3", "1.5"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    done = snakemake("all", "--cores", "4", "--resources", f"gpu={cards}", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    spans = [(tmp_path / f"job{i}").read_text().split() for i in range(4)]
    times = [(float(start), float(end)) for _, start, end in spans]
    at_once = [sum(start <= moment < end for start, end in times) for moment, _ in times]
    assert max(at_once) == together
    assert len({card for card, _, _ in spans}) == together


def test_a_killed_job_frees_its_card(tmp_path):
    job = leased(
        tmp_path, "0", sys.executable, "-c", "import time; print(1, flush=True); time.sleep(60)"
    )
    job.stdout.readline()  # our own line: the card is leased
    assert not free(tmp_path / "0.lock")
    job.kill()
    job.wait(timeout=10)
    deadline = time.monotonic() + 5
    while not free(tmp_path / "0.lock") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert free(tmp_path / "0.lock")


def free(path):
    import fcntl

    with open(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


@pytest.mark.parametrize(
    ("mask", "cards"),
    [
        ("2", ["2"]),
        ("0, 1", ["0", "1"]),
        ("GPU-8f,MIG-1/2", ["GPU-8f", "MIG-1/2"]),
        ("", []),
        ("-1", []),
        ("0,-1,1", ["0"]),
        ("1,0,1", ["1", "0"]),
    ],
)
def test_an_existing_mask_is_the_only_choice(mask, cards):
    assert gpu.visible_cards({"CUDA_VISIBLE_DEVICES": mask}) == cards


def test_without_a_mask_nvidia_smi_is_asked(monkeypatch):
    answer = subprocess.CompletedProcess([], 0, stdout="0\n1\n")
    monkeypatch.setattr(gpu.subprocess, "run", lambda *_, **__: answer)
    assert gpu.visible_cards({}) == ["0", "1"]


def test_without_a_driver_there_is_no_card(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert gpu.visible_cards({}) == []


def test_no_card_is_one_sentence_and_exit_code_two(tmp_path):
    job = leased(tmp_path, "", sys.executable, "-c", "pass")
    _, errors = job.communicate(timeout=30)
    assert job.returncode == 2
    assert errors.decode().startswith("error: the device is 'cuda', but no CUDA card")
    assert errors.count(b"\n") == 1


def test_cards_are_counted_as_nvidia_smi_counts_them(tmp_path, monkeypatch):
    show = "import os; print(os.environ['CUDA_DEVICE_ORDER'])"
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    output, _ = leased(tmp_path, "1", sys.executable, "-c", show).communicate(timeout=30)
    assert output.decode().splitlines() == ["card 1 leased of 1 (1)", "PCI_BUS_ID"]
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "FASTEST_FIRST")  # whoever chose the mask knows
    output, _ = leased(tmp_path, "1", sys.executable, "-c", show).communicate(timeout=30)
    assert output.decode().endswith("FASTEST_FIRST\n")


def test_the_exit_code_of_the_command_is_kept(tmp_path):
    assert leased(tmp_path, "0", sys.executable, "-c", "raise SystemExit(7)").wait(timeout=30) == 7


def test_a_command_that_does_not_exist_is_one_sentence(tmp_path):
    job = leased(tmp_path, "0", "no-such-command")
    _, errors = job.communicate(timeout=30)
    assert job.returncode == 127
    assert errors.decode() == "error: cannot run 'no-such-command': No such file or directory.\n"


def test_a_run_here_that_needs_a_card_stops_before_its_first_job(
    root, tmp_path, snakemake, monkeypatch
):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    folder = copy_project(root, tmp_path)

    def asked(*words):
        device = ["--cores", "2", "--config", "device=cuda", "results=results/card"]
        return snakemake(*words, *device, cwd=folder)

    sentence = "error: the device is 'cuda', but no CUDA card is visible here"
    stopped = asked("ablation_global")
    assert stopped.returncode != 0 and sentence in stopped.stdout
    assert "Traceback" not in stopped.stdout and "rule references:" not in stopped.stdout
    # a plan for a cluster is made anywhere, and jobs without a card run anywhere
    planned = asked("ablation_global", "-n")
    assert planned.returncode == 0 and sentence not in planned.stdout
    assert asked("results/card/runs/dog2cat/nada-global/seed0/spec.json").returncode == 0
    assert sentence in asked("ablation_global").stdout  # and no lock was left
