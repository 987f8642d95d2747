"""TGAN + ADA (Karras et al. 2020): fine-tuning under adaptive discriminator augmentation."""


from baselines.adversarial.few_shot import FewShotHyperparameters, fine_tune, plain_trainer
from baselines.adversarial.scaling import LENGTHS
from baselines.adversarial.warm_starts import warm_start
from baselines.registry import Method
from nada.images.training_images import few_shot_images
from nada.run.artifact import AdaptedModel
from nada.run.hyperparameters import hyperparameter, hyperparameters
from nada.run.job import Job
from nada.stylegan2.ada import AdaptiveAugment, PLimit, Warp


@hyperparameters
class AdaHyperparameters(FewShotHyperparameters):
    """FewShotHyperparameters, and those of ADA."""

    ada_kimg: float = hyperparameter(
        100.0, "Images in which p can rise from 0 to 1.", unit="thousands of images",
        source="public code when fine-tuning", shortened=LENGTHS["ada_kimg"], ge=1e-6,
    )
    ada_target: float = hyperparameter(
        0.6, "Target of E[sign D(real)], to which p adapts.", source="paper", ge=-1, le=1
    )
    ada_warp: Warp = hyperparameter(
        "centred", "Positions of samples: exact, or on the public code's grid, which neglects the wavelet "
        "filter's phase (nada/stylegan2/ada.py).", source="paper; official: the second",
    )
    ada_p_limit: PLimit = hyperparameter(
        "one", "p is at most 1, or may exceed 1 (nada/stylegan2/ada.py).",
        source="paper; official: the second",
    )


METHOD = Method(
    name="tgan_ada",
    paper="Karras et al. 2020, Training generative adversarial networks with limited data",
    licence="Nvidia Source Code License (non-commercial)",
    supervision="images",
    hyperparameters=AdaHyperparameters,
)


def adapt(job: Job) -> AdaptedModel:
    """Fine-tune both networks; the pipeline `bgc` augments all of D's images with probability p."""
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
