"""How smooth interpolation of weights is, compared with interpolation of codes (Gal et al. 2021, App. F, Fig. 19).

A path is a sequence of images, x_0 … x_T, for each of n codes. d(x,y) is LPIPS, a squared distance.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from eval.latent_space.intervals import Estimate, bootstrap, resampled_means
from eval.latent_space.video import write_mp4
from eval.networks.lpips_matrix import lpips_features
from nada.images.tensors import to_tensor, to_uint8
from nada.interpolation import Relative, WeightPath, latent_frames, positions, weight_frames
from nada.run.errors import UserError

#: Two ends closer than this in LPIPS are one image: their path has no length to compare with.
SAME = 1e-9


@dataclass(frozen=True)
class PathLength:
    """Lengths of n paths of T steps. All float64 [n].

    length: perceptual path length, T² · mean_t d(x_t, x_t+1) (Karras et al. 2019, §4.1, with the step
    ε = 1/T). ends: d(x_0, x_T). stretch: length / ends, 1 or more; 1 if the path is straight and even in
    LPIPS' features, NaN if both ends are one image. largest: the share of the longest step,
    √d(x_t, x_t+1) / Σ_t √d(x_t, x_t+1), from 1/T (even) to 1 (one jump).
    """

    length: np.ndarray
    ends: np.ndarray
    stretch: np.ndarray
    largest: np.ndarray


def path_length(perceptual, frames: Iterable[np.ndarray | Tensor]) -> PathLength:
    """Lengths of the paths in T + 1 frames, T >= 1; the features of three are held at a time.

    frames: uint8 [n,H,W,3], or float [n,3,H,W] in [-1,1], whose small steps are not rounded away.
    perceptual: a network of `eval.networks.lpips_matrix`. UserError: fewer than two frames.
    """
    device = next(iter(perceptual.parameters()), torch.empty(0)).device
    first = previous = None
    steps = []
    for images in frames:
        x = images if isinstance(images, Tensor) else to_tensor(images)
        features = lpips_features(perceptual, x.to(device))
        if previous is None:
            first = features
        else:
            steps.append(_squared(previous, features))
        previous = features
    if not steps:
        raise UserError("path length: two or more frames are needed.")
    d = np.stack(steps)  # [T,n]
    ends = _squared(first, previous)
    length = len(d) ** 2 * d.mean(axis=0)
    moves = ends > SAME
    roots = np.sqrt(d)
    total = roots.sum(axis=0)
    return PathLength(
        length=length,
        ends=ends,
        stretch=np.divide(length, ends, out=np.full_like(ends, np.nan), where=moves),
        largest=np.divide(roots.max(axis=0), total, out=np.full_like(total, np.nan), where=total > 0),
    )


def _squared(a: Tensor, b: Tensor) -> np.ndarray:
    return (a - b).double().square().sum(dim=1).cpu().numpy()


def mean_ratio(above, below, seed: int = 0) -> Estimate:
    """mean(above) / mean(below) of positive values of the same codes [n]; codes are resampled together.

    Codes where either is NaN are left out. UserError: fewer than two codes are left.
    """
    above, below = (np.asarray(values, dtype=np.float64) for values in (above, below))
    if above.shape != below.shape or above.ndim != 1:
        raise ValueError(f"values of the same codes expected, got {above.shape} and {below.shape}")
    kept = np.isfinite(above) & np.isfinite(below)
    above, below = above[kept], below[kept]
    if len(above) < 2 or not (below > 0).all():
        raise UserError(
            "path length: fewer than two codes have a path to compare; give models or codes that differ."
        )
    pairs = np.stack([above, below], axis=1)  # [n,2]

    def ratio(rows: np.ndarray) -> np.ndarray:
        means = resampled_means(pairs, rows)
        return means[..., 0] / means[..., 1]

    return bootstrap(ratio, len(pairs), seed=seed)


@dataclass(frozen=True)
class Smoothness:
    """One path of weights beside a path of codes of as many steps.

    weights, codes: their lengths. stretch_ratio: stretch of the weights' path over that of the codes'; 1:
    as direct, compared with the distance of its own ends, as the latent space is.
    """

    names: tuple[str, ...]
    weights: PathLength
    codes: PathLength
    stretch_ratio: Estimate


def smoothness(
    relatives: Sequence[Relative], perceptual, w_plus: Tensor, steps: int = 10, seed: int = 0
) -> Smoothness:
    """Compare the path between two models with a path between codes of the first model.

    relatives: two models, checked by `nada.interpolation.check_family`. w_plus: codes [n,num_ws,style_dim],
    n >= 2; the path of code i leads to code i + 1, the last one's to the first. UserError: models of
    different parents, or fewer than two codes.
    """
    if len(relatives) != 2 or len(w_plus) < 2:
        raise UserError(
            f"smoothness: {len(relatives)} models and {len(w_plus)} codes given; it compares two models on "
            f"two or more codes."
        )
    path = WeightPath(relatives)
    where = positions(path.segments, steps)
    weights = path_length(perceptual, weight_frames(path, w_plus, where))
    others = w_plus.roll(-1, dims=0)
    first = relatives[0].generator
    codes = path_length(perceptual, latent_frames(first, w_plus, others, where))
    ratio = mean_ratio(weights.stretch, codes.stretch, seed)
    return Smoothness(tuple(path.names), weights, codes, ratio)


def film(
    path,
    relatives: Sequence[Relative],
    w_plus: Tensor,
    frames: int = 20,
    hold: int = 20,
    back: bool = True,
    **options,
) -> int:
    """Write the path through all models as an MP4, the codes side by side; returns the number of frames.

    w_plus: codes [n,num_ws,style_dim]. frames: of each segment; hold, back: see
    `nada.interpolation.positions`, whose defaults here are the public script's. options: of `write_mp4`.
    UserError: models of different parents, or what `write_mp4` refuses.
    """
    line = WeightPath(relatives)
    images = weight_frames(line, w_plus, positions(line.segments, frames, hold, back))
    return write_mp4(path, (np.concatenate(list(to_uint8(x)), axis=1) for x in images), **options)


def strip(frames: Sequence[np.ndarray], columns: int) -> np.ndarray:
    """Evenly spaced frames side by side, as in Fig. 19; the first and the last are among them.

    frames: T arrays uint8 [n,H,W,3], or a single array [T,n,H,W,3]. Returns uint8 [n·H, columns·W, 3].
    UserError: more columns than frames, or fewer than two.
    """
    if not 2 <= columns <= len(frames):
        raise UserError(f"strip: {columns} columns of {len(frames)} frames; choose 2..{len(frames)}.")
    chosen = np.linspace(0, len(frames) - 1, columns).round().astype(int)
    return np.concatenate([np.concatenate(list(frames[i])) for i in chosen], axis=1)
