"""The file that tells one job what to do: RunSpec, ObservationSpec and GroupSpec, read and written here.

`workflow/plan/specs.py` builds them from the configuration. `python -m baselines.adapt` reads a
RunSpec, `python -m eval.observe` an ObservationSpec, and the commands that score, tabulate and draw read
a GroupSpec. A spec holds only what its job uses: an edit of anything else runs nothing again.
No torch: the Snakefile imports this module.
"""

import json
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_serializer,
    model_serializer,
    model_validator,
)

from nada.run.atomic import canonical_json
from nada.run.errors import UserError
from nada.run.run_id import DEFAULT_SHOTS, DEFAULT_WARM_START, MODEL, condition_name, run_id
from nada.run.validation import sentence

#: The name of the observation of the reference images themselves, which no run made.
REAL = "real"
#: Controls, which bound every metric: the source model, its few target images, the real images.
SOURCE, REPLAY = "source", "replay"
BOUNDS = (SOURCE, REPLAY, REAL)
#: What the seeds of one row of a table share: the columns of scores and tables that name a condition.
CONDITION_KEYS = ("task", "method", "variant", "shots", "warm_start")

Name = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=1)]
Device = Literal["cpu", "cuda"]


class Spec(BaseModel):
    """A frozen record that refuses unknown keys and other types; keys that are absent are not written."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, protected_namespaces=())

    @model_serializer(mode="wrap")
    def _present(self, serialize) -> dict:
        return {key: value for key, value in serialize(self).items() if value is not None}


# ---- a run ----------------------------------------------------------------------------------------


class SourceSpec(Spec):
    """The source model: its domain, and its file."""

    domain: Name
    weights: Name


class TextSpec(Spec):
    """The texts of the source and of the target domain, such as "dog" and "cat"."""

    source: Name
    target: Name


class ClipSpec(Spec):
    """One CLIP of the ensemble that steers a run.

    config: a JSON file, or the name of a model that open_clip knows; absent where `weights` is a
    folder that holds both. weight: of its loss in the sum, more than 0.
    """

    name: Name
    config: Name | None = None
    weights: Name
    weight: float = Field(gt=0)


class RunSpec(Spec):
    """One adaptation: `python -m baselines.adapt --spec FILE`.

    world, task, method, variant: names. shots: target images that the method trains on, 0 for none.
    warm_start: where training starts from: "source", or a warm start of the configuration.
    seed: of the run's random streams, 0 or more. resolution: pixels per side of the images.
    hyperparameters: of the method, with the variant's; the method checks them.
    parent: id of the parent run. source: the source model, where the method starts from it.
    text, templates, clips: where a text supervises the method. training_images: the file of the images
    that the run is trained on (pixels .npz, or the index of an image set .json), where it sees any.
    """

    world: Name
    task: Name
    method: Name
    variant: Name
    shots: int = Field(DEFAULT_SHOTS, ge=0)
    warm_start: Name = DEFAULT_WARM_START
    seed: int = Field(ge=0)
    device: Device
    resolution: Count
    hyperparameters: dict[str, Any] = {}
    parent: Name | None = None
    source: SourceSpec | None = None
    text: TextSpec | None = None
    templates: Name | None = None
    clips: tuple[ClipSpec, ...] | None = None
    training_images: Name | None = None

    @field_serializer("hyperparameters")
    def _sorted(self, values: dict) -> dict:
        return json.loads(canonical_json(values))

    @property
    def condition(self) -> str:
        """`<method>-<variant>[-<n>shot][-<warm start>]`: what the run shares with other seeds."""
        return condition_name(self.method, self.variant, self.shots, self.warm_start)

    @property
    def id(self) -> str:
        """`<task>/<condition>/seed<k>`, which is also the run's folder below runs/."""
        return run_id(self.task, self.condition, self.seed)

    def files(self) -> dict[str, list[str]]:
        """{role: paths that the job opens}, without its parent's; paths may be names or folders."""
        files = {}
        if self.source is not None:
            files["source"] = [self.source.weights]
        if self.clips is not None:
            paths = [path for clip in self.clips for path in (clip.config, clip.weights)]
            files["clips"] = [path for path in paths if path is not None]
        if self.templates is not None:
            files["templates"] = [self.templates]
        if self.training_images is not None:
            files["references"] = [self.training_images]
        if weights := self.hyperparameters.get("weights"):  # a model made elsewhere: a file, or a run's folder
            folder = Path(weights).is_dir()
            files["weights"] = [f"{weights}/{MODEL}" if folder else weights]
        return files


