"""When two observations of one model agree: pictures within a level of 8 bits, numbers within a bound.

Another batch size or another processor rounds otherwise. A value that lies between two levels of 8
bits then becomes the one or the other, and everything measured on the picture follows.
"""

import numpy as np

#: How far a value of an 8-bit picture may lie from the other computation's.
LEVELS = 1
#: The share of a picture's values that may differ. A wrong latent or noise changes nearly all.
SHARE = 0.01
#: How far a measured number may lie, as a share of the largest of its array. One value of a picture
#: that differs by a level moves features and distances by up to 0.1 %; another latent moves them by
#: tens of percent.
BOUND = 0.01


def assert_pictures_agree(found, expected, name: str = "pictures") -> None:
    """Two uint8 arrays of pictures are the same but for rounding."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.dtype == expected.dtype == np.uint8 and found.shape == expected.shape, name
    apart = np.abs(found.astype(int) - expected.astype(int))
    assert apart.max(initial=0) <= LEVELS, f"{name}: {apart.max()} levels apart"
    assert np.mean(apart > 0) <= SHARE, f"{name}: {np.mean(apart > 0):.1%} of the values differ"


def assert_numbers_agree(found, expected, name: str = "numbers") -> None:
    """Two arrays that were measured on pictures which agree."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape, name
    bound = BOUND * np.abs(expected).max(initial=0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=bound, err_msg=name)


def assert_observations_agree(found: dict, expected: dict) -> None:
    """Every array of two observations of the same runs."""
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        pictures = np.asarray(array).dtype == np.uint8
        (assert_pictures_agree if pictures else assert_numbers_agree)(found[name], array, name)
