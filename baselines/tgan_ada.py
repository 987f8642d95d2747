"""TGAN + ADA (Karras et al. 2020): fine-tuning under adaptive discriminator augmentation."""

from dataclasses import dataclass

from baselines.adversarial.few_shot import FewShotHyperparameters, fine_tune, plain_trainer
from baselines.adversarial.warm_starts import warm_start
from baselines.registry import Method
from nada.images.training_images import few_shot_images
from nada.run.artifact import AdaptedModel
from nada.run.hyperparameters import setting
from nada.run.job import Job
from nada.stylegan2.ada import AdaptiveAugment, PLimit, Warp

METHOD = Method(
    name="tgan_ada",
    paper="Karras et al. 2020, Training generative adversarial networks with limited data",
    licence="Nvidia Source Code License (non-commercial)",
    supervision="images",
)


@dataclass
class AdaHyperparameters(FewShotHyperparameters):
    """FewShotHyperparameters, and ADA's.

    ada_kimg (s): thousands of images in which p would go from 0 to 1 (100 when fine-tuning).
    ada_target: E[sign D(real)] that p steers to.
    ada_warp: 'centred' moves images to where the transforms say; 'official' is the public code's
    grid, which neglects the wavelet filter's phase.
    ada_p_limit: 'one' keeps p a probability, as the paper does; 'official' lets it rise over 1, as
    the public code does. Both are described in nada/stylegan2/ada.py.
    """

    ada_kimg: float = setting(100.0, 1e-6)
    ada_target: float = setting(0.6, -1, 1)
    ada_warp: Warp = "centred"
    ada_p_limit: PLimit = "one"


def adapt(job: Job) -> AdaptedModel:
    """Fine-tune both networks; D sees everything through the pipeline `bgc` at probability p."""
    hparams = job.hyperparameters(AdaHyperparameters)
    start = warm_start(job)
    pipe = AdaptiveAugment(
        hparams.length("ada_kimg"), hparams.ada_target,
        warp=hparams.ada_warp, p_limit=hparams.ada_p_limit,
    )  # fmt: skip
    trainer = plain_trainer(start, hparams, augment=pipe)

    def follow(report: dict) -> dict:
        pipe.follow(report["real_sign"], hparams.batch)
        return {"ada_p": pipe.p}

    return fine_tune(
        job, hparams, trainer, few_shot_images(job), catches_up=start.catches_up,
        parts={"ada": pipe}, after_step=follow,
    )  # fmt: skip
