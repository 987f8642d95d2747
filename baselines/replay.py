"""Control: the few-shot images themselves, mirrored at random.

Its scores are those of a model that has memorised its training images.
"""


import torch

from baselines.registry import Method
from nada.images.image_bank import ImageBank
from nada.images.tensors import to_uint8
from nada.images.training_images import few_shot_images
from nada.run.artifact import AdaptedModel
from nada.run.hyperparameters import hyperparameters
from nada.run.job import Job


@hyperparameters
class ReplayHyperparameters:
    """The control has no hyperparameters."""


METHOD = Method(
    name="replay",
    paper="control: the few-shot images themselves, no generator",
    licence="this project's MIT",
    supervision="images",
    generator="none",
    hyperparameters=ReplayHyperparameters,
)


def adapt(job: Job) -> AdaptedModel:
    """Return a bank of the run's few-shot images."""
    job.hyperparameters(ReplayHyperparameters)
    images = torch.from_numpy(to_uint8(few_shot_images(job)))
    bank = ImageBank(len(images), images.shape[1])
    bank.images.copy_(images)
    return AdaptedModel(bank)
