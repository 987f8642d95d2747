"""KID against its definition, and the randomness of its subsets."""

import numpy as np
import pytest

from eval.metrics.kid import kid


def polynomial_mmd(a, b):
    """Unbiased squared MMD with the kernel (x·y/d + 1)³, written from its definition."""

    def kernel(x, y):
        return (np.dot(x, y) / len(x) + 1) ** 3

    n, m = len(a), len(b)
    aa = sum(kernel(a[i], a[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    bb = sum(kernel(b[i], b[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return aa + bb - 2 * sum(kernel(x, y) for x in a for y in b) / (n * m)


def test_kid_of_equal_sized_sets_equals_the_mmd_written_from_its_definition():
    rng = np.random.default_rng(9)
    a, b = rng.normal(size=(30, 5)), rng.normal(0.5, 1.2, size=(30, 5))
    assert kid(a, b) == pytest.approx(polynomial_mmd(a, b), rel=1e-9)


def test_kid_repeats_itself_and_leaves_numpys_global_generator_alone():
    rng = np.random.default_rng(10)
    a, b = rng.normal(size=(90, 5)), rng.normal(size=(60, 5))
    np.random.seed(123)
    wanted = np.random.random(3)
    np.random.seed(123)
    assert kid(a, b) == kid(a, b)
    assert np.array_equal(np.random.random(3), wanted)
    assert kid(a, b, seed=0) != kid(a, b, seed=1)
