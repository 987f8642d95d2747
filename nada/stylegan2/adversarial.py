"""Adversarial training of StyleGAN2 (Karras et al. 2020, §3 and appendix B).

The same loop pre-trains a source model and fine-tunes it on a few images. Few-shot methods change it
through the trainer's hooks.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nada.run.errors import UserError
from nada.run.precision import full_precision
from nada.stylegan2.discriminator import Discriminator
from nada.stylegan2.generator import Generator

# Hyperparameters ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class TrainingHyperparameters:
    """Hyperparameters of the adversarial loop; defaults are Karras et al. 2020, configuration F.

    Intervals are in iterations, `ema_kimg` in thousands of real images. A weight of 0 disables its
    regularisation, and with it the lazy correction of that network's Adam.
    """

    g_lr: float = 0.002
    d_lr: float = 0.002
    beta1: float = 0.0
    beta2: float = 0.99
    r1_gamma: float = 10.0
    r1_interval: int = 16
    path_length_weight: float = 2.0
    path_length_interval: int = 4
    path_length_decay: float = 0.01  # share of the new batch in the running mean a
    path_length_batch_shrink: int = 2
    style_mixing: float = 0.9  # probability that a batch mixes two codes
    ema_kimg: float = 10.0  # half-life of the averaged generator
    ema_rampup: float | None = None  # half-life at most this share of the images seen; None: off

    def __post_init__(self):
        for field in fields(self):
            value, (low, high) = getattr(self, field.name), RANGES[field.name]
            if value is None and field.default is None:
                continue
            whole = field.type is int
            if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
                kind = "a whole number" if whole else "a number"
                raise UserError(f"{field.name}: {value!r} given, must be {kind}")
            if not low <= value <= high:  # also refuses NaN
                raise UserError(f"{field.name}: {value} given, must be in {low}..{high}")


RANGES = {
    "g_lr": (0.0, 1.0),
    "d_lr": (0.0, 1.0),
    "beta1": (0.0, 0.9999),
    "beta2": (0.0, 0.9999),
    "r1_gamma": (0.0, 1e4),
    "r1_interval": (1, 1024),
    "path_length_weight": (0.0, 1e4),
    "path_length_interval": (1, 1024),
    "path_length_decay": (0.0, 1.0),
    "path_length_batch_shrink": (1, 64),
    "style_mixing": (0.0, 1.0),
    "ema_kimg": (0.0, 1e5),
    "ema_rampup": (0.0, 1.0),
}

# Losses -------------------------------------------------------------------------------------------


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """mean softplus(-D(real)) + mean softplus(D(fake)), logistic loss (Goodfellow et al. 2014)."""
    return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()


def generator_loss(fake_logits: Tensor) -> Tensor:
    """mean softplus(-D(fake)), the non-saturating logistic loss (Goodfellow et al. 2014)."""
    return F.softplus(-fake_logits).mean()


def r1_penalty(images: Tensor, logits: Tensor) -> Tensor:
    """E ||grad_x D(x)||²: summed over pixels, mean over the batch (Mescheder et al. 2018, Eq. 9).

    images [N,3,R,R] require gradients and lead to `logits`. The factor gamma/2 is the caller's.
    """
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradient.square().sum(dim=(1, 2, 3)).mean()


def path_lengths(images: Tensor, w_plus: Tensor, y: Tensor) -> Tensor:
    """||J_wᵀ y|| per sample, [N]: sqrt(mean over slots of the sum over dimensions of g²).

    g = grad_w sum(G(w) * y), with y ~ N(0,1) / sqrt(H * W) of the shape of the images
    (Karras et al. 2020, Eq. 4). w_plus [N,num_ws,style_dim] leads to `images`.
    """
    (gradient,) = torch.autograd.grad((images * y).sum(), w_plus, create_graph=True)
    return gradient.square().sum(dim=2).mean(dim=1).sqrt()


def path_length_penalty(lengths: Tensor, path_mean: Tensor, decay: float) -> tuple[Tensor, Tensor]:
    """(mean of (lengths - a)², new a), a <- path_mean + decay * (mean lengths - path_mean).

    The new a is used, and gradients flow through it (Karras et al. 2020, Eq. 4). It is returned
    detached; the weight is the caller's.
    """
    a = path_mean.lerp(lengths.mean(), decay)
    return (lengths - a).square().mean(), a.detach()


# Optimiser, style mixing, averaging ---------------------------------------------------------------


def lazy_adam(
    parameters: Iterable[nn.Parameter], lr: float, betas: tuple[float, float], interval: int
) -> torch.optim.Adam:
    """Adam for a network regularised every `interval` steps in a separate step.

    c = k/(k+1) makes up for the extra step: lr * c, betas ** c (Karras et al. 2020, appendix B).
    interval 0 means never regularised: c = 1.
    """
    c = interval / (interval + 1) if interval else 1.0
    betas = (betas[0] ** c, betas[1] ** c)
    # fused: one kernel for all tensors, fast for many small ones
    return torch.optim.Adam(list(parameters), lr=lr * c, betas=betas, eps=1e-8, fused=True)


def mix_styles(w1: Tensor, w2: Tensor, crossover: int, num_ws: int) -> Tensor:
    """W+ codes [N,num_ws,style_dim]: w1 in the slots below `crossover`, w2 from there on."""
    first = w1[:, None].expand(-1, crossover, -1)
    second = w2[:, None].expand(-1, num_ws - crossover, -1)
    return torch.cat([first, second], dim=1)


def draw_crossover(num_ws: int, probability: float) -> int:
    """One crossover for a batch, uniform in 1..num_ws-1, or num_ws: no mixing. Torch's RNG."""
    if torch.rand(()).item() < probability:
        return int(torch.randint(1, num_ws, ()))
    return num_ws


