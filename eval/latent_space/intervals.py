"""Bootstrap intervals of scores over images or latent codes.

A statistic is a function of row numbers: it looks up the values of the rows itself. So one resample moves
all that belongs to a row together: the slopes of one code in two models, or all factors of an image.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import stats

from eval.analysis.statistics import CONFIDENCE

#: Resamples of an interval.
RESAMPLES = 2000
#: Resamples whose statistic is computed at once; bounds memory.
BATCH = 100


@dataclass(frozen=True)
class Estimate:
    """A score with its bootstrap interval. n: rows behind it, of the smaller sample if there are two.

    All three numbers are NaN where the score is not defined; low and high alone where n is 1.
    """

    value: float
    low: float
    high: float
    n: int

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval is on one side of 0; False without an interval."""
        return self.low > 0 or self.high < 0


UNDEFINED = Estimate(np.nan, np.nan, np.nan, 0)


def bootstrap(
    statistic: Callable[..., np.ndarray],
    *sizes: int,
    value: float | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> Estimate:
    """A statistic of one sample or of several independent ones, with its percentile interval.

    statistic: row numbers [...,n] of each sample -> [...]. sizes: n of each sample. value: the score, if
    it is not the statistic of all rows. seed: of the resamples. ValueError: an empty sample.
    """
    if min(sizes) < 1:
        raise ValueError(f"bootstrap: samples of one row or more expected, got {list(sizes)}")
    samples = [np.arange(n) for n in sizes]

    def of_rows(*rows: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.asarray(statistic(*(row.astype(np.intp) for row in rows)), dtype=np.float64)

    value = float(of_rows(*samples)) if value is None else value
    if min(sizes) == 1:
        return Estimate(value, np.nan, np.nan, 1)
    interval = stats.bootstrap(
        samples, of_rows, n_resamples=resamples, batch=BATCH, confidence_level=confidence,
        method="percentile", vectorized=True, random_state=np.random.default_rng(seed),
    ).confidence_interval  # fmt: skip
    return Estimate(value, float(interval.low), float(interval.high), min(sizes))


def bootstrap_mean(values, seed: int = 0) -> Estimate:
    """The mean of values [n], with its interval. ValueError: no value, or one that is not finite."""
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or len(values) == 0 or not np.isfinite(values).all():
        raise ValueError(f"values: one or more finite numbers [n] expected, got {values}")
    return bootstrap(lambda rows: values[rows].mean(axis=-1), len(values), seed=seed)


def mean_of_present(values, seed: int = 0) -> Estimate:
    """As `bootstrap_mean`, of the values that are not NaN; UNDEFINED if there is none."""
    values = np.asarray(values, dtype=np.float64)
    values = values[~np.isnan(values)]
    return bootstrap_mean(values, seed) if len(values) else UNDEFINED


def resampled_means(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Means over resampled rows: values [n,...], rows [...,m] -> [...] + the value's own axes.

    As a product with the share of each row, which needs less memory than values[rows].
    """
    shares = row_counts(rows, len(values)) / rows.shape[-1]
    return np.tensordot(shares, values, axes=1)


def row_counts(rows: np.ndarray, n: int) -> np.ndarray:
    """How often each of n rows occurs in row numbers [...,m]: [...,n]."""
    flat = rows.reshape(-1, rows.shape[-1])
    offsets = n * np.arange(len(flat))[:, None]
    counts = np.bincount((flat + offsets).ravel(), minlength=n * len(flat))
    return counts.reshape(*rows.shape[:-1], n)