# ---- an observation -------------------------------------------------------------------------------


class Target(NamedTuple):
    """What the judge must see in an adapted image: a class or a style that it knows, by name."""

    kind: Literal["class", "style"]
    name: str


class Counts(Spec):
    """How many images are measured, at most; each is one of the first `fid_images`.

    batch: images in one pass of a network. fid_images: of a model, for FID. diversity_images: for
    distances. gallery_images: kept as pictures. snapshot_images: of each snapshot.
    truncation_psi: of the measured images, above 0 and up to 1 (1 is none).
    """

    batch: Count = 32
    fid_images: Count = 1000
    diversity_images: Count = 300
    gallery_images: Count = 128
    snapshot_images: Count = 64
    truncation_psi: float = Field(1.0, gt=0, le=1)

    @model_validator(mode="after")
    def _within(self):
        for name in ("diversity_images", "gallery_images", "snapshot_images"):
            if getattr(self, name) > self.fid_images:
                raise ValueError(
                    f"{name} is {getattr(self, name)}, more than the {self.fid_images} images of fid_images"
                )
        return self


class RefereeSpec(Spec):
    """The networks that measure: files.

    perceptual: the world's own network, for features and distances; or inception, {clean-fid's mode:
    file}, the first of which is called FID, and vgg, the trunk of LPIPS. judge: names class and
    style of an image. made_here: whether the world made those files itself, so that their manifest
    vouches for them.
    """

    perceptual: Name | None = None
    inception: dict[Literal["clean", "legacy_pytorch"], Name] | None = None
    vgg: Name | None = None
    judge: Name | None = None
    made_here: bool = False

    @model_validator(mode="after")
    def _complete(self):
        if self.perceptual is None and (not self.inception or self.vgg is None):
            raise ValueError("the key 'perceptual' is missing, or 'inception' and 'vgg'")
        return self

    def networks(self) -> dict[str, str]:
        """{name: file}, an Inception network by "inception <mode>"."""
        modes = {f"inception {mode}": file for mode, file in (self.inception or {}).items()}
        files = {"perceptual": self.perceptual, **modes, "vgg": self.vgg, "judge": self.judge}
        return {name: file for name, file in files.items() if file is not None}


class ObservedRun(Spec):
    """One artifact to observe: its id, seed, folder, and the seed of its evaluation latents."""

    id: Name
    seed: int
    folder: Name
    latent_seed: int

    @property
    def model(self) -> str:
        """The file of its adapted model."""
        return f"{self.folder}/{MODEL}"


class ObservationSpec(Spec):
    """One observation: all seeds of a condition, or the reference images (method "real", no runs).

    resolution: pixels per side of the images, by which `workflow.forecast` sorts what was measured.
    source: the source model's file; absent for the reference images. references: the file of the
    reference images, where they are measured or compared with; training_images: the file of the images
    that the runs are trained on, if any (both: pixels .npz, or the index of an image set .json).
    target: what the judge must see, where the world has a judge.
    """

    world: Name
    task: Name
    method: Name
    variant: str = ""
    shots: int = Field(DEFAULT_SHOTS, ge=0)
    warm_start: Name = DEFAULT_WARM_START
    device: Device
    resolution: Count
    source: Name | None = None
    referee: RefereeSpec
    references: Name | None = None
    training_images: Name | None = None
    target: Target | None = None
    counts: Counts = Counts()
    runs: tuple[ObservedRun, ...] = ()

    @model_validator(mode="after")
    def _consistent(self):
        real = self.method == REAL
        if real == bool(self.runs):
            raise ValueError(f"method '{self.method}' with {len(self.runs)} runs; only '{REAL}' has none")
        needed = "references" if real else "source"
        if getattr(self, needed) is None:
            raise ValueError(f"the key '{needed}' is missing, which method '{self.method}' needs")
        if real and (self.source is not None or self.training_images is not None):
            raise ValueError(f"method '{REAL}' has neither 'source' nor 'training_images'")
        if self.referee.judge is not None and self.target is None:
            raise ValueError("the key 'target' is missing, which a judge needs")
        seeds = [run.seed for run in self.runs]
        if len(set(seeds)) != len(seeds):
            raise ValueError(f"'runs' names a seed twice: {seeds}")
        return self

    def files(self) -> dict[str, list[str]]:
        """{role: paths that the job opens}."""
        images = [path for path in (self.references, self.training_images) if path is not None]
        files = {
            "referee": list(self.referee.networks().values()),
            "references": list(dict.fromkeys(images)),
            "source": [] if self.source is None else [self.source],
            "models": [run.model for run in self.runs],
        }
        return {role: paths for role, paths in files.items() if paths}


