"""An interrupted run resumes and ends with the bytes of an uninterrupted one."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nada.run.steps import Steps
from tests.baselines.nada_runs import ADAPTIVE, MAPPER

ROOT = Path(__file__).parents[2]




# --- interruption


@pytest.fixture
def heeds_ctrl_c():
    """Python as it is in a terminal: a job in a shell's background ignores Ctrl-C from its start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt_at(monkeypatch, step, action):
    """Let `action` happen once, when the run reports `step`."""
    original = Steps.report

    def report(self, *values):
        original(self, *values)
        if self.step == step:
            monkeypatch.setattr(Steps, "report", original)
            action()

    monkeypatch.setattr(Steps, "report", report)


@pytest.mark.parametrize(
    "number, code, word",
    [(signal.SIGTERM, 143, "terminated"), (signal.SIGINT, 130, "interrupted")],
)
def test_an_interrupted_run_says_where_its_state_lies_and_resumes_to_the_same_bytes(
    world, heeds_ctrl_c, monkeypatch, capsys, number, code, word
):
    run_spec = world.run_spec(hyperparameters=ADAPTIVE)
    world.adapt("whole", run_spec)
    interrupt_at(monkeypatch, 5, lambda: os.kill(os.getpid(), number))
    assert world.adapt("run", run_spec) == code
    message = capsys.readouterr().err
    (state,) = (world.folder / "state").iterdir()
    assert message.startswith(f"{word}: ") and message.count("\n") == 1
    assert f"state/{state.name}; the same command resumes after step 4" in message
    assert [p.name for p in (world.folder / "run").iterdir()] == ["spec.json"]

    assert world.adapt("run", run_spec) == 0
    assert "resuming after step 4" in capsys.readouterr().out
    assert world.bytes_of("run") == world.bytes_of("whole")


@pytest.mark.parametrize("code_pool", [0, 6])
@pytest.mark.parametrize("optimiser", ["ranger", "radam"])
def test_an_interrupted_mapper_run_resumes_to_the_same_bytes(
    world, monkeypatch, optimiser, code_pool
):
    world.adapt("parent", world.run_spec("adaptive", hyperparameters=ADAPTIVE))
    changes = {"optimiser": optimiser, "code_pool": code_pool, "iterations": 7}
    hparams = {**MAPPER, "mapper": {**MAPPER["mapper"], **changes}}
    run_spec = world.run_spec("mapper", hyperparameters=hparams, parent="dog2cat/nada-adaptive/seed0")
    world.adapt("whole", run_spec, parent="parent")
    interrupt_at(monkeypatch, 3, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert world.adapt("run", run_spec, parent="parent") == 143
    assert world.adapt("run", run_spec, parent="parent") == 0
    assert world.bytes_of("run") == world.bytes_of("whole")


def test_state_of_a_run_with_other_hyperparameters_is_not_resumed(world, monkeypatch, capsys):
    interrupt_at(monkeypatch, 5, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert world.adapt("run", world.run_spec()) == 143
    capsys.readouterr()
    assert world.adapt("run", world.run_spec(hyperparameters={"lr": 0.001})) == 0
    assert "going on" not in capsys.readouterr().out


def test_a_run_killed_at_a_random_step_ends_bit_equal_after_resume(world):
    hparams = {**ADAPTIVE, "iterations": 30, "checkpoint_every": 2, "snapshots": 6}
    run_spec = world.run_spec(hyperparameters=hparams)
    stop = random.SystemRandom().randrange(2, 10)  # tenths of the run
    line = [sys.executable, "-m", "baselines.adapt", *world.arguments("run", run_spec)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True, env=environment) as process:
        for text in process.stdout:
            if text.strip().startswith(f"step {3 * stop}/30"):
                process.kill()
                break
    assert process.returncode == -signal.SIGKILL, f"was to die at step {3 * stop}"
    assert [p.name for p in (world.folder / "run").iterdir()] == ["spec.json"]
    (state,) = (world.folder / "state").iterdir()
    assert (state / "state.pt").exists()

    assert world.adapt("run", run_spec) == 0
    assert world.adapt("whole", run_spec) == 0
    assert world.bytes_of("run") == world.bytes_of("whole"), f"killed at step {3 * stop}"
