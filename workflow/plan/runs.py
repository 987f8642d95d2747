"""Run and Condition: a run is a condition (one row of a table) and a seed, with at most one parent.

A run is world x task x method x variant x shots x warm start x seed; its id is also its folder.
"""

from dataclasses import dataclass

from nada.run.run_id import DEFAULT_SHOTS, DEFAULT_WARM_START, condition_name, run_id
from nada.run.streams import stream_seed


@dataclass(frozen=True, order=True)
class Condition:
    """One row of a table, whose runs differ only in the seed: task, method, variant, shots, warm start."""

    task: str
    method: str
    variant: str
    shots: int = DEFAULT_SHOTS
    warm_start: str = DEFAULT_WARM_START

    @property
    def name(self):
        """`<method>-<variant>`, with `-<n>shot` and `-<warm start>` when not the default."""
        return condition_name(self.method, self.variant, self.shots, self.warm_start)


@dataclass(frozen=True, order=True)
class Run:
    """One adaptation: a condition and a seed; `parent` is the condition of its parent run or None."""

    condition: Condition
    seed: int
    parent: Condition | None = None

    @property
    def id(self):
        return run_id(self.condition.task, self.condition.name, self.seed)

    @property
    def parent_id(self):
        return (
            None if self.parent is None else run_id(self.parent.task, self.parent.name, self.seed)
        )


def latent_seed(task, seed):
    """Seed of the evaluation latents of (task, seed); all methods are measured on the same latents."""
    return stream_seed("latents", task, seed)
