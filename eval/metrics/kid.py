"""KID: the squared maximum mean discrepancy of two sets of features (Bińkowski et al. 2018).

The value is clean-fid's (Parmar et al. 2022). KID is unbiased, so it can be read on the few images of
a snapshot, where FID cannot.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from eval.metrics.metric import Metric, Value
from eval.metrics.sample import Sample

KID = Metric("kid", "KID", "", maximize=False, digits=4, needs="references")
METRICS = (KID,)

#: clean-fid's defaults: number of subsets, and the largest size of one.
KID_SUBSETS, KID_SUBSET_SIZE = 100, 1000
KID_SEED = 0


def values(sample: Sample) -> Iterator[Value]:
    """KID against the reference images, of models and snapshots."""
    if sample.references is not None:
        features = sample["features"]
        yield Value(KID, kid(features, sample.references["features"].features), len(features))


@contextmanager
def _numpy_seed(seed: int):
    state = np.random.get_state()
    np.random.seed(seed)  # clean-fid draws its subsets from the global generator
    try:
        yield
    finally:
        np.random.set_state(state)


def kid(features_a: np.ndarray, features_b: np.ndarray, seed: int = KID_SEED) -> float:
    """Unbiased squared MMD with the kernel (x·y/d + 1)³, by clean-fid's kernel distance, seeded.

    features_a, features_b: [N,d] and [M,d], at least two rows each. The mean over KID_SUBSETS random
    subsets of min(N, M, KID_SUBSET_SIZE) images; one subset where it is the whole of both sets.
    """
    from cleanfid.fid import kernel_distance  # imports torch: not before it is needed

    a, b = (np.asarray(f, dtype=np.float64) for f in (features_a, features_b))
    whole = len(a) == len(b) <= KID_SUBSET_SIZE
    with _numpy_seed(seed):
        return float(kernel_distance(a, b, 1 if whole else KID_SUBSETS, KID_SUBSET_SIZE))
