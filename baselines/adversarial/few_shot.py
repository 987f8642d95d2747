"""Fine-tune G and D on a few target images: the shared loop of the adversarial methods (App. C).

A method builds a trainer with its own hooks around the networks of `warm_starts`; `fine_tune` draws the
batches, lets D catch up and runs the loop of the job. Hyperparameters are the published ones; the rule
of baselines/adversarial/scaling.py shortens every length with the run.
"""

import contextlib
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import nn

from baselines.adversarial.batches import Batches, Images, Sampling
from baselines.adversarial.scaling import LENGTHS, Length, scaled
from baselines.adversarial.warm_starts import Start
from nada.run.artifact import AdaptedModel
from nada.run.errors import UserError
from nada.run.hyperparameters import Natural, Whole, hyperparameter, hyperparameters
from nada.run.job import Job
from nada.run.micro_batch import asked_for
from nada.run.precision import Precision, set_numerics, set_precision
from nada.run.steps import Stateful
from nada.stylegan2.adversarial import AdversarialTrainer, TrainingHyperparameters


@hyperparameters
class FewShotHyperparameters:
    """Hyperparameters of every adversarial method; defaults are those of the published runs.

    `shortened` marks the lengths that s, iterations / published_iterations, multiplies
    (baselines/adversarial/scaling.py).
    """

    adversarial: ClassVar[bool] = True  # for the plan: training with D, from a warm start

    iterations: Whole = hyperparameter(
        5000, "Steps of G and D together, catch-up included.", unit="steps", source="published runs", ge=1
    )
    published_iterations: Whole = hyperparameter(
        5000, "Steps of the published runs; iterations / published_iterations = s multiplies every length that "
        "is marked (s).", unit="steps", source="published runs", ge=1,
    )
    batch: Whole = hyperparameter(4, "Images of a step.", unit="images", source="published runs", ge=1)
    g_lr: float = hyperparameter(
        0.002, "Adam's learning rate of G, before the correction for lazy regularisation.",
        source="published runs", gt=0, le=1,
    )
    d_lr: float = hyperparameter(
        0.002, "Adam's learning rate of D, before the correction for lazy regularisation.",
        source="published runs", gt=0, le=1,
    )
    r1_gamma: float = hyperparameter(
        10.0, "Weight γ of R1 (nada/stylegan2/adversarial.py).", source="published runs", ge=0, le=10_000
    )
    path_length_weight: float = hyperparameter(
        2.0, "Weight of path-length regularisation (nada/stylegan2/adversarial.py).", source="published runs",
        ge=0, le=10_000,
    )
    style_mixing: float = hyperparameter(
        0.9, "Probability that a code mixes two w (nada/stylegan2/adversarial.py).", source="published runs",
        ge=0, le=1,
    )
    ema_kimg: float = hyperparameter(
        1.25, "Half-life of the averaged generator, 312.5 steps at batch 4.", unit="thousands of images",
        source="published decay of 0.5 ** (32 / 10000) a step", shortened=LENGTHS["ema_kimg"],
        ge=0, le=100_000,
    )
    catchup_steps: Whole = hyperparameter(
        50, "Steps of D alone under the warm start nada_catchup; when shortened 10 or more, 0 for none.",
        unit="steps", source="ours", shortened=LENGTHS["catchup_steps"], ge=0,
    )
    mirror: float = hyperparameter(
        0.5, "Probability that a real image is mirrored.", source="published runs", ge=0, le=1
    )
    sampling: Sampling = hyperparameter(
        "epochs", "Every real image is shown once before any comes again, or each image of a batch is drawn "
        "from all (baselines/adversarial/batches.py).", source="published loaders: epochs",
    )
    snapshots: Natural | list[Natural] = hyperparameter(
        5, "Models kept during training: a number, evenly spaced, or a list of steps.", unit="models or steps",
        source="ours",
    )
    checkpoint_every: Whole = hyperparameter(
        100, "Steps between training states kept for resume; 0 keeps none.", unit="steps", source="ours", ge=0
    )
    precision: Precision = hyperparameter(
        "fp32", "float32 throughout, or half precision for G's images in the losses of D and G; D, R1 and "
        "path length stay in float32 (nada/run/precision.py).", source="ours",
    )
    tf32: bool = hyperparameter(
        False, "Whether a GPU may multiply in TF32 (nada/run/precision.py).", source="ours"
    )
    deterministic: bool = hyperparameter(
        True, "Whether a GPU uses only repeatable algorithms (nada/run/precision.py).", source="ours"
    )

    def length(self, name: str) -> float:
        """A length declared with `shortened`, scaled to this run's number of iterations."""
        declared = type(self).__pydantic_fields__[name].json_schema_extra
        return scaled(vars(self), name, Length(**declared["shortened"]))

    def training(self) -> TrainingHyperparameters:
        """The adversarial loop's hyperparameters."""
        return TrainingHyperparameters(
            g_lr=self.g_lr, d_lr=self.d_lr, r1_gamma=self.r1_gamma,
            path_length_weight=self.path_length_weight, style_mixing=self.style_mixing,
            ema_kimg=self.length("ema_kimg"),
        )  # fmt: skip


