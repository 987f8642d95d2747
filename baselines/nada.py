"""StyleGAN-NADA (Gal et al. 2021, §4): adapt a generator by a pair of texts, or train a latent mapper."""

from baselines.registry import Method
from nada.run.artifact import AdaptedModel
from nada.run.errors import UserError
from nada.run.job import Job
from nada.training import NadaHyperparameters, adapt_generator, adapt_mapper

METHOD = Method(
    name="nada",
    paper="Gal et al. 2021, StyleGAN-NADA: CLIP-Guided Domain Adaptation of Image Generators",
    licence="MIT; some of its files are NVIDIA's",
    supervision="text",
    hyperparameters=NadaHyperparameters,
)


def adapt(job: Job) -> AdaptedModel:
    """Adapt the source generator (§4.1-4.2), or train a mapper on a model (§4.3)."""
    hparams = job.hyperparameters(NadaHyperparameters)
    if hparams.mapper is None:
        if job.has_parent:
            raise UserError(
                f"{job.label}: the run has a parent but no hyperparameters.mapper to train on it; "
                "add hyperparameters.mapper, or remove the parent."
            )
        return adapt_generator(job, hparams)
    if hparams.mapper.base == "source" and job.has_parent:
        raise UserError(
            f"{job.label}: hyperparameters.mapper.base is 'source', but the run has a parent; "
            "remove the parent, or set hyperparameters.mapper.base to 'parent'."
        )
    if hparams.mapper.base == "parent" and not job.has_parent:
        raise UserError(
            f"{job.label}: hyperparameters.mapper trains a mapper on another run's model, but the run has "
            "no parent; give the variant a parent, or set hyperparameters.mapper.base to 'source', or "
            "remove hyperparameters.mapper."
        )
    return adapt_mapper(job, hparams)
