"""Inversion by optimisation: a code in W+ for each image, by gradient descent.

The projector of StyleGAN2 (Karras et al. 2020, appendix D) in W+ (Abdal et al. 2019), with L2 and a
regularisation towards the distribution of w. Schedules and constants: projector.py of
NVlabs/stylegan2-ada-pytorch.
"""

import contextlib
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from nada.perceptual_distance import Lpips
from nada.ramped_rate import ramped_rate
from nada.run.errors import UserError
from nada.run.hyperparameters import Betas, Whole, hyperparameter, hyperparameters
from nada.stylegan2.generator import Generator

NOISE_RAMP = 0.75  # share of the steps after which no noise is added to w
SMALLEST_NOISE = 8  # side of the smallest noise map in the pyramid, pixels
W_SAMPLES, W_SEED = 10_000, 123  # codes for the distribution of w
LEAST_VARIANCE = 1e-4  # of the largest: directions in which w hardly varies count as this wide


@hyperparameters
class ProjectorHyperparameters:
    """How a code is searched. Defaults: the public projector's, and ours where it has no such term."""

    steps: Whole = hyperparameter(1000, "Steps of Adam.", unit="steps", source="official", ge=1)
    lr: float = hyperparameter(0.1, "Adam's largest learning rate.", source="official", gt=0)
    betas: Betas = hyperparameter((0.9, 0.999), "Adam's decay rates.", source="official")
    lambda_lpips: float = hyperparameter(
        1.0, "Weight of LPIPS.", source="official, with LPIPS on pixels 0..255", ge=0
    )
    lambda_l2: float = hyperparameter(
        1.0, "Weight of the mean squared difference of pixels.", source="ours; official: 0", ge=0
    )
    lambda_w: float = hyperparameter(
        1e-3, "Weight of the squared Mahalanobis distance of a code from the distribution of w.",
        source="ours; official: 0", ge=0,
    )  # fmt: skip
    w_noise: float = hyperparameter(
        0.05, "Noise added to w at first, in standard deviations of w; falls to 0.",
        source="official", ge=0,
    )  # fmt: skip
    noise: Literal["optimised", "const", "none"] = hyperparameter(
        "optimised", "Noise maps: optimised with the code, the generator's own, or none.",
        source="official; ours: const, none",
    )  # fmt: skip
    lambda_noise: float = hyperparameter(
        1e5, "Weight of the autocorrelation of optimised noise maps.", source="official", ge=0
    )
    noise_pyramid: Literal["unit_variance", "official"] = hyperparameter(
        "unit_variance", "Smaller noise maps are means of 2x2 pixels times 2, which keeps their "
        "variance, or without the factor.", source="paper; official: the second",
    )  # fmt: skip
    perceptual_size: Whole = hyperparameter(
        256, "Larger images are reduced to this side before LPIPS, by areas.", unit="pixels",
        source="official", ge=16,
    )  # fmt: skip


class WDistribution(NamedTuple):
    """Mean [D], axes [D,D] (columns) and standard deviations [D] along them of w; spread: ‖w − w̄‖ rms."""

    mean: Tensor
    axes: Tensor
    scales: Tensor
    spread: float

    def distance(self, w_plus: Tensor) -> Tensor:
        """Squared Mahalanobis distance (w − w̄)ᵀ Σ⁻¹ (w − w̄) / D, mean over slots: [N,L,D] -> [N].

        1 on average for codes of the mapping network.
        """
        along = (w_plus - self.mean) @ self.axes / self.scales
        return along.square().mean(dim=(1, 2))


@torch.no_grad()
def w_distribution(generator: Generator, samples: int = W_SAMPLES) -> WDistribution:
    """Mean and covariance of w over `samples` codes of a fixed seed, as its principal axes."""
    stream = torch.Generator().manual_seed(W_SEED)
    z = torch.randn(samples, generator.config["z_dim"], generator=stream).to(generator.w_avg.device)
    w = torch.cat([generator.mapping(part, skip_w_avg_update=True) for part in z.split(1000)])
    wide = w.double()
    mean = wide.mean(dim=0)
    centred = wide - mean
    variances, axes = torch.linalg.eigh(centred.T @ centred / samples)
    scales = variances.clamp_min(LEAST_VARIANCE * variances[-1]).sqrt()
    spread = centred.square().sum(dim=1).mean().sqrt().item()
    return WDistribution(mean.to(w), axes.to(w), scales.to(w), spread)


class Projection(NamedTuple):
    """What an optimisation finds.

    w_plus: codes [N,L,D]. noise: the optimised maps [N,1,r,r] of each convolution, or None. terms: the
    last step's losses of each image, [N].
    """

    w_plus: Tensor
    noise: list[Tensor] | None
    terms: dict[str, Tensor]


def render(generator: Generator, w_plus: Tensor, noise: list[Tensor] | None, mode: str = "const") -> Tensor:
    """Images [N,3,R,R] of codes with their own noise maps; without maps, in the noise mode given.

    noise: a map [N,1,r,r] for each of the generator's convolutions, in their order.
    """
    if noise is None:
        return generator.synthesis(w_plus, mode)
    own = {f"convs.{i}.noise_const": maps for i, maps in enumerate(noise)}
    return functional_call(generator.synthesis, own, (w_plus, "const"))


def noise_autocorrelation(maps: Tensor, unit_variance: bool = True) -> Tensor:
    """Σ over sides and axes of mean(n · n shifted by one pixel)², of each map: [N,1,R,R] -> [N].

    The sides are R, R/2, … 8; a smaller map is the mean of 2x2 pixels, times 2 with `unit_variance`.
    0 on average for white noise, so that no picture hides in the maps.
    """
    total = maps.new_zeros(len(maps))
    while True:
        for axis in (2, 3):
            total = total + (maps * maps.roll(1, axis)).mean(dim=(1, 2, 3)).square()
        if maps.shape[2] <= SMALLEST_NOISE:
            return total
        maps = F.avg_pool2d(maps, 2) * (2 if unit_variance else 1)


