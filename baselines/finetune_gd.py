"""The source's G and D, fine-tuned together on images of an adapted generator (Tab. 1: "G + D").

The result is a pair that belongs together, where NADA leaves a generator and no discriminator.
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
    """FewShotHyperparameters, and the images' that the pair is trained on."""

    images: Whole = hyperparameter(
        25_000, "Images that the parent's model draws, on which the pair is trained.", unit="images",
        source="paper (App. C)", shortened=LENGTHS["images"], ge=1,
    )
    truncation_psi: float = hyperparameter(
        1.0, "Truncation of the codes that the images are drawn from.", source="ours (1 is none)", gt=0
    )


METHOD = Method(
    name="finetune_gd",
    paper="Gal et al. 2021, App. C, Tab. 1: the pair fine-tuned on images of StyleGAN-NADA",
    licence="no public code",
    supervision="none",
    hyperparameters=FineTuneHyperparameters,
)

IMAGES = "painted.u8"  # in the folder of the run's training state: gone when the run is done
BLOCK = 50  # images whose codes are drawn together, and that an interruption may cost
RENDERED_PIXELS = 1 << 21  # at once: 8 images of 512 px, which a card of 8 GiB renders


def adapt(job: Job) -> AdaptedModel:
    """Train the source pair on images of the parent run's model; keep D beside the generators."""
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
    """Fill the file with images of a model, rounded to 8 bits as in files of images.

    The images follow from the run's name alone. Those that an interrupted run painted are kept.
    """
    stream = torch.Generator().manual_seed(stream_seed("finetune_gd images", job.name))
    at_once = max(1, RENDERED_PIXELS // images.shape[1] ** 2)
    job.log(f"{job.name}: {images.count:,} images of the parent's model, into {images.path}")
    for first in range(0, images.count, BLOCK):
        z = torch.randn(min(BLOCK, images.count - first), z_dim, generator=stream)
        if first + len(z) <= len(images):
            continue
        for part, codes in enumerate(z.split(at_once)):
            images.put(first + part * at_once, model.sample(codes.to(job.device), psi))
