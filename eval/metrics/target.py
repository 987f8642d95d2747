"""Did the text's change happen? The judge's verdict on generated images.

Reads the judge's logits; no torch. A picture that is called "none of these" is the mark of an
adversarial solution: CLIP is pleased, a viewer is not (Gal et al. 2021, §4.1).
"""

import numpy as np

from eval.metrics.metric import Metric
from nada.run.errors import UserError

TARGET_RATE = Metric("target_rate", "target rate", "", maximize=True, digits=3)
NONE_RATE = Metric("none_rate", "none of these", "", maximize=False, digits=3)
METRICS = (TARGET_RATE, NONE_RATE)


def share_called(logits: np.ndarray, names: list[str], wanted: str) -> float:
    """Share of rows of logits [N,C] whose largest entry is `wanted`'s; names: the C columns.

    UserError: a name that the judge does not know, logits that are not finite.
    """
    logits = np.asarray(logits)
    if wanted not in names:
        raise UserError(f"target {wanted!r}: the judge knows only {', '.join(names)}")
    if logits.ndim != 2 or logits.shape[1] != len(names) or len(logits) == 0:
        raise ValueError(f"logits: [N>=1,{len(names)}] wanted, got {list(logits.shape)}")
    if not np.isfinite(logits).all():
        raise UserError("target rate: the judge's logits are not finite (NaN in the images?)")
    return float((logits.argmax(axis=1) == names.index(wanted)).mean())