# ---- a group --------------------------------------------------------------------------------------


class RowRun(Spec):
    """One run of a row. curves: its curves.csv. costs: cost records of the run and of its ancestors."""

    seed: int
    curves: Name
    costs: tuple[Name, ...] = ()


class RowSpec(Spec):
    """One condition of a group: a row of its tables.

    observation: file. layers: convolutions trained at a step, absent where the method does not choose
    them; chooses_layers: whether it chooses them anew at each step. training_images: the file of the
    images that the runs are trained on, if any.
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


class TaskSpec(Spec):
    """A task of a group. real: the observation of its reference images, where it has any.

    target: what a judge looks for, and what kind of target the published numbers are of.
    not_measured: what the task lacks -> why, for the footers of tables; absent where it lacks nothing.
    """

    real: Name | None = None
    target: Target | None = None
    not_measured: dict[Literal["judge", "real_images", "new_images"], Name] | None = None


class DifferenceSpec(Spec):
    """Paired differences that a table shows: of `variants` of a method from its variant `baseline`."""

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
    """The group's picture: rows (latents), and the truncation of its images, 0 to 1 (1 is none)."""

    rows: Count = 6
    truncation_psi: float = Field(0.7, ge=0, le=1)


class GroupSpec(Spec):
    """Conditions that are scored and shown together.

    preset: of the configuration, which `workflow.publish` reports with world and device.
    rows, tasks: in the order of the tables. k_medoids: clusters of intra-cluster LPIPS.
    truncation_psi: of the measured images (1 is none). table: metrics shown, absent: the default
    columns. oracle, raw: those of them that are shown again, of the best snapshot, or of the weights
    behind an average. differences: paired differences that tables show. sweep: metrics drawn against
    the layers trained at a step. convolutions: of the world's generator. preference: the model that all
    others are compared with, image by image. paper: the published table that is shown beside.
    """

    name: Name
    title: Name
    world: Name
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
            raise ValueError(f"'rows' names the task '{unknown[0]}', which 'tasks' lacks")
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
        """task → observation of its reference images, of the tasks that have any."""
        return {name: task.real for name, task in self.tasks.items() if task.real is not None}

    @property
    def heading(self) -> str:
        """The title of every table and figure: world, title, truncation where there is one."""
        cut = f" (measured images: truncation {self.truncation_psi:g})"
        return f"World {self.world}: {self.title}{cut if self.truncation_psi != 1 else ''}"


# ---- files ----------------------------------------------------------------------------------------


def as_json(spec: Spec) -> str:
    """The text of a spec's file: keys in the order of their declaration, so that equal specs give equal text."""
    content = spec.model_dump(mode="json")
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)


def read_run_spec(path) -> RunSpec:
    """Read a run spec. UserError: one sentence that names file, key, value and what is allowed."""
    return _read(RunSpec, path, "run spec")


def read_observation_spec(path) -> ObservationSpec:
    """Read an observation spec. UserError: see `read_run_spec`."""
    return _read(ObservationSpec, path, "observation spec")


def read_group_spec(path) -> GroupSpec:
    """Read a group spec. UserError: see `read_run_spec`."""
    return _read(GroupSpec, path, "group spec")


def _read(cls, path, kind: str):
    try:
        text = Path(path).read_bytes()
    except FileNotFoundError:
        rule = kind.replace(" ", "_")
        raise UserError(f"the {kind} {path} is missing; the workflow's rule '{rule}' makes it.") from None
    try:
        return cls.model_validate_json(text)
    except ValidationError as error:
        raise UserError(f"the {kind} {path}: {sentence(error)}") from None
