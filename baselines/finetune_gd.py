"""The source's G and D, fine-tuned together on images of an adapted generator (Tab. 1: "G + D").

The result is a pair that belongs together, where NADA leaves a generator and no discriminator.
"""

from dataclasses import dataclass

import torch

from baselines.few_shot import FewShotSettings, fine_tune, plain_trainer
from baselines.registry import Method
from baselines.stored_images import StoredImages
from baselines.warm_starts import Start, opponent
from nada.artifact import AdaptedModel
from nada.errors import UserError
from nada.job import Job
from nada.precision import set_numerics
from nada.settings import setting
from nada.streams import stream_seed

METHOD = Method(
    name="finetune_gd",
    paper="Gal et al. 2021, App. C, Tab. 1: the pair fine-tuned on images of StyleGAN-NADA",
    licence="no public code",
    supervision="none",
)

IMAGES = "painted.u8"  # in the folder of the run's training state: gone when the run is done
BLOCK = 50  # images whose codes are drawn together, and that an interruption may cost
RENDERED_PIXELS = 1 << 21  # at once: 8 images of 512 px, which a card of 8 GiB renders


@dataclass
class FineTuneSettings(FewShotSettings):
    """FewShotSettings, and the images' that the pair is trained on.

    images (s): how many the parent's model draws (paper: 25 000).
    truncation_psi: of the codes they are drawn from.
    """

    images: int = setting(25_000, 1)
    truncation_psi: float = setting(1.0, above=0)


def adapt(job: Job) -> AdaptedModel:
    """Train the source pair on images of the parent run's model; keep D beside the generators."""
    settings = job.read_settings(FineTuneSettings)
    if not job.has_parent:
        raise UserError(
            f"{job.label}: finetune_gd trains on images of another run's model, but the run has no "
            "parent; give the variant a parent."
        )
    set_numerics(job.device, settings.tf32, settings.deterministic)  # before anything is rendered
    parent, source = job.parent(), job.source()
    count = settings.length("images")
    start = Start(source.G, source.G_ema, opponent(source, job))
    side = parent.generator.config["resolution"]
    with StoredImages(job.scratch() / IMAGES, count, side, job.device) as images:
        paint(images, parent, source.G.config["z_dim"], settings.truncation_psi, job)
        del parent
        trainer = plain_trainer(start, settings)
        model = fine_tune(job, settings, trainer, images)
    return AdaptedModel(model.generator, raw=model.raw, discriminator=trainer.D)


def paint(images: StoredImages, model: AdaptedModel, z_dim: int, psi: float, job: Job) -> None:
    """Fill the file with images of a model, rounded to 8 bits as in files of images.

    Which images they are follows from the run's name alone. What an interrupted run painted stays.
    """
    stream = torch.Generator().manual_seed(stream_seed("finetune_gd images", job.name))
    at_once = max(1, RENDERED_PIXELS // images.shape[1] ** 2)
    job.log(f"{job.name}: {images.count:,} images of the parent's model, into {images.path}")
    with job.running():
        for first in range(0, images.count, BLOCK):
            z = torch.randn(min(BLOCK, images.count - first), z_dim, generator=stream)
            if first + len(z) <= len(images):
                continue
            for part, codes in enumerate(z.split(at_once)):
                images.put(first + part * at_once, model.sample(codes.to(job.device), psi))
