"""The source's G and D, fine-tuned together on images of an adapted generator (Tab. 1: "G + D").

The result is a matching pair; NADA itself returns a generator without a discriminator.
"""


import torch

from baselines.adversarial.few_shot import FewShotHyperparameters, fine_tune, plain_trainer
from baselines.adversarial.scaling import LENGTHS
from baselines.adversarial.stored_images import StoredImages
from baselines.adversarial.warm_starts import Start, opponent
from baselines.registry import Method
from nada.run.artifact import AdaptedModel
from nada.run.errors import UserError
from nada.run.hyperparameters import Whole, hyperparameter, hyperparameters
from nada.run.job import Job
from nada.run.precision import set_numerics
from nada.run.streams import stream_seed
from nada.stylegan2.source_networks import source_networks


@hyperparameters
class FineTuneHyperparameters(FewShotHyperparameters):
    """FewShotHyperparameters, and those of the training images."""

    images: Whole = hyperparameter(
        25_000, "Training images, rendered by the parent's model.", unit="images",
        source="paper (App. C)", shortened=LENGTHS["images"], ge=1,
    )
    truncation_psi: float = hyperparameter(
        1.0, "Truncation of the training images' codes; 1 is none.", source="ours", gt=0
    )


METHOD = Method(
    name="finetune_gd",
    paper="Gal et al. 2021, App. C, Tab. 1: the pair fine-tuned on images of StyleGAN-NADA",
    licence="no public code",
    supervision="none",
    hyperparameters=FineTuneHyperparameters,
)

IMAGES = "painted.u8"  # in the folder of the run's training state, which is removed after the run
BLOCK = 50  # images whose codes are drawn together; an interruption loses at most these
RENDERED_PIXELS = 1 << 21  # at once: 8 images of 512 px, which fit a GPU of 8 GiB


def adapt(job: Job) -> AdaptedModel:
    """Train the source pair on images of the parent run's model; keep D with the generators."""
    hparams = job.hyperparameters(FineTuneHyperparameters)
    if not job.has_parent:
        raise UserError(
            f"{job.label}: finetune_gd trains on images of another run's model, but the run has no "
            "parent; give the variant a parent."
        )
    set_numerics(job.device, hparams.tf32, hparams.deterministic)  # before anything is rendered
    parent, source = job.parent(), source_networks(job)
    count = hparams.length("images")
    start = Start(source.G, source.G_ema, opponent(source, job))
    side = parent.generator.config["resolution"]
    with StoredImages(job.scratch() / IMAGES, count, side, job.device) as images:
        paint(images, parent, source.G.config["z_dim"], hparams.truncation_psi, job)
        del parent
        trainer = plain_trainer(start, hparams)
        model = fine_tune(job, hparams, trainer, images)
    return AdaptedModel(model.generator, raw=model.raw, discriminator=trainer.D)


def paint(images: StoredImages, model: AdaptedModel, z_dim: int, psi: float, job: Job) -> None:
    """Fill the file with images of a model, rounded to 8 bits as in image files.

    Only the run's name seeds the images. Images of an interrupted run are kept.
    """
    stream = torch.Generator().manual_seed(stream_seed("finetune_gd images", job.name))
    at_once = max(1, RENDERED_PIXELS // images.shape[1] ** 2)
    job.log(f"{job.name}: rendering {images.count:,} images of the parent's model into {images.path}")
    for first in range(0, images.count, BLOCK):
        z = torch.randn(min(BLOCK, images.count - first), z_dim, generator=stream)
        if first + len(z) <= len(images):
            continue
        for part, codes in enumerate(z.split(at_once)):
            images.put(first + part * at_once, model.sample(codes.to(job.device), psi))
