"""Scores of an adapted OASIS generator: change inside and outside the class (Gal et al. 2021, App. D, Fig. 17).

Both generators draw the same label maps with the same noise. Inside the mask CLIP measures the direction; outside
it, and class by class, the change is measured in pixels and in LPIPS.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from eval.latent_space.intervals import Estimate, mean_of_present
from nada.images.label_maps import one_hot
from nada.images.tensors import to_tensor
from nada.oasis.adaptation import class_mask, maps_with_class, masked
from nada.oasis.generator import OasisGenerator
from nada.perceptual_distance import perceptual_distance
from nada.run.errors import UserError

LEVELS = 255  # of a pixel


@dataclass(frozen=True)
class OasisScores:
    """Scores of one class that was adapted.

    direction: cosine of ΔI inside the mask with ΔT, in [-1,1], over images whose class is large enough
    (0 for an image that did not move). moved: ‖ΔI‖ there. outside, outside_lpips: change of the pixels
    outside the mask (mean |Δ| as a share of the range, [0,1]) and LPIPS with the class masked, over all
    images with the class. absent, absent_lpips: the same, over images without it. inside: mean |Δ| of
    the class's own pixels. by_class: mean |Δ| of the pixels of each label that occurs. n: images.
    """

    direction: Estimate
    moved: Estimate
    inside: Estimate
    outside: Estimate
    outside_lpips: Estimate
    absent: Estimate
    absent_lpips: Estimate
    by_class: dict[int, Estimate]

    def rows(self, label: int, names: Mapping[int, str] | None = None) -> list[dict]:
        """One row for each class: label, name, whether it was adapted, change, interval, images."""
        return [
            {
                "label": c, "class": (names or {}).get(c, str(c)), "adapted": c == label,
                "change": found.value, "low": found.low, "high": found.high, "images": found.n,
            }
            for c, found in sorted(self.by_class.items())
        ]  # fmt: skip


def draw_pairs(
    frozen: OasisGenerator, adapted: OasisGenerator, label_maps: Tensor, seed: int, batch: int = 8
) -> tuple[np.ndarray, np.ndarray]:
    """uint8 images [N,H,W,3] of both generators for label maps [N,H,W], with the same noise of a seed.

    The noise is drawn image by image, so that it does not depend on the batch. UserError: two architectures, or an
    image that is not finite.
    """
    from eval.networks.features import check_finite
    from nada.images.tensors import to_uint8

    if frozen.config != adapted.config:
        raise UserError("OASIS: the adapted generator has another architecture than the source.")
    device = frozen.fc.weight.device
    stream = torch.Generator().manual_seed(seed)
    z = torch.stack([torch.randn(frozen.z_dim, generator=stream) for _ in label_maps])
    drawn = ([], [])
    with torch.inference_mode():
        for start in range(0, len(label_maps), batch):
            part = slice(start, start + batch)
            labels = one_hot(label_maps[part].to(device), frozen.classes)
            for images, generator in zip(drawn, (frozen, adapted), strict=True):
                made = generator(labels, z[part].to(device))
                check_finite(made, start, "OASIS generator")
                images.append(to_uint8(made))
    return np.concatenate(drawn[0]), np.concatenate(drawn[1])


def score(
    frozen: np.ndarray,
    adapted: np.ndarray,
    label_maps: Tensor,
    label: int,
    clip,
    direction: Tensor,
    perceptual,
    least_share: float = 0.01,
    fill: float = 0.0,
    batch: int = 8,
    seed: int = 0,
) -> OasisScores:
    """Scores of images uint8 [N,H,W,3] of the source and the adapted generator, see `draw_pairs`.

    label_maps: [N,H,W]; label: the class that was adapted. clip: better one that the training did not
    use; direction: its unit ΔT [E]. least_share, fill: as in the training (`OasisHyperparameters`).
    seed: of the bootstrap. UserError: no image has the class, or images and label maps differ in size.
    """
    if frozen.shape != adapted.shape or frozen.shape[:3] != tuple(label_maps.shape):
        raise UserError(
            f"OASIS scores: images {list(frozen.shape)} and {list(adapted.shape)} and label maps "
            f"{list(label_maps.shape)} do not belong together."
        )
    shown = maps_with_class(label_maps, label, least_share).cpu().numpy()
    has = (label_maps == label).flatten(1).any(dim=1).cpu().numpy()
    change = np.abs(adapted.astype(np.float64) - frozen.astype(np.float64)).mean(axis=3) / LEVELS
    cosine, length, lpips = _compare(
        frozen, adapted, label_maps, label, clip, direction, perceptual, fill, batch
    )
    ids = label_maps.cpu().numpy()
    inside = _mean_where(change, ids == label)
    outside = _mean_where(change, ids != label)

    def mean(values: np.ndarray) -> Estimate:
        return mean_of_present(values, seed)

    return OasisScores(
        direction=mean(cosine[shown]),
        moved=mean(length[shown]),
        inside=mean(inside[has]),
        outside=mean(outside[has]),
        outside_lpips=mean(lpips[has]),
        absent=mean(outside[~has]),
        absent_lpips=mean(lpips[~has]),
        by_class={int(c): mean(_mean_where(change, ids == c)) for c in np.unique(ids)},
    )


def _compare(frozen, adapted, label_maps, label, clip, direction, perceptual, fill, batch):
    """For each image: the cosine of ΔI inside the mask, ‖ΔI‖, and LPIPS outside it; float64 [N] each."""
    device = direction.device
    found = ([], [], [])
    with torch.inference_mode():
        for start in range(0, len(frozen), batch):
            part = slice(start, start + batch)
            before, after = (to_tensor(images[part]).to(device) for images in (frozen, adapted))
            mask = class_mask(label_maps[part].to(device), label)
            embeddings = (clip.encode_images(masked(x, mask, fill)) for x in (after, before))
            change = next(embeddings) - next(embeddings)
            length = change.norm(dim=-1)
            moves = length > 0
            cosine = torch.where(moves, change @ direction / torch.where(moves, length, 1), 0)
            pair = (masked(x, 1 - mask, fill) for x in (after, before))
            values = (cosine, length, perceptual_distance(perceptual, *pair))
            for kept, value in zip(found, values, strict=True):
                kept.append(value.double().cpu().numpy())
    return tuple(np.concatenate(kept) for kept in found)


def _mean_where(change: np.ndarray, where: np.ndarray) -> np.ndarray:
    """The mean of each image's change [N,H,W] over its pixels in `where`; NaN where it has none."""
    count = where.sum(axis=(1, 2))
    total = np.where(where, change, 0).sum(axis=(1, 2))
    return np.divide(total, count, out=np.full(len(change), np.nan), where=count > 0)
