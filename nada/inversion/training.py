"""Training of an encoder on a frozen source generator (pSp, e4e, ReStyle).

    L = λ_l2 mean (G(w) − x)² + λ_lpips LPIPS + λ_id ID + λ_w-norm ‖w − w̄‖     (Richardson et al. 2021)
        + λ_delta Σ_i ‖w_i − w_0‖ + λ_adv softplus(−D(w))                    (e4e; Tov et al. 2021)

With feedback (ReStyle; Alaluf et al. 2021) each pass has its own loss, without gradients between passes;
they are summed. Weights and schedules: README.md and options/train_options.py of the public code.

The input of an encoder may be the image itself, a one-hot mask or a line drawing of it; the output is
always compared with the image.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from nada.inversion.inverter import Inverter
from nada.inversion.latent_discriminator import (
    CodePool,
    LatentDiscriminator,
    adversarial_loss,
    discriminator_loss,
    r1_penalty,
)
from nada.perceptual_distance import Lpips
from nada.ranger import Ranger
from nada.run.errors import UserError
from nada.run.hyperparameters import Whole, hyperparameter, hyperparameters
from nada.run.record import Cost, Curves
from nada.run.steps import Steps
from nada.run.training_state import TrainingState
from nada.stylegan2.generator import Generator

BETAS = {"ranger": (0.95, 0.999), "adam": (0.9, 0.999)}  # defaults of the public optimisers
OPTIMISERS = {"ranger": Ranger, "adam": torch.optim.Adam}


@hyperparameters
class EncoderHyperparameters:
    """How an encoder is trained. Defaults: the public code's for faces; e4e's where only it has the term."""

    iterations: Whole = hyperparameter(
        200_000, "Training steps.", unit="steps", source="e4e; pSp's option: at most 500 000", ge=1
    )
    batch: Whole = hyperparameter(8, "Images of a step.", unit="images", source="official", ge=2)
    optimiser: Literal["ranger", "adam"] = hyperparameter("ranger", "Optimiser.", source="official")
    lr: float = hyperparameter(1e-4, "Learning rate.", source="official", gt=0)
    lambda_l2: float = hyperparameter(1.0, "Weight of the mean squared difference.", source="paper", ge=0)
    lambda_lpips: float = hyperparameter(0.8, "Weight of LPIPS.", source="paper", ge=0)
    lambda_id: float = hyperparameter(
        0.1, "Weight of the identity loss; it needs a network of identities.",
        source="pSp; e4e: 0.5", ge=0,
    )  # fmt: skip
    lambda_w_norm: float = hyperparameter(
        0.0, "Weight of ‖w − w̄‖.", source="official; 0.005 for masks and drawings", ge=0
    )
    lambda_delta: float = hyperparameter(2e-4, "Weight of the norms of e4e's deltas.", source="e4e", ge=0)
    lambda_adversarial: float = hyperparameter(
        0.1, "Weight of e4e's latent discriminator; used with the kinds of e4e.", source="e4e", ge=0
    )
    d_lr: float = hyperparameter(2e-5, "Learning rate of the discriminator.", source="e4e", gt=0)
    r1_gamma: float = hyperparameter(10.0, "Weight of R1: γ/2 ‖∇D(w)‖².", source="e4e", ge=0)
    r1_interval: Whole = hyperparameter(
        16, "R1 is applied every so many steps, with this factor.", unit="steps", source="e4e", ge=1
    )
    pool: Whole = hyperparameter(
        50, "Earlier codes that the discriminator is shown.", unit="codes", source="e4e", ge=0
    )
    progressive_start: Whole = hyperparameter(
        20_000, "Steps before the first delta is trained.", unit="steps", source="e4e", ge=0
    )
    progressive_every: Whole = hyperparameter(
        2_000, "Steps between two further deltas.", unit="steps", source="e4e", ge=1
    )
    noise: Literal["random", "const"] = hyperparameter(
        "random", "Noise of the images in training.", source="official; ours: const"
    )


# Losses -------------------------------------------------------------------------------------------


def w_norm_loss(w_plus: Tensor, latent_avg: Tensor) -> Tensor:
    """mean over images of ‖w − w̄‖, over slots and features: [N,L,D], [L,D] -> 0-d (criteria/w_norm.py)."""
    return (w_plus - latent_avg).flatten(1).norm(dim=1).mean()


def delta_loss(w_plus: Tensor, deltas: int) -> Tensor:
    """Σ_{i=1..deltas} mean over images of ‖w_i − w_0‖: [N,L,D] -> 0-d.

    As in the paper and in ReStyle's code; e4e's code leaves out the newest delta.
    """
    offsets = w_plus[:, 1 : deltas + 1] - w_plus[:, :1]
    return offsets.norm(dim=2).mean(dim=0).sum()


def progressive_deltas(step: int, slots: int, hparams: EncoderHyperparameters) -> int:
    """Deltas that are trained at a step, counted from 0: none, then one more every so many steps."""
    if step < hparams.progressive_start:
        return 0
    return min(1 + (step - hparams.progressive_start) // hparams.progressive_every, slots - 1)


# One step -----------------------------------------------------------------------------------------


class EncoderTrainer:
    """The state of a training: an inverter, its optimiser, and for e4e the latent discriminator.

    inverter: is trained, in training mode. generator: frozen here, and on the inverter's device.
    lpips: (images, images) -> LPIPS of each pair. identity: (drawn, images) -> 1 − similarity of each
    pair; None leaves the term out. seed: of the discriminator's first weights and of the training's own
    random stream (w, noise, pool); torch's global stream stays as it is.
    Raises UserError for a generator of other codes.
    """

    def __init__(
        self,
        inverter: Inverter,
        generator: Generator,
        hparams: EncoderHyperparameters,
        lpips: Lpips,
        identity: Lpips | None = None,
        seed: int = 0,
    ):
        inverter.check_generator(generator)
        self.inverter, self.generator = inverter.train(), generator.eval().requires_grad_(False)
        self.hparams, self.lpips, self.identity = hparams, lpips, identity
        self.steps = 0
        device = generator.w_avg.device
        self.stream = torch.Generator(device).manual_seed(seed)
        self.choices = torch.Generator().manual_seed(seed)  # of slots and of the pool, on the CPU
        make, betas = OPTIMISERS[hparams.optimiser], BETAS[hparams.optimiser]
        self.optimiser = make(inverter.encoder.parameters(), lr=hparams.lr, betas=betas)
        self.discriminator = None
        if inverter.encoder.kind.deltas and hparams.lambda_adversarial:
            style_dim = generator.config["style_dim"]
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                self.discriminator = LatentDiscriminator(style_dim).to(device)
            self.d_optimiser = torch.optim.Adam(self.discriminator.parameters(), lr=hparams.d_lr)
            self.real_pool = CodePool(hparams.pool, style_dim, device)
            self.fake_pool = CodePool(hparams.pool, style_dim, device)

    def step(self, inputs: Tensor, images: Tensor) -> dict[str, Tensor]:
        """One step on inputs [N,C,S,S] and their images [N,3,S,S] in [-1,1]; the last pass's losses.

        `loss` is the sum that is minimised, over all passes; the terms are not weighted.
        """
        self._check(inputs, images)
        inverter, h = self.inverter, self.hparams
        self._set_deltas(self.steps)
        w_plus, total, terms, judged = inverter.start(len(inputs)), 0.0, {}, {}
        drawn = None
        if inverter.feedback:  # the image of w̄, the same for the batch
            with torch.no_grad():
                mean_image = inverter.draw(self.generator, inverter.start(1), images)
                drawn = mean_image.expand(len(inputs), -1, -1, -1)
        self.optimiser.zero_grad(set_to_none=True)
        for number in range(inverter.passes):
            w_plus = inverter.refine(inputs, w_plus, drawn)
            # the codes with w̄, as the adversarial loss sees them; public code shows D the encoder's output without it
            if number == 0 and self.discriminator is not None:
                judged = self._discriminator_step(w_plus.detach())
            drawn = inverter.draw(self.generator, w_plus, images, h.noise, self.stream)
            loss, terms = self._loss(w_plus, drawn, images)
            loss.backward()
            total = total + loss.detach()
            w_plus, drawn = w_plus.detach(), drawn.detach()
        self.optimiser.step()
        self.steps += 1
        return {"loss": total, **terms, **judged}

    def _set_deltas(self, step: int) -> None:
        encoder = self.inverter.encoder
        if encoder.kind.deltas:
            encoder.deltas = progressive_deltas(step, encoder.num_styles, self.hparams)

    def _loss(self, w_plus: Tensor, drawn: Tensor, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """(weighted sum, terms) of one pass."""
        h, encoder = self.hparams, self.inverter.encoder
        terms, weights = {"l2": F.mse_loss(drawn, images)}, {"l2": h.lambda_l2}
        if h.lambda_lpips:
            terms["lpips"], weights["lpips"] = self.lpips(drawn, images).mean(), h.lambda_lpips
        if self.identity is not None and h.lambda_id:
            terms["identity"], weights["identity"] = self.identity(drawn, images).mean(), h.lambda_id
        if h.lambda_w_norm:
            terms["w_norm"] = w_norm_loss(w_plus, self.inverter.latent_avg)
            weights["w_norm"] = h.lambda_w_norm
        if encoder.kind.deltas and h.lambda_delta and encoder.deltas:
            terms["delta"], weights["delta"] = delta_loss(w_plus, encoder.deltas), h.lambda_delta
        if self.discriminator is not None:
            trained = w_plus[:, : encoder.deltas + 1]  # the further slots repeat the first
            terms["adversarial"] = adversarial_loss(self.discriminator, trained)
            weights["adversarial"] = h.lambda_adversarial
        loss = sum(weights[name] * term for name, term in terms.items())
        return loss, {name: term.detach() for name, term in terms.items()}

    def _discriminator_step(self, w_plus: Tensor) -> dict[str, Tensor]:
        """Train D on codes of the mapping network and of the encoder, one slot of each image."""
        h, count, device = self.hparams, len(w_plus), w_plus.device
        with torch.no_grad():
            z_dim = self.generator.config["z_dim"]
            z = torch.randn(count, z_dim, generator=self.stream, device=device)
            real = self.generator.mapping(z, skip_w_avg_update=True)
        slots = torch.randint(self.inverter.encoder.deltas + 1, (count,), generator=self.choices)
        fake = w_plus[torch.arange(count), slots.to(device)]
        real = self.real_pool.exchange(real, self.choices)
        fake = self.fake_pool.exchange(fake, self.choices)
        self.discriminator.requires_grad_(True)
        loss = discriminator_loss(self.discriminator(real), self.discriminator(fake))
        self._update_discriminator(loss)
        if h.r1_gamma and self.steps % h.r1_interval == 0:
            penalty = r1_penalty(self.discriminator, real)
            self._update_discriminator(h.r1_gamma / 2 * h.r1_interval * penalty)
        self.discriminator.requires_grad_(False)  # the encoder's loss passes through it
        return {"discriminator": loss.detach()}

    def _update_discriminator(self, loss: Tensor) -> None:
        self.d_optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.d_optimiser.step()

    def _check(self, inputs: Tensor, images: Tensor) -> None:
        """Raise UserError if inputs and images do not belong together; the encoder checks the inputs' size."""
        expected = (len(inputs), 3, *inputs.shape[2:])
        if tuple(images.shape) != expected:
            raise UserError(
                f"encoder training: images of shape {list(images.shape)} given with inputs of shape "
                f"{list(inputs.shape)}; {list(expected)} expected"
            )
        if inputs.shape[1] != self.inverter.in_channels:
            raise UserError(
                f"encoder training: inputs of {inputs.shape[1]} channels given, but this encoder takes "
                f"{self.inverter.in_channels}"
            )

    def tensors(self) -> dict[str, Tensor]:
        """The inverter's tensors, for a snapshot."""
        return self.inverter.state_dict()

    def _parts(self) -> dict:
        parts = {"inverter": self.inverter, "optimiser": self.optimiser}
        if self.discriminator is not None:
            parts |= {"discriminator": self.discriminator, "d_optimiser": self.d_optimiser}
            parts |= {"real_pool": self.real_pool, "fake_pool": self.fake_pool}
        return parts

    def state_dict(self) -> dict:
        """Everything that changes in training, as tensors, numbers and dictionaries."""
        own = {"steps": self.steps, "stream": self.stream.get_state(), "choices": self.choices.get_state()}
        return {**own, **{name: part.state_dict() for name, part in self._parts().items()}}

    def load_state_dict(self, state: dict) -> None:
        self.steps = state["steps"]
        self.stream.set_state(state["stream"])
        self.choices.set_state(state["choices"])
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self._set_deltas(max(0, self.steps - 1))  # those of the last step


