"""Means and intervals over seeds."""

import numpy as np
from scipy import stats

#: Coverage of every interval in tables and figures.
CONFIDENCE = 0.95


def t_interval(values, confidence: float = CONFIDENCE) -> tuple[float, float | None]:
    """Mean and half-width of Student's t interval for the mean of independent values.

    values: one number per seed. Half-width: t_{n-1, (1+c)/2} · s / √n with the unbiased s, in the
    values' unit; None when n = 1. ValueError when there is no value or one is not finite.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or len(values) == 0 or not np.isfinite(values).all():
        raise ValueError(f"values: a non-empty list of finite numbers wanted, got {values}")
    n = len(values)
    if n == 1:
        return float(values[0]), None
    quantile = stats.t.ppf((1 + confidence) / 2, df=n - 1)
    return float(values.mean()), float(quantile * values.std(ddof=1) / np.sqrt(n))
