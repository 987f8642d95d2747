"""GroupSpec: conditions that are scored and shown together; the score, table and figure jobs read it."""

from typing import Literal

from pydantic import Field, model_validator

from nada.run.run_id import DEFAULT_SHOTS, DEFAULT_WARM_START
from nada.run.spec.base import CONDITION_KEYS, Count, Device, Name, Spec, Target, read


class RowRun(Spec):
    """One run of a row. curves: its curves.csv. costs: cost records of the run and of its ancestors."""

    seed: int
    curves: Name
    costs: tuple[Name, ...] = ()


class RowSpec(Spec):
    """One condition of a group: a row of its tables.

    observation: file. layers: convolutions trained at a step, absent if the method does not choose
    them; chooses_layers: whether it chooses them at each step. training_images: the file of the images
    that the runs are trained on, if any.
    """

    task: Name
    method: Name
    variant: Name
    shots: int = Field(DEFAULT_SHOTS, ge=0)
    warm_start: Name = DEFAULT_WARM_START
    observation: Name
    layers: int | None = None
    chooses_layers: bool = False
    training_images: Name | None = None
    runs: tuple[RowRun, ...] = ()

    @property
    def condition(self) -> tuple:
        """The values of CONDITION_KEYS."""
        return tuple(getattr(self, key) for key in CONDITION_KEYS)


class ZeroShotSpec(Spec):
    """What a held-out CLIP compares a task's pictures with: its name, and two texts."""

    clip: Name
    texts: tuple[Name, Name]


class TaskSpec(Spec):
    """A task of a group. real: the observation of its reference images, if it has any.

    target: the class or style that the judge must recognise, and its kind in the published numbers.
    zero_shot: what a held-out CLIP compares its pictures with, if the task names it.
    not_measured: what the task lacks -> why, for the footers of tables; absent where it lacks nothing.
    """

    real: Name | None = None
    target: Target | None = None
    zero_shot: ZeroShotSpec | None = None
    not_measured: dict[Literal["judge", "references", "new_images", "held_out_clip"], Name] | None = None


class DifferenceSpec(Spec):
    """Paired differences in a table: `variants` of a method minus its variant `baseline`."""

    method: Name
    baseline: Name
    variants: tuple[Name, ...]


class ModelSpec(Spec):
    """One model of each task: the condition without the task."""

    method: Name
    variant: Name
    shots: int = Field(DEFAULT_SHOTS, ge=0)
    warm_start: Name = DEFAULT_WARM_START

    @property
    def condition(self) -> tuple:
        """The values of CONDITION_KEYS but the task."""
        return tuple(getattr(self, key) for key in CONDITION_KEYS[1:])


class GridSpec(Spec):
    """The group's image grid: rows (latents), and the truncation of its images, 0 to 1 (1 is none)."""

    rows: Count = 6
    truncation_psi: float = Field(0.7, ge=0, le=1)


class GroupSpec(Spec):
    """Conditions that are scored and shown together.

    like: the worlds that this one is `like`, the nearest first; absent if there are none.
    preset: the configuration's; `workflow.publish` reports it with world and device.
    rows, tasks: in the order of the tables. k_medoids: clusters of intra-cluster LPIPS.
    truncation_psi: of the measured images (1 is none). table: metrics shown; absent: the default
    columns. oracle, raw: metrics of the table that are also shown for the best snapshot, or for the
    weights behind an average. differences: paired differences in tables. sweep: metrics drawn against
    the number of trained layers. convolutions: number in the world's generator. preference: the model
    that all others are compared with, image by image. paper: the published table for comparison.
    """

    name: Name
    title: Name
    world: Name
    like: tuple[Name, ...] | None = None
    preset: Name
    device: Device
    tasks: dict[str, TaskSpec]
    rows: tuple[RowSpec, ...] = Field(min_length=1)
    k_medoids: Count = 10
    truncation_psi: float = Field(1.0, gt=0, le=1)
    convolutions: int = Field(0, ge=0)
    table: tuple[Name, ...] | None = None
    oracle: tuple[Name, ...] = ()
    raw: tuple[Name, ...] = ()
    differences: tuple[DifferenceSpec, ...] = ()
    sweep: tuple[Name, ...] = ()
    preference: ModelSpec | None = None
    paper: Name | None = None
    grid: GridSpec = GridSpec()

    @model_validator(mode="after")
    def _consistent(self):
        if unknown := [row.task for row in self.rows if row.task not in self.tasks]:
            raise ValueError(f"'rows' names the task '{unknown[0]}', which is not in 'tasks'")
        shown = [row.condition[1:] for row in self.rows]
        if self.preference is not None and self.preference.condition not in shown:
            raise ValueError("'preference' names a model that the group does not show")
        return self

    @property
    def conditions(self) -> list[tuple]:
        """The values of CONDITION_KEYS of each row."""
        return [row.condition for row in self.rows]

    @property
    def real(self) -> dict[str, str]:
        """task → observation of its reference images, for tasks that have any."""
        return {name: task.real for name, task in self.tasks.items() if task.real is not None}

    @property
    def heading(self) -> str:
        """The title of every table and figure: world, title, truncation if there is one."""
        cut = f" (measured images: truncation {self.truncation_psi:g})"
        return f"World {self.world}: {self.title}{cut if self.truncation_psi != 1 else ''}"


def read_group_spec(path) -> GroupSpec:
    """Read a group spec. UserError: see `nada.run.spec.base.read`."""
    return read(GroupSpec, path, "group spec")
