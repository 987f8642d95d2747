"""Control: the source model, unchanged. Its scores are those without adaptation."""


from baselines.registry import Method
from nada.run.artifact import AdaptedModel
from nada.run.hyperparameters import hyperparameters
from nada.run.job import Job
from nada.stylegan2.source_networks import source_networks


@hyperparameters
class SourceHyperparameters:
    """The control has no hyperparameters."""


METHOD = Method(
    name="source",
    paper="control: the unadapted StyleGAN2 source generator (Karras et al. 2020)",
    licence="this project's MIT",
    supervision="none",
    hyperparameters=SourceHyperparameters,
)


def adapt(job: Job) -> AdaptedModel:
    """Return the source's averaged generator as it is."""
    job.hyperparameters(SourceHyperparameters)
    generator = source_networks(job).G_ema
    return AdaptedModel(generator)
