"""InterFaceGAN: the normal of a linear SVM in W as an edit (Shen et al. 2020, §2-3).

An attribute's score is known for many codes. An SVM separates the codes with the highest scores from
those with the lowest; its unit normal n edits the attribute: w' = w + d n.
"""

from dataclasses import dataclass

import numpy as np
import torch
from sklearn.svm import SVC
from torch import Tensor

from nada.editing.slots import replace_slots
from nada.run.errors import UserError

CHOSEN = 0.02  # of the codes, at each end of the scores (paper, §4: 10 000 of 500 000)
TRAIN_SHARE = 0.7  # of the chosen codes; the others validate (paper, §4)
LEAST_TRAINED = 2  # codes of each class, with fewer there is nothing to separate
#: A normal is lost in its conditions if less than this share of its length is left.
VANISHES_BELOW = 1e-6


@dataclass(frozen=True)
class Boundary:
    """A hyperplane n · w = offset in W and how well it separates.

    normal: n, unit, float64 [D]; it points to higher scores. offset: distance of the plane from the
    origin along n, in units of w. trained: codes of each class that the SVM saw. validation: share of
    the held-out chosen codes on their right side. remaining: the same of the codes that were not
    chosen, whose class is that of their score against the middle of the range. Both in [0,1]; NaN
    where there was no such code.
    """

    normal: np.ndarray
    offset: float
    trained: int
    validation: float
    remaining: float

    def distance(self, codes: np.ndarray) -> np.ndarray:
        """Signed distance [N] of codes [N,D] to the plane, in units of w."""
        return np.asarray(codes, dtype=np.float64) @ self.normal - self.offset


