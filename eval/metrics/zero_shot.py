"""Zero-shot share: the share of images that a held-out CLIP places nearer to one text than to another.

For Fig. 16, Gal et al. (2021, App. C) show that the text "doctor" turns faces towards men and "nurse" towards
women. This CLIP steers no adaptation. It classifies as in Radford et al. (2021, §3.1.2), by the cosine of
image and text. The share measures this CLIP's association of pictures with two words: it says nothing of the
people whom a picture resembles, and has the held-out CLIP's own bias. Compare it with that of the source model.
No torch.
"""

from collections.abc import Iterator

import numpy as np

from eval.metrics.metric import Metric, Value
from eval.metrics.sample import Sample
from nada.run.errors import UserError

ZERO_SHOT_SHARE = Metric("zero_shot_share", "zero-shot share", "", maximize=None, digits=3, needs="held_out_clip")
METRICS = (ZERO_SHOT_SHARE,)


def values(sample: Sample) -> Iterator[Value]:
    """The share of everything that a held-out CLIP compared with the task's two texts."""
    if "text_cosines" in sample:
        cosines = sample["text_cosines"]
        yield Value(ZERO_SHOT_SHARE, first_share(cosines), len(cosines))


def first_share(cosines: np.ndarray) -> float:
    """Share in [0,1] of the rows of cosines [N,2] whose first entry is the larger; a draw counts one half.

    UserError: cosines that are not finite. ValueError: another shape, or no row.
    """
    cosines = np.asarray(cosines)
    if cosines.ndim != 2 or cosines.shape[1] != 2 or len(cosines) == 0:
        raise ValueError(f"cosines: [N>=1,2] expected, got {list(cosines.shape)}")
    if not np.isfinite(cosines).all():
        raise UserError("zero-shot share: the held-out CLIP's cosines are not finite (NaN in the images?)")
    first, second = cosines.T
    return float(((first > second) + 0.5 * (first == second)).mean())
