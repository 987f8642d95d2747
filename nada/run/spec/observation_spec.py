"""ObservationSpec: the artifacts of one condition, or the reference images; `eval.observe` reads it."""

from typing import Literal

from pydantic import Field, model_validator

from nada.run.run_id import DEFAULT_SHOTS, DEFAULT_WARM_START, MODEL
from nada.run.spec.base import REAL, Count, Device, Name, Spec, Target, read


class Counts(Spec):
    """Numbers of images that are measured; every other count takes the first of `fid_images`.

    batch: images in one pass of a network. fid_images: of a model, for FID. diversity_images: for
    distances. gallery_images: stored as pictures. snapshot_images: of each snapshot.
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


class HeldOutClipSpec(Spec):
    """A CLIP that steers no run and compares pictures with two texts.

    config: a JSON file, or the name of a model that open_clip knows. weights: a file. templates: the prompt
    templates, a file or `openai_imagenet`.
    """

    name: Name
    config: Name
    weights: Name
    templates: Name


class RefereeSpec(Spec):
    """The files of the measuring networks.

    Either perceptual, the world's network for features and distances; or inception, {clean-fid's mode:
    file}, the first of which gives FID, and vgg, the trunk of LPIPS. judge: the classifier of class and
    style. held_out_clip: the CLIP that compares pictures with the task's two texts. made_here: whether the
    world made these files, so that its manifest has their hashes.
    """

    perceptual: Name | None = None
    inception: dict[Literal["clean", "legacy_pytorch"], Name] | None = None
    vgg: Name | None = None
    judge: Name | None = None
    held_out_clip: HeldOutClipSpec | None = None
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
        if self.held_out_clip is not None:
            files["held_out_clip"] = self.held_out_clip.weights
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

    resolution: pixels per side of the images; `workflow.forecast` groups measured times by it.
    source: the source model's file; absent for the reference images. references: the file of the
    reference images, if they are measured or compared with; training_images: the file of the images
    that the runs are trained on, if any (both: pixels .npz, or the index of an image set .json).
    target: what the judge must recognise, if the world has a judge. zero_shot: the two texts that a held-out
    CLIP compares the pictures with, if the task names any.
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
    zero_shot: tuple[Name, Name] | None = None
    counts: Counts = Counts()
    runs: tuple[ObservedRun, ...] = ()

    @model_validator(mode="after")
    def _consistent(self):
        real = self.method == REAL
        if real == bool(self.runs):
            raise ValueError(f"method '{self.method}' has {len(self.runs)} runs; only '{REAL}' has no runs")
        needed = "references" if real else "source"
        if getattr(self, needed) is None:
            raise ValueError(f"the key '{needed}' is missing, which method '{self.method}' needs")
        if real and (self.source is not None or self.training_images is not None):
            raise ValueError(f"method '{REAL}' has neither 'source' nor 'training_images'")
        if self.referee.judge is not None and self.target is None:
            raise ValueError("the key 'target' is missing, which a judge needs")
        if (self.referee.held_out_clip is None) != (self.zero_shot is None):
            raise ValueError("'zero_shot' and 'referee.held_out_clip' need each other; give both, or neither")
        seeds = [run.seed for run in self.runs]
        if len(set(seeds)) != len(seeds):
            raise ValueError(f"'runs' names a seed twice: {seeds}")
        return self

    def files(self) -> dict[str, list[str]]:
        """{role: paths that the job opens}."""
        images = [path for path in (self.references, self.training_images) if path is not None]
        held_out = self.referee.held_out_clip
        files = {
            "referee": list(self.referee.networks().values()),
            "held_out_clip": [held_out.config, held_out.templates] if held_out else [],
            "references": list(dict.fromkeys(images)),
            "source": [] if self.source is None else [self.source],
            "models": [run.model for run in self.runs],
        }
        return {role: paths for role, paths in files.items() if paths}


def read_observation_spec(path) -> ObservationSpec:
    """Read an observation spec. UserError: see `nada.run.spec.base.read`."""
    return read(ObservationSpec, path, "observation spec")
