"""Control: a generator trained elsewhere, such as the authors' published models or runs of their code.

The workflow first converts files of other layouts (`nada.stylegan2.convert`); this module reads only
safetensors.
"""

from pathlib import Path

from baselines.registry import Method
from nada.run.artifact import AdaptedModel, load_artifact
from nada.run.errors import UserError
from nada.run.hyperparameters import hyperparameter, hyperparameters
from nada.run.job import Job
from nada.stylegan2.generator import Generator
from nada.stylegan2.source_model import load_source
from nada.stylegan2.source_networks import source_networks


@hyperparameters
class CheckpointHyperparameters:
    """The file of the model."""

    weights: str = hyperparameter(
        "", "The file (.pt, .pkl, .safetensors), or the folder of a run of this benchmark; it must be given.",
        unit="path",
    )


METHOD = Method(
    name="checkpoint",
    paper="a model trained elsewhere; see where its file is from",
    licence="this project's MIT",
    supervision="none",
    hyperparameters=CheckpointHyperparameters,
)


def adapt(job: Job) -> AdaptedModel:
    """Return the file's averaged generator, which must have the latent space of the task's source model.

    Raises UserError if no file is named, it cannot be read, or its generator is of another kind.
    """
    hparams = job.hyperparameters(CheckpointHyperparameters)
    if not hparams.weights:
        raise UserError(f"{job.label}: hyperparameters.weights is empty; set it to the checkpoint's file.")
    path = Path(hparams.weights)
    if path.is_dir():
        model = load_artifact(path, device=job.device)
        job.add_input("checkpoint", path / "model.safetensors")
    else:
        theirs = load_source(path, job.device)
        model = AdaptedModel(theirs.G_ema)
        job.add_input("checkpoint", path)
        if theirs.converted_from is not None:
            job.inputs["checkpoint"]["converted_from"] = theirs.converted_from
    source = source_networks(job).G_ema
    if isinstance(model.generator, Generator):
        for key in ("resolution", "z_dim"):
            found, wanted = model.generator.config[key], source.config[key]
            if found != wanted:
                raise UserError(
                    f"{job.label}: the generator of {path} has {key} {found}, but the source model "
                    f"of {job.spec.task} has {wanted}; name a model adapted from that source."
                )
    return AdaptedModel(model.generator, model.latent_map)
