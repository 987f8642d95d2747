"""<Name> (<authors and year>, § of the paper): <what it does, in one line>."""

from baselines.adversarial.few_shot import FewShotHyperparameters, fine_tune, plain_trainer
from baselines.adversarial.warm_starts import warm_start
from baselines.registry import Method
from nada.images.training_images import few_shot_images
from nada.run.artifact import AdaptedModel
from nada.run.hyperparameters import hyperparameter, hyperparameters
from nada.run.job import Job


@hyperparameters
class MyMethodHyperparameters(FewShotHyperparameters):
    """FewShotHyperparameters, and the method's own."""

    strength: float = hyperparameter(
        1.0,  # the default
        "Weight of the pull towards grey.",  # what it means, in one sentence
        source="paper, §3",  # where the default is from
        unit="",  # "steps", "images", …
        ge=0,  # its range: ge (≥), gt (>), le (≤), lt (<)
    )


METHOD = Method(
    name="my_method",  # this file's name, and the key in config.yaml
    paper="Authors 2025, Title",
    licence="MIT",  # of the method's public code, by name; see baselines/registry.py
    supervision="images",  # images | text | none: what it learns the target from
    hyperparameters=MyMethodHyperparameters,
)


def adapt(job: Job) -> AdaptedModel:
    """Train from the run's warm start on the run's few images; return what `sample` draws from."""
    hparams = job.hyperparameters(MyMethodHyperparameters)
    start = warm_start(job)

    # job.seed_everything()  # before anything that you draw yourself

    # a term added to G's loss; it may use the images of this step or the weights of start.G
    def extra_loss(images):
        return hparams.strength * images.square().mean()

    trainer = plain_trainer(start, hparams, extra_generator_loss=extra_loss)
    return fine_tune(job, hparams, trainer, few_shot_images(job), catches_up=start.catches_up)
