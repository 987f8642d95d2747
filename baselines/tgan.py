"""TGAN (Wang et al. 2018, Transferring GANs): all of G and D, fine-tuned on the target images."""

from baselines.adversarial.few_shot import FewShotHyperparameters, fine_tune, plain_trainer
from baselines.adversarial.warm_starts import warm_start
from baselines.registry import Method
from nada.images.training_images import few_shot_images
from nada.run.artifact import AdaptedModel
from nada.run.job import Job

METHOD = Method(
    name="tgan",
    paper="Wang et al. 2018, Transferring GANs: generating images from limited data",
    licence="no licence file",
    supervision="images",
    hyperparameters=FewShotHyperparameters,
)


def adapt(job: Job) -> AdaptedModel:
    """Fine-tune both networks with the losses of StyleGAN2, nothing frozen, nothing augmented."""
    hparams = job.hyperparameters(FewShotHyperparameters)
    start = warm_start(job)
    trainer = plain_trainer(start, hparams)
    return fine_tune(job, hparams, trainer, few_shot_images(job), catches_up=start.catches_up)
