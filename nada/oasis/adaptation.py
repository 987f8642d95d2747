"""NADA on OASIS: adapt one class of the label map and keep the rest of the image (Gal et al. 2021, App. D).

CLIP sees both generators' images with all but the designated class masked; an L2 and an LPIPS loss compare
what lies outside the mask, and whole images where the class does not appear. The paper states neither the
fill of the mask nor weights, learning rate and iterations, and published no code for it.
"""

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nada.clip.encoder import Clip
from nada.images.label_maps import one_hot
from nada.losses import directional_loss, ensemble
from nada.oasis.generator import OasisGenerator
from nada.perceptual_distance import perceptual_distance
from nada.run.errors import UserError
from nada.run.hyperparameters import Betas, Natural, Whole, hyperparameter, hyperparameters


@hyperparameters
class OasisHyperparameters:
    """How an OASIS generator is adapted. "ours": the paper is silent."""

    iterations: Whole = hyperparameter(300, "Training steps.", unit="steps", source="ours", ge=1)
    batch: Whole = hyperparameter(2, "Label maps of a step.", unit="label maps", source="paper, of StyleGAN2", ge=1)
    lr: float = hyperparameter(0.0001, "Adam's learning rate.", source="ours: that of OASIS's own training", gt=0)
    betas: Betas = hyperparameter((0.0, 0.99), "Adam's decay rates.", source="paper, of StyleGAN2")
    lambda_clip: float = hyperparameter(1.0, "Weight of Eq. 2 inside the mask.", source="paper", ge=0)
    lambda_l2: float = hyperparameter(
        1.0, "Weight of the mean squared difference outside the mask.", source="ours", ge=0
    )
    lambda_lpips: float = hyperparameter(1.0, "Weight of LPIPS outside the mask.", source="ours", ge=0)
    fill: float = hyperparameter(
        0.0, "The value of masked pixels, in both generators' images: 0 is grey.", unit="[-1,1]", source="ours",
        ge=-1, le=1,
    )
    least_share: float = hyperparameter(
        0.01, "Least share of a label map that the class must cover. Below it CLIP does not see the "
        "image, since ΔI of a few pixels is noise.", source="ours", ge=0, le=1,
    )
    share_with_class: float = hyperparameter(
        0.5, "Share of a step's label maps that have the class (rounded up), where there are others.",
        source="ours; the paper includes images without it", gt=0, le=1,
    )
    epsilon: float = hyperparameter(
        0.05, "The ε of Eq. 2's guard: both generators share label map and noise, so ΔI is 0 before the "
        "first step.", unit="length of an embedding difference", source="ours, as NADA's guard 'epsilon'", gt=0,
    )
    snapshots: Natural | list[Natural] = hyperparameter(
        5, "Models kept during training: a number, evenly spaced, or a list of steps.", unit="models or steps",
        source="ours",
    )
    checkpoint_every: Whole = hyperparameter(
        100, "Steps between training states kept for resume; 0 keeps none.", unit="steps", source="ours", ge=0
    )


def class_mask(label_map: Tensor, label: int) -> Tensor:
    """1 where label_map [N,H,W] is `label`, else 0: float32 [N,1,H,W]."""
    return (label_map == label).float()[:, None]


def masked(images: Tensor, mask: Tensor, fill: float) -> Tensor:
    """Images [N,3,H,W] where mask [N,1,H,W] is 1, `fill` elsewhere."""
    return images * mask + fill * (1 - mask)


@dataclass
class ClassLoss:
    """The objective on one batch: adapt one class, keep the rest of the image (App. D).

        L = λ_clip Σ_m weight_m L_direction,m(I ⊙ M) + λ_L2 mean ((I − I_frozen) ⊙ (1 − M))²
            + λ_LPIPS mean_n LPIPS(I ⊙ (1 − M), I_frozen ⊙ (1 − M))

    label: the designated class. clips: the CLIP ensemble; directions: each one's unit ΔT [E].
    L_direction is the mean over the images whose class covers `least_share`; 0 if there is none.
    """

    label: int
    clips: list[Clip]
    directions: list[Tensor]
    perceptual: nn.Module
    hparams: OasisHyperparameters

    def __call__(self, label_map: Tensor, frozen: Tensor, trained: Tensor) -> dict[str, Tensor]:
        """{"loss", its terms "clip_loss", "l2", "lpips", and "image_change"}, each a scalar.

        label_map: [N,H,W]. frozen, trained: images [N,3,H,W] of the two generators, same noise; only
        `trained` has a graph. image_change: mean ‖ΔI‖ over the CLIPs, of what CLIP saw.
        """
        hparams = self.hparams
        mask = class_mask(label_map, self.label).to(trained)
        outside = 1 - mask
        clip_loss, change = self._inside(mask, frozen, trained)
        l2 = ((trained - frozen) * outside).square().mean()
        pair = (masked(images, outside, hparams.fill) for images in (trained, frozen))
        lpips = perceptual_distance(self.perceptual, *pair).mean()
        loss = hparams.lambda_clip * clip_loss + hparams.lambda_l2 * l2 + hparams.lambda_lpips * lpips
        return {"loss": loss, "clip_loss": clip_loss, "l2": l2, "lpips": lpips, "image_change": change}

    def _inside(self, mask: Tensor, frozen: Tensor, trained: Tensor) -> tuple[Tensor, Tensor]:
        """Eq. 2 on the masked images in which the class is large enough, and their mean ‖ΔI‖."""
        shown = large_enough(mask[:, 0], self.hparams.least_share)
        if not shown.any():
            return trained.new_zeros(()), trained.new_zeros(())
        fill = self.hparams.fill
        after = masked(trained[shown], mask[shown], fill)
        before = masked(frozen[shown], mask[shown], fill)
        losses, changes = [], []
        for clip, direction in zip(self.clips, self.directions, strict=True):
            after_e = clip.encode_images(after)
            with torch.no_grad():
                before_e = clip.encode_images(before)
            losses.append(directional_loss(after_e, before_e, direction, self.hparams.epsilon))
            changes.append((after_e.detach() - before_e).norm(dim=-1).mean())
        weights = [clip.weight for clip in self.clips]
        return ensemble(weights, losses), torch.stack(changes).mean()