def ema_decay(
    batch: int, ema_kimg: float, images_seen: int = 0, rampup: float | None = None
) -> float:
    """0.5 ** (batch / half-life) with a half-life of ema_kimg * 1000 images.

    `rampup` limits the half-life to rampup * images_seen.
    """
    half_life = ema_kimg * 1000
    if rampup is not None:
        half_life = min(half_life, rampup * images_seen)
    return 0.5 ** (batch / max(half_life, 1e-8))


@torch.no_grad()
def update_ema(average: nn.Module, model: nn.Module, decay: float) -> None:
    """average <- model + decay * (average - model) for parameters; buffers are copied."""
    for p_average, p in zip(average.parameters(), model.parameters(), strict=True):
        p_average.lerp_(p, 1 - decay)
    for b_average, b in zip(average.buffers(), model.buffers(), strict=True):
        b_average.copy_(b)


# The loop -----------------------------------------------------------------------------------------

MAX_UNCHECKED = 100  # losses that stay on a GPU before they are checked


def identity(images: Tensor) -> Tensor:
    """No augmentation."""
    return images


class AdversarialTrainer:
    """Trains G and D against each other, one `step` per batch of real images.

    A step is, in this order, each with its own draw of latents: D; R1 of D every `r1_interval`; G;
    path length of G every `path_length_interval`; the average G_ema. Step 0 regularises both.

    Hooks for the methods that fine-tune on few images:
      augment(images) -> images, on all that D sees (R1 goes through it to the real images);
      latent(n) -> z [n, z_dim], N(0,I) by default (may be trainable, as in MineGAN);
      discriminate(images) -> logits of any shape, D by default (R1 always uses D);
      extra_generator_loss(images) -> scalar added to the loss of G, of the images of its step;
      g_parameters, d_parameters: parameters of the two optimisers, all of G and of D by default. A
      step changes neither those that do not require gradients nor their Adam state;
      sample_w_plus (override it): the codes of the fakes that D judges, not those of path length.

    G and D are put in training mode, G_ema (None: no average) in eval mode. To freeze the mapping
    network, call `G.mapping.eval()` afterwards, which keeps w_avg.

    `waits`: whether each loss is checked before its step, and reports hold numbers. True on a CPU. On
    a GPU this would wait for the device, so reports hold 0-d tensors, and `check` finds a loss that is
    not finite once every MAX_UNCHECKED losses.
    G may render in half precision (nada.run.precision.set_precision) for the images that D sees and
    G learns from. D itself, R1 and path length stay in full precision, that of the networks.
    """

    def __init__(
        self,
        G: Generator,
        D: Discriminator,
        G_ema: Generator | None,
        hparams: TrainingHyperparameters | None = None,
        *,
        augment: Callable[[Tensor], Tensor] = identity,
        latent: Callable[[int], Tensor] | None = None,
        discriminate: Callable[[Tensor], Tensor] | None = None,
        extra_generator_loss: Callable[[Tensor], Tensor] | None = None,
        g_parameters: Iterable[nn.Parameter] | None = None,
        d_parameters: Iterable[nn.Parameter] | None = None,
    ):
        self.G, self.D = G.train(), D.train()
        self.G_ema = G_ema.eval() if G_ema is not None else None
        self.hparams = hparams = hparams or TrainingHyperparameters()
        self.augment = augment
        self.latent = latent or self.normal_latent
        self.discriminate = discriminate or D
        self.extra_generator_loss = extra_generator_loss
        betas = (hparams.beta1, hparams.beta2)
        g_interval = hparams.path_length_interval if hparams.path_length_weight else 0
        d_interval = hparams.r1_interval if hparams.r1_gamma else 0
        g_parameters = G.parameters() if g_parameters is None else g_parameters
        d_parameters = D.parameters() if d_parameters is None else d_parameters
        self.g_optimizer = lazy_adam(g_parameters, hparams.g_lr, betas, g_interval)
        self.d_optimizer = lazy_adam(d_parameters, hparams.d_lr, betas, d_interval)
        self.path_mean = G.w_avg.new_zeros(())  # a of the path length penalty
        self.waits = G.w_avg.device.type == "cpu"
        self._unchecked: list[tuple[int, str, Tensor]] = []  # (step, name, loss)
        self.steps = 0  # taken so far
        self.images_seen = 0  # real images shown so far

    def step(self, real_images: Tensor, train_generator: bool = True) -> dict:
        """Take one step on real images [N,3,R,R] in [-1,1]; return losses and logits (see `waits`).

        train_generator=False trains D alone (discriminator catch-up, Gal et al. 2021, Tab. 1): R1
        keeps its schedule; G, w_avg and G_ema do not change. Raises UserError, naming the step, for a
        loss that is not finite, at once or (see `waits`) some steps later.
        """
        hparams, batch = self.hparams, len(real_images)
        with torch.no_grad():
            fake_images = self.G.synthesis(self.sample_w_plus(batch, move_w_avg=train_generator))
        report = self.discriminator_step(real_images, fake_images)
        if hparams.r1_gamma and self.steps % hparams.r1_interval == 0:
            report |= self.r1_step(real_images)
        if train_generator:
            report |= self._generator_step(batch)
            if hparams.path_length_weight and self.steps % hparams.path_length_interval == 0:
                report |= self._path_length_step(max(1, batch // hparams.path_length_batch_shrink))
            if self.G_ema is not None:
                decay = ema_decay(batch, hparams.ema_kimg, self.images_seen, hparams.ema_rampup)
                update_ema(self.G_ema, self.G, decay)
        self.steps += 1
        self.images_seen += batch
        return report

    # What the steps draw ......................................................................

    def normal_latent(self, n: int) -> Tensor:
        """z ~ N(0, I), [n, z_dim], in the precision of G."""
        w_avg = self.G.w_avg
        return torch.randn(n, self.G.config["z_dim"], device=w_avg.device, dtype=w_avg.dtype)

    def sample_w_plus(self, n: int, move_w_avg: bool = True) -> Tensor:
        """W+ codes [n,num_ws,style_dim] of the fakes that D judges: `mixed_w_plus` by default."""
        return self.mixed_w_plus(n, move_w_avg)

    def mixed_w_plus(self, n: int, move_w_avg: bool = True) -> Tensor:
        """W+ codes [n,num_ws,style_dim] of fresh latents, with style mixing; moves w_avg once."""
        w = self.G.mapping(self.latent(n), skip_w_avg_update=not move_w_avg)
        crossover = draw_crossover(self.G.num_ws, self.hparams.style_mixing)
        if crossover == self.G.num_ws:
            return self.G.broadcast(w)
        second = self.G.mapping(self.latent(n), skip_w_avg_update=True)
        return mix_styles(w, second, crossover, self.G.num_ws)

    # The four kinds of optimiser step .........................................................

    def discriminator_step(self, real_images: Tensor, fake_images: Tensor) -> dict:
        """One step of D on real and fake images, both [N,3,R,R]."""
        fake_logits = self.discriminate(self.augment(fake_images))
        real_logits = self.discriminate(self.augment(real_images))
        loss = discriminator_loss(real_logits, fake_logits)
        self._optimise(self.d_optimizer, loss, "discriminator loss")
        return {
            "d_loss": self.shown(loss),
            "real_logit": self.shown(real_logits.mean()),
            "fake_logit": self.shown(fake_logits.mean()),
            "real_sign": self.shown(real_logits.sign().mean()),  # ADA adapts p to it
        }

    def r1_step(self, real_images: Tensor) -> dict:
        """One lazy step of D on its gradient penalty at real images [N,3,R,R]."""
        real_images = real_images.detach().requires_grad_(True)
        penalty = r1_penalty(real_images, self.D(self.augment(real_images)))
        loss = penalty * (self.hparams.r1_gamma / 2 * self.hparams.r1_interval)
        self._optimise(self.d_optimizer, loss, "R1 penalty")
        return {"r1": self.shown(penalty)}

    def _generator_step(self, batch: int) -> dict:
        fake_images = self.G.synthesis(self.sample_w_plus(batch))
        loss = adversarial = generator_loss(self.discriminate(self.augment(fake_images)))
        report = {"g_loss": self.shown(adversarial)}
        if self.extra_generator_loss is not None:
            extra = self.extra_generator_loss(fake_images)
            loss = adversarial + extra
            report["extra_loss"] = self.shown(extra)
        self._optimise(self.g_optimizer, loss, "generator loss")
        return report

    def _path_length_step(self, batch: int) -> dict:
        w_plus = self.mixed_w_plus(batch)
        if not w_plus.requires_grad:  # the mapping network is frozen
            w_plus = w_plus.detach().requires_grad_(True)
        with full_precision(self.G):  # its gradient is a second derivative
            images = self.G.synthesis(w_plus)
        y = torch.randn_like(images) / math.sqrt(images.shape[2] * images.shape[3])
        lengths = path_lengths(images, w_plus, y)
        decay = self.hparams.path_length_decay
        penalty, path_mean = path_length_penalty(lengths, self.path_mean, decay)
        loss = penalty * (self.hparams.path_length_weight * self.hparams.path_length_interval)
        self._optimise(self.g_optimizer, loss, "path length penalty")
        self.path_mean = path_mean
        return {"path_length": self.shown(lengths.mean()), "path_penalty": self.shown(penalty)}

    def shown(self, value: Tensor) -> float | Tensor:
        """A 0-d tensor for a report: its number if `waits`, otherwise the tensor."""
        return value.item() if self.waits else value.detach()

    def check(self) -> None:
        """Check the losses of the last steps. Raises UserError for the first that is not finite."""
        if not self._unchecked:
            return
        values = torch.stack([loss for _, _, loss in self._unchecked]).tolist()
        for (step, name, _), value in zip(self._unchecked, values, strict=True):
            if not math.isfinite(value):
                raise UserError(
                    f"training step {step}: the {name} is {value}; lower the learning rate "
                    f"or check the images, then start again from the last good state"
                )
        self._unchecked.clear()

    def _optimise(self, optimizer: torch.optim.Optimizer, loss: Tensor, name: str) -> None:
        self._unchecked.append((self.steps, name, loss.detach()))
        if self.waits or len(self._unchecked) >= MAX_UNCHECKED:
            self.check()
        parameters = [
            p for group in optimizer.param_groups for p in group["params"] if p.requires_grad
        ]
        if not parameters:
            return
        optimizer.zero_grad(set_to_none=True)
        loss.backward(inputs=parameters)
        # As in the published training code, a loss that does not reach a parameter (e.g. R1 a bias)
        # is a step with gradient 0 for its Adam state, but only after a loss has reached it: Adam's
        # correction of the first step is meant for the first gradient. The optimiser's state shows
        # whether that has happened, also after a resume.
        for p in parameters:
            if p.grad is None and optimizer.state.get(p):
                p.grad = torch.zeros_like(p)
        optimizer.step()

    # Resume ...................................................................................

    def state_dict(self) -> dict:
        """Everything but the random streams; a run resumed from it is bit-equal to an uninterrupted one."""
        return {
            "steps": self.steps,
            "images_seen": self.images_seen,
            "path_mean": self.path_mean,
            "G": self.G.state_dict(),
            "D": self.D.state_dict(),
            "G_ema": None if self.G_ema is None else self.G_ema.state_dict(),
            "g_optimizer": self.g_optimizer.state_dict(),
            "d_optimizer": self.d_optimizer.state_dict(),
        }

    def load_state_dict(self, state: dict) -> None:
        """Restore a `state_dict` of a trainer that was built in the same way."""
        self.steps = state["steps"]
        self.images_seen = state["images_seen"]
        self.path_mean = state["path_mean"].to(self.path_mean.device)
        self.G.load_state_dict(state["G"])
        self.D.load_state_dict(state["D"])
        if self.G_ema is not None:
            self.G_ema.load_state_dict(state["G_ema"])
        self.g_optimizer.load_state_dict(state["g_optimizer"])
        self.d_optimizer.load_state_dict(state["d_optimizer"])
