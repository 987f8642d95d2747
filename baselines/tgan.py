"""TGAN (Wang et al. 2018, Transferring GANs): all of G and D, fine-tuned on the target images."""

from baselines.few_shot import FewShotSettings, fine_tune, plain_trainer
from baselines.registry import Method
from baselines.warm_starts import warm_start
from nada.artifact import AdaptedModel
from nada.job import Job

METHOD = Method(
    name="tgan",
    paper="Wang et al. 2018, Transferring GANs: generating images from limited data",
    licence="no licence file",
    supervision="images",
)


def adapt(job: Job) -> AdaptedModel:
    """Fine-tune both networks with the losses of StyleGAN2, nothing frozen, nothing augmented."""
    settings = job.read_settings(FewShotSettings)
    start = warm_start(job)
    trainer = plain_trainer(start, settings)
    return fine_tune(job, settings, trainer, job.few_shot_images(), catches_up=start.catches_up)
