"""The effect of an edit on the factors of images: slopes over its strength, and leakage into other factors."""

import numpy as np


def code_slopes(strengths: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Least-squares slope of each factor over the strengths, for each code: [n,F].

        slope = Σ_s (x_s − x̄) y_s / Σ_s (x_s − x̄)²

    strengths: x [S], two different ones or more. factors: y [S,n,F]. ValueError: another shape.
    """
    x, y = np.asarray(strengths, dtype=np.float64), np.asarray(factors, dtype=np.float64)
    if x.ndim != 1 or y.ndim != 3 or len(x) != len(y):
        raise ValueError(f"strengths [S] and factors [S,n,F] expected, got {x.shape}, {y.shape}")
    centred = x - x.mean()
    if not np.abs(centred).max(initial=0) > 0:
        raise ValueError(f"strengths: two different ones or more expected, got {x.tolist()}")
    return np.tensordot(centred, y, axes=1) / np.square(centred).sum()


def leakage(slopes: np.ndarray, factor: int, others: list[int]) -> np.ndarray:
    """Mean |slope| of the other factors over |slope| of the edited one: [...,F] -> [...], 0 or more.

    slopes: means over codes, in standard deviations of each factor. others: one or more.
    """
    return np.abs(slopes[..., others]).mean(axis=-1) / np.abs(slopes[..., factor])