def fine_tune(
    job: Job,
    hparams: FewShotHyperparameters,
    trainer: AdversarialTrainer,
    images: Images,
    *,
    catches_up: bool = False,
    latent_map: nn.Module | None = None,
    parts: dict[str, Stateful] | None = None,
    before_step: Callable[[int], None] | None = None,
    after_step: Callable[[dict], dict] | None = None,
) -> AdaptedModel:
    """Train G and D on images (see batches.py) for the run's iterations; return the model.

    catches_up: D trains alone in the first steps, which count as iterations. latent_map: becomes part
    of the model. parts: further training state besides the trainer, by name. before_step(step) and
    after_step(report) are called around each joint step of G and D, counted 1, 2, … after the catch-up
    of D (App. C); they are not called during the catch-up. after_step returns more values for the
    curves. The values of a report are 0-d tensors on a GPU; reading one waits for the device.
    Raises UserError if a batch does not fit the device's memory: it cannot be split, because D
    compares the images of a batch.
    """
    set_numerics(job.device, hparams.tf32, hparams.deterministic)
    set_precision(trainer.G, hparams.precision)
    batches = Batches(images, hparams.batch, hparams.mirror, hparams.sampling)
    parts = {"trainer": trainer, "batches": batches, **(parts or {})}
    alone = catch_up_steps(hparams, job) if catches_up else 0
    model = AdaptedModel(trainer.G_ema, latent_map, raw=trainer.G)
    job.seed_everything()
    steps = job.steps(
        hparams.iterations, hparams.snapshots, parts, model.tensors, hparams.checkpoint_every
    )
    with enough_memory(job, hparams):
        for step in steps:
            real = batches.draw()
            catching_up = step <= alone
            if not catching_up and before_step is not None:
                before_step(step - alone)
            report = trainer.step(real, train_generator=not catching_up)
            if not catching_up and after_step is not None:
                report |= after_step(report)
            job.report(images=hparams.batch, **report)
        trainer.check()
    return model


@contextlib.contextmanager
def enough_memory(job: Job, hparams: FewShotHyperparameters):
    """Turn torch's out-of-memory error into a UserError that says what to do."""
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        raise UserError(
            f"{job.label}: a batch of {hparams.batch} images does not fit this device's memory "
            f"({asked_for(error)}); set a smaller batch, or precision to 'mixed'."
        ) from error


def catch_up_steps(hparams: FewShotHyperparameters, job: Job) -> int:
    """Number of steps of D alone at the start. Raises UserError if no step is left for G."""
    steps = hparams.length("catchup_steps")
    if steps >= hparams.iterations:
        raise UserError(
            f"{job.label}: D catches up for {steps} steps, but the run has only "
            f"{hparams.iterations} iterations; raise iterations."
        )
    return steps


def plain_trainer(start: Start, hparams: FewShotHyperparameters, **hooks) -> AdversarialTrainer:
    """The adversarial trainer for a start's networks, with a method's hooks."""
    return AdversarialTrainer(start.G, start.D, start.G_ema, hparams.training(), **hooks)
