"""Leases of cards: one job per card, waiting jobs, masks; all with fake cards and real processes."""

import os
import subprocess
import sys
import time
from itertools import pairwise

import pytest

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
    assert errors.decode().startswith("error: this world asks for device 'cuda', but no CUDA card")
    assert errors.count(b"\n") == 1


def test_the_exit_code_of_the_command_is_kept(tmp_path):
    assert leased(tmp_path, "0", sys.executable, "-c", "raise SystemExit(7)").wait(timeout=30) == 7


def test_a_command_that_does_not_exist_is_one_sentence(tmp_path):
    job = leased(tmp_path, "0", "no-such-command")
    _, errors = job.communicate(timeout=30)
    assert job.returncode == 127
    assert errors.decode() == "error: cannot run 'no-such-command': No such file or directory.\n"
