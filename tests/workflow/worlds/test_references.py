"""Reference sets of the mini world: nested, repeatable, and refused in one sentence."""

import numpy as np
import yaml

from workflow.worlds.mini.references import LARGEST, WORLD, main, reference_images
from workflow.worlds.mini.species import SPECIES, STYLES


def test_a_smaller_set_is_a_prefix_of_a_larger_one():
    small = reference_images("cat", "cat", "photo", 5, 32)
    large = reference_images("cat", "cat", "photo", 9, 32)
    assert small.dtype == np.uint8 and small.shape == (5, 32, 32, 3)
    assert np.array_equal(small, large[:5])


def test_domains_draw_different_scenes():
    assert not np.array_equal(
        reference_images("cat", "cat", "photo", 3, 32), reference_images("x", "cat", "photo", 3, 32)
    )


def test_world_yaml_lists_all_that_can_be_drawn():
    draws = yaml.safe_load(WORLD.read_text())["references"]["draws"]
    assert draws == {"species": list(SPECIES), "styles": list(STYLES), "most": LARGEST}


def test_a_domain_of_another_world_is_drawn_from_its_species_and_style(tmp_path, capsys):
    out = tmp_path / "x.npz"
    words = ["--count", "3", "--resolution", "16", "--out", str(out)]
    assert main(["--domain", "hare", "--species", "rabbit", "--style", "sketch", *words]) == 0
    drawn = reference_images("hare", "rabbit", "sketch", 3, 16)
    assert np.array_equal(np.load(out)["images"], drawn)
    assert main(["--domain", "hare", "--species", "hare", "--style", "photo", *words]) == 2
    assert "species 'hare': choose one of dog, cat" in capsys.readouterr().err


def test_an_unknown_domain_and_a_bad_count_are_reported_in_one_line(tmp_path, capsys):
    out = tmp_path / "x.npz"
    assert main(["--domain", "unicorn", "--count", "3", "--out", str(out)]) == 2
    assert "unicorn" in (error := capsys.readouterr().err) and error.count("\n") == 1
    assert main(["--domain", "cat", "--count", "0", "--out", str(out)]) == 2
    assert "count 0" in capsys.readouterr().err and not out.exists()
