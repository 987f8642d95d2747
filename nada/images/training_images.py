"""The few images that a run is trained on: drawn from (task, seed), the same for every method."""

import hashlib

import numpy as np
from torch import Tensor

from nada.images.lazy import open_images
from nada.images.tensors import to_tensor
from nada.run.errors import UserError
from nada.run.job import Job
from nada.run.streams import stream_seed


def few_shot_images(job: Job) -> Tensor:
    """The target images that the method may train on, [shots,3,R,R] in [-1,1] on the job's device.

    Drawn from the spec's `training_images` by (task, seed) alone, so that all methods share them;
    smaller sets are part of larger ones. The evaluation may measure against the same file, so
    run.json records which of its images these are ("few_shot": indices, and the SHA-256 of their
    pixels). Raises UserError where there are too few images.
    """
    spec = job.spec
    shots, path = spec.shots, spec.training_images
    if shots < 1:
        raise UserError(f"{job.name}: shots is {shots}; this method needs 1 image or more.")
    if path is None:
        raise UserError(
            f"{job.name}: the run spec names no target images; METHOD of "
            f"baselines/{spec.method}.py must declare supervision 'images'."
        )
    images = open_images(path)
    if len(images) < shots:
        raise UserError(
            f"{job.name}: shots is {shots}, but {path} holds {len(images)} images; "
            f"set shots to 1..{len(images)} or provide more."
        )
    stream = stream_seed("few-shot", spec.task, spec.seed)
    order = np.random.default_rng(stream).permutation(len(images))
    indices = np.sort(order[:shots])
    chosen = images[indices]
    digest = hashlib.sha256(chosen.tobytes()).hexdigest()
    job.few_shot = {"indices": indices.tolist(), "sha256": digest}
    return to_tensor(chosen).to(job.device)
