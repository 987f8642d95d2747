"""StyleGAN-NADA (Gal et al. 2021): a text pair adapts a generator; a mapper may follow (§4)."""

from baselines.registry import Method
from nada.adapt import NadaSettings, adapt_generator, adapt_mapper
from nada.artifact import AdaptedModel
from nada.errors import UserError
from nada.job import Job

METHOD = Method(
    name="nada",
    paper="Gal et al. 2021, StyleGAN-NADA: CLIP-Guided Domain Adaptation of Image Generators",
    licence="MIT; some of its files are NVIDIA's",
    supervision="text",
)


def adapt(job: Job) -> AdaptedModel:
    """Adapt the source generator (§4.1-4.2), or train a mapper on a model (§4.3)."""
    settings = job.read_settings(NadaSettings)
    if settings.mapper is None:
        if job.has_parent:
            raise UserError(
                f"{job.label}: the run has a parent but no settings.mapper to train on it; "
                "add settings.mapper, or remove the parent."
            )
        return adapt_generator(job, settings)
    if settings.mapper.base == "source" and job.has_parent:
        raise UserError(
            f"{job.label}: settings.mapper.base is 'source', but the run has a parent; "
            "remove the parent, or set settings.mapper.base to 'parent'."
        )
    if settings.mapper.base == "parent" and not job.has_parent:
        raise UserError(
            f"{job.label}: settings.mapper trains a mapper on another run's model, but the run has "
            "no parent; give the variant a parent, or set settings.mapper.base to 'source', or "
            "remove settings.mapper."
        )
    return adapt_mapper(job, settings)
