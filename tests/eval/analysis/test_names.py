"""Names of methods, variants and warm starts, as people read them."""

import pytest

from baselines.registry import methods
from eval.analysis.names import CONTROLS, METHODS, condition_title, method_name


@pytest.mark.parametrize(
    "condition, name",
    [
        (("nada", "all_layers", 0, "source"), "NADA all layers"),
        (("nada", "k_2", 0, "source"), "NADA k = 2"),
        (("tgan_ada", "plain", 10, "source"), "TGAN + ADA, 10-shot"),
        (("ojha", "patch_r1", 5, "nada_catchup"), "Ojha et al. patch r1, 5-shot, from D catch-up"),
        (("my_method", "plain", 0, "my_start"), "my method, from my start"),
        (("source", "unchanged", 0, "source"), "source model, unchanged"),
        (("replay", "images", 3, "source"), "the 3 target images, replayed"),
        (("real", "", 0, "source"), "real images (two halves)"),
    ],
)
def test_a_condition_is_called_by_method_variant_shots_and_start(condition, name):
    assert condition_title(*condition) == name


def test_every_method_of_a_paper_has_a_name():
    assert set(methods()) - set(CONTROLS) - {"checkpoint"} == set(METHODS)
    assert all("_" not in method_name(method) for method in methods())
