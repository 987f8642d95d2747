"""Control: the source model, unchanged. What a metric says here, it says of no adaptation."""

from dataclasses import dataclass

from baselines.registry import Method
from nada.run.artifact import AdaptedModel
from nada.run.job import Job
from nada.stylegan2.source_networks import source_networks

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
    job.hyperparameters(SourceHyperparameters)
    generator = source_networks(job).G_ema
    return AdaptedModel(generator)
