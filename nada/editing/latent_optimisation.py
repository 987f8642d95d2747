"""StyleCLIP's latent optimisation: a code that CLIP finds nearer to a text (Patashnik et al. 2021, §4).

    w* = argmin_w  Σ_m weight_m (1 − e_I(G(w)) · e_T) + λ_L2 ‖w − w_s‖² + λ_ID (1 − R(G(w)) · R(G(w_s)))

The code moves, the generator does not. StyleCLIP's mapper (nada/mapper.py) learns such a move for all
codes, its global directions (nada/editing/global_directions.py) find one for all.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from nada.clip.encoder import Clip
from nada.editing.style_space import read_styles, render_styles, style_layers
from nada.mapper import POOL_UNIT, official_input
from nada.ramped_rate import ramped_rate
from nada.run.errors import UserError
from nada.run.hyperparameters import Whole, hyperparameter, hyperparameters
from nada.stylegan2.generator import Generator


@hyperparameters
class LatentOptimisationHyperparameters:
    """How a code is optimised. Defaults: StyleCLIP's code's."""

    iterations: Whole = hyperparameter(300, "Steps of Adam.", unit="steps", source="StyleCLIP", ge=1)
    lr: float = hyperparameter(
        0.1, "Adam's largest learning rate; see `ramped_rate`.", source="StyleCLIP", gt=0
    )
    lambda_l2: float = hyperparameter(
        0.008, "Weight of the squared distance to the first code, summed over its entries; 0 with the "
        "mean code as the start is StyleCLIP's free generation.", source="StyleCLIP", ge=0,
    )
    lambda_id: float = hyperparameter(
        0.0, "Weight of the identity term, which needs an identity network.",
        source="StyleCLIP's code; its paper: up to 0.005, for faces", ge=0,
    )
    space: Literal["w_plus", "styles"] = hyperparameter(
        "w_plus", "What moves: the W+ code, or the styles of the convolutions with those of toRGB as they are.",
        source="paper; styles: an option of its code",
    )
    clip_input: Literal["clip", "official"] = hyperparameter(
        "clip", "CLIP reads images through its own preprocessing; or in [-1,1] without normalisation, each pixel "
        "repeated 7 times and averaged over squares of R/32 (R a multiple of 32).",
        source="paper; official: the second",
    )


class Optimised(NamedTuple):
    """Optimised codes. images: the generator's images of them [N,3,R,R], with constant noise.

    w_plus: [N,num_ws,style_dim], or None where styles moved. styles: the list of `read_styles`, or None
    where W+ codes moved. losses: [iterations,N], of each code before each step.
    """

    images: Tensor
    w_plus: Tensor | None
    styles: list[Tensor] | None
    losses: Tensor


@dataclass
class LatentObjective:
    """The objective of one batch of codes; a call returns the terms of each code, [N] each.

    clips: the ensemble. targets: each one's unit embedding [E] of the text. identity: images → features
    [N,F] of any length, or None. start, start_images: the first codes, as a list of tensors [N,…], and
    their images.
    """

    clips: list[Clip]
    targets: list[Tensor]
    hparams: LatentOptimisationHyperparameters
    identity: Callable[[Tensor], Tensor] | None
    start: list[Tensor]
    start_images: Tensor

    def __post_init__(self):
        with torch.no_grad():
            self.start_features = self._features(self.start_images)

    def __call__(self, codes: list[Tensor], images: Tensor) -> dict[str, Tensor]:
        pairs = zip(self.clips, self.targets, strict=True)
        clip_loss = sum(clip.weight * (1 - self._embed(clip, images) @ text) for clip, text in pairs)
        moved = zip(codes, self.start, strict=True)
        l2 = sum((code - first).square().flatten(1).sum(dim=1) for code, first in moved)
        loss = clip_loss + self.hparams.lambda_l2 * l2
        terms = {"clip_loss": clip_loss, "l2": l2}
        if self.start_features is not None:
            terms["id_loss"] = 1 - (self._features(images) * self.start_features).sum(dim=-1)
            loss = loss + self.hparams.lambda_id * terms["id_loss"]
        return {"loss": loss, **terms}

    def _embed(self, clip: Clip, images: Tensor) -> Tensor:
        official = self.hparams.clip_input == "official"
        prepare = official_input(clip.image_size) if official else None
        return F.normalize(clip.embed_images(images, prepare), dim=-1)

    def _features(self, images: Tensor) -> Tensor | None:
        if self.identity is None or not self.hparams.lambda_id:
            return None
        return F.normalize(self.identity(images), dim=-1)


def optimise(
    generator: Generator,
    w_plus: Tensor,
    clips: list[Clip],
    targets: list[Tensor],
    hparams: LatentOptimisationHyperparameters | None = None,
    identity: Callable[[Tensor], Tensor] | None = None,
    on_step: Callable[[int, dict[str, Tensor]], None] | None = None,
) -> Optimised:
    """Optimise W+ codes [N,num_ws,style_dim] towards a text; noise is constant, nothing is drawn.

    clips, targets: the ensemble and its unit embeddings [E] of the text (`text_embedding`; StyleCLIP
    uses the bare text without templates). identity: images [N,3,R,R] in [-1,1] → features, for λ_ID.
    on_step: called with the step's number, from 0, and its terms.
    The codes of a batch do not influence each other: the loss is summed over them. The generator's
    weights get no gradient. Raises UserError for λ_ID without an identity network, for an official
    input that does not fit, and for a loss that is not finite.
    """
    hparams = hparams or LatentOptimisationHyperparameters()
    _check(hparams, generator, clips, identity)
    edited = [True]
    with torch.no_grad():
        start = [w_plus.detach().clone()]
        if hparams.space == "styles":
            start = read_styles(generator, w_plus)
            edited = [layer.edited for layer in style_layers(generator)]
        start_images = _render(generator, start)
    codes = [code.clone().requires_grad_(moves) for code, moves in zip(start, edited, strict=True)]
    moving = [code for code in codes if code.requires_grad]
    objective = LatentObjective(clips, targets, hparams, identity, start, start_images)
    optimiser = torch.optim.Adam(moving, lr=hparams.lr)
    losses = []
    for step in range(hparams.iterations):
        optimiser.param_groups[0]["lr"] = ramped_rate(step, hparams.iterations, hparams.lr)
        terms = objective(codes, _render(generator, codes))
        if not terms["loss"].isfinite().all():
            raise UserError(
                f"latent optimisation: the loss is not finite at step {step}; lower lr, which is {hparams.lr:g}."
            )
        # into the codes alone: the generator's weights may require gradients
        gradients = torch.autograd.grad(terms["loss"].sum(), moving)
        for code, gradient in zip(moving, gradients, strict=True):
            code.grad = gradient
        optimiser.step()
        losses.append(terms["loss"].detach())
        if on_step:
            on_step(step, {name: term.detach() for name, term in terms.items()})
    codes = [code.detach() for code in codes]
    with torch.no_grad():
        images = _render(generator, codes)
    in_styles = hparams.space == "styles"
    return Optimised(
        images, None if in_styles else codes[0], codes if in_styles else None, torch.stack(losses)
    )


def _render(generator: Generator, codes: list[Tensor]) -> Tensor:
    if len(codes) == 1:
        return generator.synthesis(codes[0], noise_mode="const")
    return render_styles(generator, codes, noise_mode="const")


def _check(hparams, generator: Generator, clips: list[Clip], identity) -> None:
    if hparams.lambda_id and identity is None:
        raise UserError(
            f"latent optimisation: lambda_id is {hparams.lambda_id:g}, but no identity network is given; "
            "set it to 0."
        )
    if hparams.clip_input == "official":
        sizes = {"the generator": generator.config["resolution"]}
        sizes |= {f"CLIP '{clip.name}'": clip.image_size for clip in clips}
        for who, size in sizes.items():
            if size % POOL_UNIT:
                raise UserError(
                    f"latent optimisation: clip_input is 'official', which pools squares of a {POOL_UNIT}th "
                    f"of the side, but {who} has {size} pixels a side; set it to 'clip'."
                )