def project(
    generator: Generator,
    images: Tensor,
    lpips: Lpips,
    hparams: ProjectorHyperparameters | None = None,
    start: Tensor | None = None,
    distribution: WDistribution | None = None,
    stream: torch.Generator | None = None,
    progress: Callable[[int, dict[str, Tensor]], None] | None = None,
) -> Projection:
    """Codes in W+ whose images are like `images` [N,3,R,R] in [-1,1]; the generator does not change.

        L = λ_lpips LPIPS + λ_l2 mean (G(w) − x)² + λ_w d²(w) + λ_noise Σ autocorrelation

    summed over images, so that each has its own optimum. lpips: of pairs, see
    nada/perceptual_distance.py. start: first codes [N,L,D], for example an encoder's; None: the mean of w. distribution: of `w_distribution`, to compute
    it once. stream: for the noise maps and the noise on w; None: seed 0. progress: called after each
    step, from 1, with the losses of each image [N]. Raises UserError for images of another size or
    with values that are not finite, and where the loss is not finite.
    """
    hparams = ProjectorHyperparameters() if hparams is None else hparams
    _check_images(generator, images)
    device = generator.w_avg.device
    images = images.to(device, torch.float32)
    stream = torch.Generator(device).manual_seed(0) if stream is None else stream
    distribution = w_distribution(generator) if distribution is None else distribution
    if start is None:
        start = generator.broadcast(distribution.mean.expand(len(images), -1))
    elif tuple(start.shape) != (len(images), generator.num_ws, generator.config["style_dim"]):
        raise UserError(
            f"start: codes of shape {list(start.shape)} given, but {len(images)} images of this "
            f"generator need [{len(images)}, {generator.num_ws}, {generator.config['style_dim']}]"
        )

    # what is optimised: codes, and noise maps of each image
    w_plus = start.detach().clone().requires_grad_(True)
    noise = None
    if hparams.noise == "optimised":
        sides = [conv.resolution for conv in generator.synthesis.convs]
        sizes = [(len(images), 1, side, side) for side in sides]
        drawn = [torch.randn(size, generator=stream, device=device) for size in sizes]
        noise = [maps.requires_grad_(True) for maps in drawn]
    optimiser = torch.optim.Adam([w_plus, *(noise or [])], lr=hparams.lr, betas=hparams.betas)
    reduced = _reduced(images, hparams.perceptual_size)
    terms: dict[str, Tensor] = {}

    with _frozen(generator):
        for step in range(hparams.steps):
            for group in optimiser.param_groups:
                group["lr"] = ramped_rate(step, hparams.steps, hparams.lr)
            remaining = max(0.0, 1 - step / hparams.steps / NOISE_RAMP)
            scale = distribution.spread * hparams.w_noise * remaining**2
            shake = torch.randn(w_plus.shape, generator=stream, device=device) * scale
            drawn = render(generator, w_plus + shake, noise, hparams.noise)

            terms = {
                "lpips": lpips(_reduced(drawn, hparams.perceptual_size), reduced).reshape(len(images), -1).sum(1),
                "l2": (drawn - images).square().mean(dim=(1, 2, 3)),
                "w": distribution.distance(w_plus),
            }
            weighted = {"lpips": hparams.lambda_lpips, "l2": hparams.lambda_l2, "w": hparams.lambda_w}
            if noise is not None:
                unit = hparams.noise_pyramid == "unit_variance"
                terms["noise"] = sum(noise_autocorrelation(maps, unit) for maps in noise)
                weighted["noise"] = hparams.lambda_noise
            loss = sum(weight * terms[name] for name, weight in weighted.items())
            optimiser.zero_grad(set_to_none=True)
            loss.sum().backward()
            optimiser.step()
            if noise is not None:
                _normalise(noise)
            terms = {name: term.detach() for name, term in {**terms, "loss": loss}.items()}
            if progress is not None:
                progress(step + 1, terms)
    if not terms["loss"].isfinite().all() or not w_plus.isfinite().all():
        raise UserError("inversion: the loss is not finite; try a lower lr")
    found = None if noise is None else [maps.detach() for maps in noise]
    return Projection(w_plus.detach(), found, terms)


def _check_images(generator: Generator, images: Tensor) -> None:
    side = generator.config["resolution"]
    if images.ndim != 4 or tuple(images.shape[1:]) != (3, side, side) or len(images) == 0:
        raise UserError(
            f"images: shape {list(images.shape)} given, but this generator draws [N, 3, {side}, {side}]; "
            "resize them first"
        )
    if not images.isfinite().all():
        raise UserError("images: they have values that are not finite; give images in [-1,1]")


def _reduced(images: Tensor, size: int) -> Tensor:
    """Images above `size` pixels reduced to it by areas."""
    if images.shape[-1] <= size:
        return images
    return F.interpolate(images, (size, size), mode="area")


@torch.no_grad()
def _normalise(noise: list[Tensor]) -> None:
    """Set the mean of each map to 0 and its mean square to 1, in place."""
    for maps in noise:
        maps -= maps.mean(dim=(1, 2, 3), keepdim=True)
        maps *= maps.square().mean(dim=(1, 2, 3), keepdim=True).rsqrt()


@contextlib.contextmanager
def _frozen(network: torch.nn.Module):
    """Inside, no gradient is computed for the weights of a network."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    try:
        for parameter in trained:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
