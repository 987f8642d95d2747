"""The training loop that all methods share: what is resumed, kept and reported, and when."""

import ast
from pathlib import Path

import pytest
import torch
from torch import nn

from nada.run.errors import UserError
from nada.run.job import Job
from nada.run.manifest import read_weights
from nada.run.micro_batch import MicroBatches
from nada.run.spec.run_spec import RunSpec

ROOT = Path(__file__).parents[3]
SPEC = RunSpec(
    world="tiny", task="dog2cat", method="walk", variant="plain", seed=0, device="cpu", resolution=8
)


class Walk:
    """A random walk: the smallest training."""

    def __init__(self, folder, out="run", **options):
        self.lines = []
        self.job = Job(SPEC, folder / out, folder / "state", log=self._log)
        self.options = {"snapshots": 2, "checkpoint_every": 3, **options}
        self.place = nn.Linear(1, 1, bias=False)
        self.done = []

    def _log(self, line):
        self.lines.append(line)

    def tensors(self):
        return {"generator.weight": self.place.weight}

    def run(self, iterations=10, stop=None):
        """Walk, and return where it ends. stop: the step in which it is interrupted."""
        self.job.seed_everything()
        nn.init.zeros_(self.place.weight)
        options = self.options
        for step in self.job.steps(
            iterations, options["snapshots"], {"place": self.place}, self.tensors,
            options["checkpoint_every"],
        ):  # fmt: skip
            with torch.no_grad():
                self.place.weight += torch.randn(1, 1)
            self.done.append(step)
            self.job.report(images=2, place=self.place.weight.sum())
            if step == stop:
                raise KeyboardInterrupt
        return self.place.weight.item()

    def kept(self):
        """{step: value} of the snapshots."""
        files = self.job.training_state.snapshots()
        return {s: read_weights(f)[0]["generator.weight"].item() for s, f in files.items()}


def test_the_loop_yields_every_step_and_reports_it(tmp_path):
    walk = Walk(tmp_path)
    walk.run()
    assert walk.done == list(range(1, 11))
    walk.job.curves.read()
    assert [row["step"] for row in walk.job.curves.rows] == walk.done
    assert walk.job.cost.counts()["images"] == 20


def test_an_interrupted_loop_goes_on_after_its_latest_state_and_ends_at_the_same_place(tmp_path):
    end = Walk(tmp_path / "whole").run()
    with pytest.raises(KeyboardInterrupt):
        Walk(tmp_path).run(stop=8)
    walk = Walk(tmp_path)
    torch.manual_seed(99)  # the streams come from the training state
    assert walk.run() == end
    assert walk.done == [7, 8, 9, 10]
    assert "  resuming after step 6, from " in "\n".join(walk.lines)
    walk.job.curves.read()
    assert [row["step"] for row in walk.job.curves.rows] == list(range(1, 11))
    assert walk.job.cost.counts()["images"] == 20


def test_a_snapshot_is_taken_after_its_step_and_step_0_before_the_first(tmp_path):
    walk = Walk(tmp_path, snapshots=[0, 1, 4, 10])
    walk.run()
    walk.job.curves.read()
    rows = {row["step"]: row["place"] for row in walk.job.curves.rows}
    kept = walk.kept()
    assert kept == pytest.approx({0: 0.0, 1: rows[1], 4: rows[4]})  # the last is the model itself


def test_a_resumed_loop_keeps_the_snapshots_from_before(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        Walk(tmp_path, snapshots=[0, 2, 9]).run(stop=5)
    walk = Walk(tmp_path, snapshots=[0, 2, 9])
    walk.run()
    assert set(walk.kept()) == {0, 2, 9}


def test_no_training_state_is_kept_at_the_last_step_nor_where_none_is_asked_for(tmp_path):
    walk = Walk(tmp_path, checkpoint_every=5)
    walk.run(iterations=10)
    assert walk.job.training_state.load()[0] == 5
    walk = Walk(tmp_path / "none", checkpoint_every=0)
    walk.run()
    assert walk.job.training_state.load() is None


def test_a_snapshot_outside_the_run_is_refused_before_the_first_step(tmp_path):
    walk = Walk(tmp_path, snapshots=[11])
    with pytest.raises(UserError, match=r"variant 'plain': snapshot of step 11 asked, but .* 10 "):
        walk.run()
    assert walk.done == []


def test_an_interruption_says_what_the_same_command_will_do(tmp_path):
    def note(stop, **options):
        walk = Walk(tmp_path / f"{stop}", **options)
        with pytest.raises(KeyboardInterrupt) as error, walk.job.resumable():
            walk.run(stop=stop)
        return error.value.__notes__[0]

    assert note(8).endswith("the same command resumes after step 6.")
    assert note(2) == "No training state was kept yet; the same command starts the run again."
    with pytest.raises(KeyboardInterrupt) as error, Walk(tmp_path).job.resumable():
        raise KeyboardInterrupt
    assert "starts or resumes the run" in error.value.__notes__[0]


def test_the_size_of_micro_batches_is_part_of_the_state():
    small, fresh = (MicroBatches(8, size, "v", print, torch.device("cpu")) for size in (3, 0))
    fresh.load_state_dict(small.state_dict())
    assert fresh.size == 3


def test_what_every_run_needs_imports_no_clip_no_reader_of_checkpoints_and_no_image_files():
    """So that an edit of those runs only the methods again that use them."""
    for path in (ROOT / "nada/run").glob("*.py"):
        if path.name == "artifact.py":  # it knows the networks that an artifact is made of
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module] if isinstance(node, ast.ImportFrom) else []
            names += [a.name for a in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                rooms = ("nada.clip", "nada.images", "nada.stylegan2")
                assert not name.startswith(rooms), f"{path.name} imports {name}"
