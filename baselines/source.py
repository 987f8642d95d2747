"""Control: the source model, unchanged. What a metric says here, it says of no adaptation."""

from dataclasses import dataclass

from baselines.registry import Method
from nada.run.artifact import AdaptedModel
from nada.run.job import Job

METHOD = Method(
    name="source",
    paper="control: the unadapted StyleGAN2 source generator (Karras et al. 2020)",
    licence="this project's MIT",
    supervision="none",
)


@dataclass
class SourceHyperparameters:
    """The control has no hyperparameters."""


def adapt(job: Job) -> AdaptedModel:
    """Return the source's averaged generator as it is."""
    job.read_hyperparameters(SourceHyperparameters)
    generator = job.source().G_ema
    job.plan(iterations=0)
    return AdaptedModel(generator)