def most_confident(scores: np.ndarray, chosen: float = CHOSEN) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the codes with the highest and the lowest scores, most confident first.

    scores: [N]. chosen: the share at each end, in (0, 0.5]. Ties are taken in the order of the codes.
    Raises UserError where fewer than two codes remain at an end.
    """
    scores = np.asarray(scores)
    if not 0 < chosen <= 0.5:
        raise UserError(f"InterFaceGAN: chosen is {chosen}; set it to more than 0 and at most 0.5.")
    count = int(len(scores) * chosen)
    if count < LEAST_TRAINED:
        raise UserError(
            f"InterFaceGAN: {chosen:g} of {len(scores)} codes are {count} at each end, but an SVM needs "
            f"{LEAST_TRAINED} or more; give more codes, or a larger share."
        )
    ascending = np.argsort(scores, kind="stable")
    descending = np.argsort(-scores, kind="stable")
    return descending[:count], ascending[:count]


def find_boundary(
    codes: np.ndarray,
    scores: np.ndarray,
    seed: int,
    chosen: float = CHOSEN,
    train_share: float = TRAIN_SHARE,
    factor: str = "the factor",
) -> Boundary:
    """Train the SVM that separates high scores from low ones, as the public code does.

    codes: w [N,D]. scores: [N], any unit. seed: of the split into training and validation. chosen: see
    `most_confident`. train_share: in (0,1]. factor: its name in messages. The SVM is linear with a soft
    margin (C = 1), on w as it is.
    Raises UserError for other shapes, for numbers that are not finite, and for a factor that does not
    vary between the two ends.
    """
    codes, scores = np.asarray(codes, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    if codes.ndim != 2 or scores.shape != codes.shape[:1]:
        raise UserError(
            f"InterFaceGAN: codes {list(codes.shape)} and scores {list(scores.shape)} given; they must "
            "be [N,D] and [N]."
        )
    if not (np.isfinite(codes).all() and np.isfinite(scores).all()):
        raise UserError(f"InterFaceGAN: codes or scores of {factor} are not finite.")
    if not 0 < train_share <= 1:
        raise UserError(
            f"InterFaceGAN: train_share is {train_share}; set it to more than 0 and at most 1."
        )
    high, low = most_confident(scores, chosen)
    if not scores[high[-1]] > scores[low[-1]]:
        raise UserError(
            f"InterFaceGAN: the scores of {factor} do not tell the {len(high)} highest codes from the "
            "lowest; choose a factor that varies, or a smaller share."
        )
    # training and validation, the same number of each class
    rng = np.random.default_rng(seed)
    high, low = rng.permutation(high), rng.permutation(low)
    count = max(LEAST_TRAINED, int(len(high) * train_share))
    trained = np.concatenate([high[:count], low[:count]])
    validated = np.concatenate([high[count:], low[count:]])
    is_high = np.zeros(len(scores), dtype=bool)
    is_high[high] = True
    # the codes between the two ends
    rest = np.ones(len(scores), dtype=bool)
    rest[high] = rest[low] = False
    middle = (scores.max() + scores.min()) / 2

    machine = SVC(kernel="linear").fit(codes[trained], is_high[trained])
    direction, length = machine.coef_[0], np.linalg.norm(machine.coef_)
    boundary = Boundary(
        direction / length, float(-machine.intercept_[0] / length), count, np.nan, np.nan
    )
    above = boundary.distance(codes) > 0
    return Boundary(
        boundary.normal,
        boundary.offset,
        count,
        _share(above[validated] == is_high[validated]),
        _share(above[rest] == (scores[rest] >= middle)),
    )


def condition(normal: np.ndarray, *others: np.ndarray) -> np.ndarray:
    """The part of a unit normal [D] that is orthogonal to all `others` [D], made unit (paper, Eq. 7-8).

    An edit along it leaves the distances to the other boundaries as they are, and so, where the
    boundaries hold, the other attributes. The others need not be orthogonal to each other.
    Raises UserError if nothing is left of the normal.
    """
    normal = np.asarray(normal, dtype=np.float64)
    if others:
        basis = np.stack([np.asarray(other, dtype=np.float64) for other in others], axis=1)  # [D,K]
        share, *_ = np.linalg.lstsq(basis, normal, rcond=None)
        projected = normal - basis @ share
    else:
        projected = normal
    length = np.linalg.norm(projected)
    if length <= VANISHES_BELOW * np.linalg.norm(normal):
        raise UserError(
            "InterFaceGAN: the boundary is a combination of those that it is conditioned on, so that "
            "no direction is left; leave one of them out."
        )
    return projected / length


def move(
    codes: Tensor, normal, distance: float | Tensor, slots: range | None = None
) -> Tensor:
    """w' = w + d n for w [N,D] or W+ codes [N,L,D].

    normal: n, [D]. distance: d in units of w, a number or one per code [N]. slots: of W+ codes, those
    that move; None: all. Raises UserError for a normal or slots that the codes do not have.
    """
    normal = torch.as_tensor(normal, dtype=codes.dtype, device=codes.device)
    if normal.shape != codes.shape[-1:]:
        raise UserError(
            f"InterFaceGAN: the boundary has shape {list(normal.shape)}, but the codes have "
            f"{codes.shape[-1]} features."
        )
    distance = torch.as_tensor(distance, dtype=codes.dtype, device=codes.device)
    step = distance[..., None] * normal  # [D] or [N,D]
    if codes.ndim == 2:
        return codes + step
    moved = codes + (step if step.ndim == 1 else step[:, None])
    return replace_slots(codes, moved, slots, "InterFaceGAN")


def published_normal(direction, style_dim: int, name: str) -> np.ndarray:
    """The unit normal [D] of a published direction file's array.

    Files of the community hold [D], [1,D], or one row per slot [1,L,D] whose rows are equal.
    name: the file's, in messages. Raises UserError for another shape, unequal rows, or length 0.
    """
    array = np.asarray(direction, dtype=np.float64)
    rows = array.reshape(-1, array.shape[-1]) if array.ndim in (1, 2, 3) else array
    length = np.linalg.norm(rows[0]) if rows.ndim == 2 and len(rows) else 0.0
    fits = rows.ndim == 2 and rows.shape[1] == style_dim and np.isfinite(rows).all()
    if not fits or length == 0 or np.abs(rows - rows[0]).max() > 1e-5 * length:
        raise UserError(
            f"the direction {name} has shape {list(array.shape)}; it must be one vector of {style_dim} "
            "finite numbers that are not all 0, or the same one for every slot."
        )
    return rows[0] / length


def _share(right: np.ndarray) -> float:
    return float(right.mean()) if len(right) else float("nan")
