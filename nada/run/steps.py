"""The training loop that every method shares: resume, progress, snapshots, training states.

A method writes

    for step in job.steps(iterations, snapshots, state, tensors, checkpoint_every):
        …                                         # its own mathematics
        job.report(images=batch, loss=loss)       # once in each step
"""

from collections.abc import Callable, Iterator
from typing import Protocol

from torch import Tensor

from nada.run.errors import UserError

PROGRESS_LINES = 10  # per run


class Stateful(Protocol):
    """A part of the training state, such as an optimiser, a network, or ADA's p."""

    def state_dict(self) -> dict: ...

    def load_state_dict(self, state: dict) -> object: ...


class Steps:
    """The steps of one run, from the one after its latest training state to the last.

    Iterating yields the number of each step, 1 … iterations. A step's snapshot and training state are
    saved when the next step is requested. job: nada.run.job.Job, whose `steps` documents the other
    arguments. Raises UserError for
    snapshots outside 0..iterations.
    """

    def __init__(
        self,
        job,
        iterations: int,
        snapshots: int | list[int],
        state: dict[str, Stateful],
        tensors: Callable[[], dict[str, Tensor]],
        checkpoint_every: int,
    ):
        self.job, self.iterations = job, iterations
        self.kept = snapshot_steps(snapshots, iterations, job.label)
        self.state, self.tensors, self.every = state, tensors, checkpoint_every
        self.step = 0  # the current step
        self.last_saved: int | None = None  # step of the latest training state

    def __iter__(self) -> Iterator[int]:
        self.job.log(f"  {self.iterations} iterations")
        start = self.resume()
        if start == 0 and 0 in self.kept:
            self.job.training_state.save_snapshot(0, self.tensors())
        for step in range(start + 1, self.iterations + 1):
            self.step = step
            yield step
            if step in self.kept:
                self.job.training_state.save_snapshot(step, self.tensors())
            self.checkpoint()

    def resume(self) -> int:
        """Restore an interrupted run of the same identity; return its last step, or 0 if there is none."""
        loaded = self.job.training_state.load()
        if loaded is None:
            return 0
        step, saved = loaded
        self.job.curves.rows = saved["rows"]
        self.job.cost.go_on(step, saved["counts"])
        for name, part in self.state.items():
            part.load_state_dict(saved["state"][name])
        self.last_saved = step
        self.job.log(f"  resuming after step {step}, from {self.job.training_state.folder}")
        return step

    def report(self, images: int, values: dict) -> None:
        """See `Job.report`."""
        curves, cost = self.job.curves, self.job.cost
        cost.images += images
        curves.add(self.step, values)
        if self.step == self.iterations or self.step % max(1, self.iterations // PROGRESS_LINES) == 0:
            curves.read()
            share = 100 * self.step // self.iterations
            self.job.log(
                f"  step {self.step}/{self.iterations}  {share:3d} %  {curves.newest()}  "
                f"{cost.rate(self.step):.1f} it/s"
            )

    def checkpoint(self) -> None:
        """Save the training state if the step is due; not after the last step."""
        if self.every < 1 or self.step % self.every or self.step == self.iterations:
            return
        self.job.curves.read()  # a state with NaN or infinity is not worth keeping
        saved = {
            "state": {name: part.state_dict() for name, part in self.state.items()},
            "rows": self.job.curves.rows,
            "counts": self.job.cost.counts(),
        }
        self.job.training_state.save(self.step, saved)
        self.last_saved = self.step


def snapshot_steps(asked: int | list[int], iterations: int, run: str) -> set[int]:
    """The steps of the snapshots, without the last step, which is the model itself.

    asked: a number of models, evenly spaced and with the last, or a list of steps 0..iterations.
    Raises UserError for a step outside.
    """
    if isinstance(asked, int):
        steps = [round(i * iterations / asked) for i in range(1, asked + 1)]
    else:
        steps = asked
        outside = [step for step in steps if not 0 <= step <= iterations]
        if outside:
            raise UserError(
                f"{run}: snapshot of step {outside[0]} asked, but the run has {iterations} "
                f"iterations; set snapshots to steps 0..{iterations}, or to a number of models."
            )
    return set(steps) - {iterations}
