"""Target rate: the share of images that the judge classifies as the target; and as "none of these".

Computed from the judge's logits; no torch. A high rate of "none of these" marks an adversarial
solution: it raises CLIP's similarity without showing the target (Gal et al. 2021, §4.1).
"""

from collections.abc import Iterator

import numpy as np

from eval.metrics.metric import Metric, Value
from eval.metrics.sample import Sample
from nada.run.errors import UserError

TARGET_RATE = Metric("target_rate", "target rate", "", maximize=True, digits=3, needs="judge")
NONE_RATE = Metric("none_rate", "none of these", "", maximize=False, digits=3, needs="judge")
METRICS = (TARGET_RATE, NONE_RATE)


def values(sample: Sample) -> Iterator[Value]:
    """Both rates, of everything that a judge classified. The target is a class or a style."""
    if not sample.judged:
        return
    kind, name = sample.meta["target"]
    logits = sample[f"{kind}_logits"]
    rate = share_called(logits, sample.meta[f"{kind}_names"], name)
    yield Value(TARGET_RATE, rate, len(logits))
    logits, names = sample["class_logits"], sample.meta["class_names"]
    yield Value(NONE_RATE, share_called(logits, names, names[-1]), len(logits))


def share_called(logits: np.ndarray, names: list[str], wanted: str) -> float:
    """Share in [0,1] of the rows of logits [N,C] whose largest entry is that of `wanted`.

    names: of the C columns. UserError: a name that is not among them, or logits that are not finite.
    ValueError: another shape.
    """
    logits = np.asarray(logits)
    if wanted not in names:
        raise UserError(f"target {wanted!r}: the judge knows only {', '.join(names)}")
    if logits.ndim != 2 or logits.shape[1] != len(names) or len(logits) == 0:
        raise ValueError(f"logits: [N>=1,{len(names)}] expected, got {list(logits.shape)}")
    if not np.isfinite(logits).all():
        raise UserError("target rate: the judge's logits are not finite (NaN in the images?)")
    return float((logits.argmax(axis=1) == names.index(wanted)).mean())
