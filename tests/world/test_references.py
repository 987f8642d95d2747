"""Reference sets of the mini world: nested, repeatable, and refused in one sentence."""

import numpy as np

from workflow.worlds.mini.references import main, reference_images


def test_a_smaller_set_is_a_prefix_of_a_larger_one():
    small = reference_images("cat", "cat", "photo", 5, 32)
    large = reference_images("cat", "cat", "photo", 9, 32)
    assert small.dtype == np.uint8 and small.shape == (5, 32, 32, 3)
    assert np.array_equal(small, large[:5])


def test_domains_draw_different_scenes():
    assert not np.array_equal(
        reference_images("cat", "cat", "photo", 3, 32), reference_images("x", "cat", "photo", 3, 32)
    )


def test_an_unknown_domain_and_a_bad_count_are_one_sentence_each(tmp_path, capsys):
    out = tmp_path / "x.npz"
    assert main(["--domain", "unicorn", "--count", "3", "--out", str(out)]) == 2
    assert "unicorn" in (error := capsys.readouterr().err) and error.count("\n") == 1
    assert main(["--domain", "cat", "--count", "0", "--out", str(out)]) == 2
    assert "count 0" in capsys.readouterr().err and not out.exists()
