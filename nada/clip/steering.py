"""The inputs of a run's CLIP losses: the ensemble, the two texts, the prompt templates, target images."""

from torch import Tensor

from nada.clip.encoder import Clip, load_clip
from nada.clip.prompts import read_templates
from nada.images.training_images import few_shot_images
from nada.run.errors import UserError
from nada.run.job import Job


class Steering:
    """The inputs of a run's CLIP losses; each part is read when it is requested.

    label, name: the names of the run's variant and of the run in messages. shots: number of target
    images that the run may use.
    """

    def __init__(self, job: Job):
        self.job = job
        self.label, self.name, self.shots = job.label, job.name, job.spec.shots

    def clips(self, resize: str = "antialias", names: list[str] | None = None) -> list[Clip]:
        """The CLIP ensemble of the run, or only the CLIPs of these names; frozen, on the job's device.

        Their calls are counted, and their activation is part of the run's record.
        """
        specs = self.job.spec.clips or ()
        known = [spec.name for spec in specs]
        if unknown := [name for name in names or () if name not in known]:
            raise UserError(
                f"{self.label}: hyperparameters.clips names '{unknown[0]}', but this world's CLIPs are "
                f"{', '.join(known)}."
            )
        specs = [spec for spec in specs if names is None or spec.name in names]
        if not specs:
            raise UserError(f"{self.name}: the run has no CLIP; list one or more under 'clips'.")
        clips = [load_clip(spec.model_dump(), self.job.device, resize) for spec in specs]
        for clip in clips:
            self.job.inputs[f"clip {clip.name}"]["activation"] = clip.activation
            self.job.cost.count_clip_calls(clip)
        return clips

    def texts(self) -> tuple[str, str]:
        """The texts of the source and of the target domain."""
        text = self.job.spec.text
        if text is None:
            raise UserError(f"{self.name}: the run needs text.source and text.target; give both.")
        return text.source, text.target

    def templates(self) -> list[str]:
        """The prompt templates, each with one {}."""
        return read_templates(self.job.spec.templates or "")

    def few_shot_images(self) -> Tensor:
        """The run's target images, [shots,3,R,R] in [-1,1]."""
        return few_shot_images(self.job)