def covered(mask: Tensor) -> Tensor:
    """The share of each mask [N,H,W] that is 1, [N] in [0,1]."""
    return mask.float().mean(dim=(1, 2))


def large_enough(mask: Tensor, least_share: float) -> Tensor:
    """Whether each mask [N,H,W] covers a pixel, and least_share of the image: bool [N]."""
    shares = covered(mask)
    return (shares > 0) & (shares >= least_share)


def maps_with_class(label_maps: Tensor, label: int, least_share: float) -> Tensor:
    """Which label maps [N,H,W] have a class `large_enough`: bool [N]. UserError: none has."""
    mask = label_maps == label
    large = large_enough(mask, least_share)
    if not large.any():
        raise UserError(
            f"class {label} covers at least {least_share:g} of none of the {len(label_maps)} label maps (at "
            f"most {covered(mask).max().item():.3g}); choose another class, or lower least_share."
        )
    return large


class ClassMaps:
    """Label maps with and without a class, drawn in a fixed share.

    label_maps: ids [N,H,W]. Maps whose class covers less than least_share count as without. Raises
    UserError if no map has the class.
    """

    def __init__(self, label_maps: Tensor, label: int, hparams: OasisHyperparameters):
        large = maps_with_class(label_maps, label, hparams.least_share)
        self.label_maps = label_maps
        self.with_class, self.without = (which.nonzero()[:, 0] for which in (large, ~large))
        self.batch, self.share = hparams.batch, hparams.share_with_class

    def draw(self) -> Tensor:
        """A batch of label maps [batch,H,W] from torch's stream: first those with the class."""
        first = self.batch
        if len(self.without):
            first = min(self.batch, math.ceil(round(self.batch * self.share, 6)))
        chosen = [
            group[torch.randint(len(group), (count,))]
            for group, count in ((self.with_class, first), (self.without, self.batch - first))
            if count
        ]
        return self.label_maps[torch.cat(chosen)]


def trainable_copy(frozen: OasisGenerator) -> OasisGenerator:
    """A copy to train, in evaluation mode, so that it equals the frozen generator before the first step.

    The running averages of its normalisations and the singular vectors of its spectral norms stay the
    source's; every parameter is trained.
    """
    return copy.deepcopy(frozen).eval().requires_grad_(True)


def forward_backward(
    frozen: OasisGenerator, trained: OasisGenerator, loss: ClassLoss, label_map: Tensor, z: Tensor
) -> dict[str, Tensor]:
    """Compute one step's gradients into the parameters of `trained`; returns the terms of the loss.

    label_map: ids [N,H,W]; z: noise of both generators, see `OasisGenerator`.
    """
    labels = one_hot(label_map, trained.classes, z.dtype)
    with torch.no_grad():
        frozen_images = frozen(labels, z)
    terms = loss(label_map, frozen_images, trained(labels, z))
    terms["loss"].backward()
    return {name: term.detach() for name, term in terms.items()}


def adapt_oasis(
    job, frozen: OasisGenerator, maps: ClassMaps, loss: ClassLoss, hparams: OasisHyperparameters
) -> OasisGenerator:
    """Train a copy of a generator and return it, in evaluation mode and without gradients.

    job: what a method gets (nada.run.job.Job): its random stream, its loop of steps and its record.
    frozen: the source, on the job's device. maps, loss: of the designated class.
    """
    frozen = frozen.eval().requires_grad_(False)
    trained = trainable_copy(frozen)
    optimiser = torch.optim.Adam(trained.parameters(), lr=hparams.lr, betas=hparams.betas)

    def as_snapshot() -> dict[str, Tensor]:
        return {f"generator.{name}": tensor for name, tensor in trained.named_parameters()}

    job.seed_everything()
    state = {"trained": trained, "optimiser": optimiser}
    for _ in job.steps(
        hparams.iterations, hparams.snapshots, state, as_snapshot, hparams.checkpoint_every
    ):
        label_map = maps.draw().to(job.device)
        z = trained.draw_noise(len(label_map))
        terms = forward_backward(frozen, trained, loss, label_map, z)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        job.report(images=2 * hparams.batch, **terms)
    return trained.requires_grad_(False)
