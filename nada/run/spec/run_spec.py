"""RunSpec: one adaptation; `baselines.adapt` reads it."""

import json
from pathlib import Path
from typing import Any

from pydantic import Field, field_serializer

from nada.run.atomic import canonical_json
from nada.run.run_id import DEFAULT_SHOTS, DEFAULT_WARM_START, MODEL, condition_name, run_id
from nada.run.spec.base import Count, Device, Name, Spec, read


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
    text, templates, clips: for methods with text supervision. training_images: the file of the images
    that the run is trained on (pixels .npz, or the index of an image set .json), if any.
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
    hyperparameters: dict[str, Any] = Field(default_factory=dict)
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


def read_run_spec(path) -> RunSpec:
    """Read a run spec. UserError: see `nada.run.spec.base.read`."""
    return read(RunSpec, path, "run spec")
