"""The source's G and D, fine-tuned together on images of an adapted generator (Tab. 1: "G + D").

The result is a pair that belongs together, where NADA leaves a generator and no discriminator.
"""

from dataclasses import dataclass

import torch

from baselines.few_shot import FewShotSettings, fine_tune, plain_trainer
from baselines.registry import Method
from baselines.warm_starts import Start, opponent
from nada.artifact import AdaptedModel
from nada.errors import UserError
from nada.job import Job
from nada.settings import setting
from nada.streams import stream_seed

METHOD = Method(
    name="finetune_gd",
    paper="Gal et al. 2021, App. C, Tab. 1: the pair fine-tuned on images of StyleGAN-NADA",
    licence="MIT",
    supervision="none",
)

RENDERED_AT_ONCE = 50


@dataclass
class FineTuneSettings(FewShotSettings):
    """FewShotSettings, and the images' that the pair is trained on.

    images (s): how many the parent's model draws (paper: 25 000).
    truncation_psi: of the codes they are drawn from.
    """

    images: int = setting(25_000, 1)
    truncation_psi: float = setting(1.0, 0)


def adapt(job: Job) -> AdaptedModel:
    """Train the source pair on images of the parent run's model; keep D beside the generators."""
    settings = job.read_settings(FineTuneSettings)
    if not job.has_parent:
        raise UserError(
            f"{job.label}: finetune_gd trains on images of another run's model, but the run has no "
            "parent; give the variant a parent."
        )
    parent, source = job.parent(), job.source()
    count = settings.length("images")
    images = draw(parent, source.G.config["z_dim"], count, settings.truncation_psi, job)
    start = Start(source.G, source.G_ema, opponent(source, job))
    trainer = plain_trainer(start, settings)
    model = fine_tune(job, settings, trainer, images)
    return AdaptedModel(model.generator, raw=model.raw, discriminator=trainer.D)


def draw(model: AdaptedModel, z_dim: int, count: int, psi: float, job: Job) -> torch.Tensor:
    """Images [count,3,R,R] of a model in [-1,1], rounded to 8 bits as in files."""
    stream = torch.Generator().manual_seed(stream_seed("finetune_gd images", job.name))
    images = []
    for first in range(0, count, RENDERED_AT_ONCE):
        size = min(RENDERED_AT_ONCE, count - first)
        z = torch.randn(size, z_dim, generator=stream).to(job.device)
        image = model.sample(z, psi).clamp(-1, 1)
        images.append(((image + 1) * 127.5).round() / 127.5 - 1)
    return torch.cat(images)
