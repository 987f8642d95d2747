"""FreezeD (Mo et al. 2020): fine-tuning with the layers of D nearest to the image frozen."""

import math
from typing import Literal

from baselines.adversarial.few_shot import FewShotHyperparameters, fine_tune, plain_trainer
from baselines.adversarial.warm_starts import warm_start
from baselines.registry import Method
from nada.images.training_images import few_shot_images
from nada.run.artifact import AdaptedModel
from nada.run.errors import UserError
from nada.run.hyperparameters import Natural, hyperparameter, hyperparameters
from nada.run.job import Job
from nada.stylegan2.discriminator import Discriminator


@hyperparameters
class FreezeDHyperparameters(FewShotHyperparameters):
    """FewShotHyperparameters, and how much of D is frozen."""

    frozen_blocks: Natural | Literal["published"] = hyperparameter(
        "published", "Residual blocks of D that are frozen, from the image's resolution down, together with "
        "fromRGB; 0 freezes nothing. 'published' freezes those with an input above 16 px: 4 at 256 px, 5 at "
        "512 px, 1 at 32 px.", unit="blocks",
        source="paper: 4 layers at 256 px; its code trains those of 16, 8 and 4 px",
    )


METHOD = Method(
    name="freezed",
    paper="Mo et al. 2020, Freeze the discriminator: a simple baseline for fine-tuning GANs",
    licence="no licence file",
    supervision="images",
    hyperparameters=FreezeDHyperparameters,
)


LARGEST_TRAINED = 16  # px: input of the largest block that the published code trains


def published_blocks(resolution: int) -> int:
    """Number of blocks that the published choice freezes in a D of this resolution."""
    return max(0, int(math.log2(resolution / LARGEST_TRAINED)))


def freeze(D: Discriminator, blocks: int | Literal["published"]) -> None:
    """Freeze fromRGB and the first `blocks` residual blocks. Raises UserError for too many."""
    if blocks == "published":
        blocks = published_blocks(D.config["resolution"])
    if blocks > len(D.blocks):
        raise UserError(
            f"frozen_blocks: {blocks} asked, but the discriminator has {len(D.blocks)} residual "
            f"blocks; set it to 0..{len(D.blocks)}."
        )
    for module in [D.from_rgb, *D.blocks][: blocks + 1 if blocks else 0]:
        module.requires_grad_(False)


def adapt(job: Job) -> AdaptedModel:
    """Fine-tune G and the last blocks of D."""
    hparams = job.hyperparameters(FreezeDHyperparameters)
    start = warm_start(job)
    trainer = plain_trainer(start, hparams)
    freeze(start.D, hparams.frozen_blocks)
    return fine_tune(job, hparams, trainer, few_shot_images(job), catches_up=start.catches_up)