# The loop -----------------------------------------------------------------------------------------


class Pretraining:
    """A resumable training without a run spec: what nada.run.job.Job is for a run.

    name: in messages and progress lines. state: folder of training states; key: of this training, for
    example a hash of its recipe (nada.run.training_state.state_key).
    """

    def __init__(self, name: str, state, key: str, log: Callable[[str], None] | None = None):
        self.name = self.label = name
        self.log = log or functools.partial(print, flush=True)
        self.training_state = TrainingState(Path(state), key)
        self.curves, self.cost = Curves(name), Cost()
        self._steps: Steps | None = None

    def steps(self, iterations, snapshots, state, tensors, checkpoint_every: int = 100) -> Steps:
        """As `Job.steps`."""
        self._steps = Steps(self, iterations, snapshots, state, tensors, checkpoint_every)
        return self._steps

    def report(self, images: int, **values) -> None:
        """As `Job.report`."""
        self._steps.report(images, values)


def train_encoder(
    job,
    trainer: EncoderTrainer,
    draw: Callable[[int], tuple[Tensor, Tensor]],
    snapshots: int | list[int] = 0,
    checkpoint_every: int = 100,
) -> Inverter:
    """Train to the end, resuming where an earlier attempt stopped; the inverter, in eval mode.

    job: a nada.run.job.Job or a Pretraining. draw(step): inputs and images of a step, counted from 1; it
    may draw from torch's global stream, which a resumed training restores, or seed itself by the step.
    """
    iterations = trainer.hparams.iterations
    state = {"trainer": trainer}
    for step in job.steps(iterations, snapshots, state, trainer.tensors, checkpoint_every):
        inputs, images = draw(step)
        terms = trainer.step(inputs, images)
        job.report(images=len(images) * trainer.inverter.passes, **terms)
    job.curves.read()
    return trainer.inverter.eval()
