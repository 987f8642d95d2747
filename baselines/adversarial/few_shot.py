"""Fine-tuning G and D on a few target images: what all the adversarial methods share (App. C).

A method builds a trainer with its own hooks around the networks of `warm_starts`; `fine_tune` draws the
batches, lets D catch up and runs the loop of the job. Hyperparameters are the published ones; the rule
of baselines/adversarial/scaling.py shortens every length with the run.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from baselines.adversarial.batches import Batches, Images, Sampling
from baselines.adversarial.scaling import scaled
from baselines.adversarial.warm_starts import Start
from nada.run.artifact import AdaptedModel
from nada.run.errors import UserError
from nada.run.hyperparameters import setting
from nada.run.job import Job
from nada.run.micro_batch import asked_for
from nada.run.precision import Precision, set_numerics, set_precision
from nada.run.steps import Stateful
from nada.stylegan2.adversarial import AdversarialTrainer, TrainingHyperparameters


@dataclass
class FewShotHyperparameters:
    """What every adversarial method has in common; defaults are those of the published runs.

    iterations: steps of G and D together, catch-up included. published_iterations: those of the
    published runs; the ratio of the two, s, multiplies every length below that is marked (s).
    batch: images per step. g_lr, d_lr: Adam's, before the correction for lazy regularisation.
    r1_gamma, path_length_weight, style_mixing: see nada/stylegan2/adversarial.py.
    ema_kimg (s): half-life of the averaged generator, in thousands of images. 1.25 at batch 4 is the
    published decay of 0.5 ** (32 / 10000) a step, a half-life of 312.5 steps.
    catchup_steps (s, but 10 or more; 0 for none): steps of D alone under the warm start nada_catchup.
    mirror: probability that a real image is mirrored, each by itself.
    sampling: 'epochs' shows every real image once before any comes again, as the published loaders
    do; 'replacement' draws each image of a batch from all. See baselines/adversarial/batches.py.
    snapshots: models kept on the way: how many, evenly spaced, or a list of steps.
    checkpoint_every: steps between training states kept for resume; 0 keeps none.
    precision: 'mixed' renders G's images in half precision where D or G's loss sees them; D, R1 and
    path length stay float32. tf32, deterministic: on a GPU; see nada/run/precision.py.
    """

    iterations: int = setting(5000, 1)
    published_iterations: int = setting(5000, 1)
    batch: int = setting(4, 1)
    g_lr: float = setting(0.002, maximum=1, above=0)
    d_lr: float = setting(0.002, maximum=1, above=0)
    r1_gamma: float = setting(10.0, 0, 10_000)
    path_length_weight: float = setting(2.0, 0, 10_000)
    style_mixing: float = setting(0.9, 0, 1)
    ema_kimg: float = setting(1.25, 0, 100_000)
    catchup_steps: int = setting(50, 0)
    mirror: float = setting(0.5, 0, 1)
    sampling: Sampling = "epochs"
    snapshots: int | list[int] = setting(5, 0)  # noqa: RUF009 (a frozen default)
    checkpoint_every: int = setting(100, 0)
    precision: Precision = "fp32"
    tf32: bool = False
    deterministic: bool = True

    def length(self, name: str) -> float:
        """A setting marked (s) at this run's number of iterations."""
        return scaled(vars(self), name)

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
    of the model. parts: the training state beside the trainer, by name. before_step(step) and
    after_step(report) are called around each step of G and D, step = 1, 2, … counted from where G
    joins in; after_step returns more values for the curves. Neither is called while D catches up
    (App. C). The values of a report are 0-d tensors on a GPU; reading one waits for the device.
    Raises UserError where a batch does not fit the device's memory: it cannot be split, because D
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
    """Steps of D alone at the start. Raises UserError where none would be left for G."""
    steps = hparams.length("catchup_steps")
    if steps >= hparams.iterations:
        raise UserError(
            f"{job.label}: D catches up for {steps} steps, but the run has only "
            f"{hparams.iterations} iterations; raise iterations."
        )
    return steps


def plain_trainer(start: Start, hparams: FewShotHyperparameters, **hooks) -> AdversarialTrainer:
    """The adversarial trainer of a start, with a method's hooks."""
    return AdversarialTrainer(start.G, start.D, start.G_ema, hparams.training(), **hooks)
