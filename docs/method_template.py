"""<Name> (<authors and year>, § of the paper): <what it does, in one line>."""

from dataclasses import dataclass

from baselines.few_shot import FewShotSettings, fine_tune, plain_trainer
from baselines.registry import Method
from baselines.warm_starts import warm_start
from nada.artifact import AdaptedModel
from nada.job import Job
from nada.settings import setting

METHOD = Method(
    name="my_method",  # this file's name, and the key in config.yaml
    paper="Authors 2025, Title",
    licence="MIT",  # of the method's public code, by name; see baselines/registry.py
    supervision="images",  # images | text | none: what it learns the target from
)


@dataclass
class MyMethodSettings(FewShotSettings):
    """FewShotSettings, and the method's own.

    strength: say here what a setting means, its unit and its source.
    """

    strength: float = setting(1.0, 0)  # default, least (and greatest) value


def adapt(job: Job) -> AdaptedModel:
    """Train from the run's warm start on the run's few images; return what `sample` draws from."""
    settings = job.read_settings(MyMethodSettings)
    start = warm_start(job)

    # job.seed_everything()  # before anything that you draw yourself

    def extra_loss(images):  # added to the loss of G: of the images of its step, or of start.G's weights
        return settings.strength * images.square().mean()

    trainer = plain_trainer(start, settings, extra_generator_loss=extra_loss)
    return fine_tune(job, settings, trainer, job.few_shot_images(), catches_up=start.catches_up)
