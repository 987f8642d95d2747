"""Colours of models: different within a panel for readers with any colour vision, the same everywhere."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from eval.figures.facets import MOST, facets
from eval.figures.palette import BOUNDS, COLOURS, K_COLOURS, KNOWN, styles
from workflow.plan.plan import load_plan

#: Machado, Oliveira and Fernandes 2009, "A Physiologically-based Model for Simulation of Color Vision
#: Deficiency", Table 1, severity 1.0; they apply to linear RGB.
VISION = {
    "all cones": np.eye(3),
    "protanopia": np.array([
        [0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998],
    ]),
    "deuteranopia": np.array([
        [0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881],
    ]),
}  # fmt: skip
#: CIE 1976 distance that two colours of one panel keep; a just noticeable one is 2.3.
LEAST = 15
ROOT = Path(__file__).parents[3]


def linear(colour: str) -> np.ndarray:
    """Linear RGB [3] of "#RRGGBB"."""
    c = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIELAB [3] of linear RGB under D65."""
    to_xyz = np.array([
        [0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041],
    ])  # fmt: skip
    xyz = to_xyz @ rgb / np.array([0.95047, 1.0, 1.08883])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def distance(one: str, other: str, vision: str) -> float:
    """The CIE 1976 distance of two colours as a reader with this vision sees them."""
    seen = [lab(np.clip(VISION[vision] @ linear(colour), 0, 1)) for colour in (one, other)]
    return float(np.linalg.norm(seen[0] - seen[1]))


@pytest.fixture(scope="module", params=["mini", "paper"])
def shown(request):
    """{(group, task): its models but controls} of everything that a world's configuration shows."""
    plan, found = load_plan(ROOT, {"world": request.param}), {}
    for name in plan.config["groups"]:
        for member in plan.members(name) if name in plan.groups else ():
            if member.method not in BOUNDS:
                model = (member.method, member.variant, member.shots, member.warm_start)
                found.setdefault((name, member.task), []).append(model)
    return found


@pytest.mark.parametrize("vision", VISION)
def test_two_colours_of_the_palette_differ_for_every_reader(vision):
    assert distance("#000000", "#FFFFFF", vision) == pytest.approx(100, abs=0.1)
    for one, other in combinations(COLOURS, 2):
        assert distance(one, other, vision) >= LEAST, (one, other)


@pytest.mark.parametrize("vision", VISION)
def test_models_of_one_panel_have_colours_that_every_reader_tells_apart(shown, vision):
    for name, models in shown.items():
        for facet in facets(models):
            looks = styles([model[:2] for model in facet.models])
            colours = [look["color"] for names, look in looks.items() if names[0] not in BOUNDS]
            assert len(colours) <= MOST, name
            for one, other in combinations(colours, 2):
                assert distance(one, other, vision) >= LEAST, (name, facet.title, one, other)


def test_every_model_is_in_a_panel_and_a_panel_says_what_its_models_share(shown):
    for name, models in shown.items():
        found = facets(models)
        assert set(models) == {model for facet in found for model in facet.models}, name
        assert len(found) == 1 or all(facet.title for facet in found), name
        titles = [facet.title for facet in found]
        assert len(set(titles)) == len(titles), name


def test_departures_are_drawn_with_what_they_depart_from():
    variants = ("adaptive", "mapper", "no_views", "drawn_noise", "official_adam", "official_affine", "official_pool",
                "official_lambdas", "official_score")  # fmt: skip
    found = {facet.title: facet.models for facet in facets([("nada", v, 0, "source") for v in variants])}
    adaptive, mapper = (("nada", v, 0, "source") for v in ("adaptive", "mapper"))
    assert adaptive in found["choices of ours undone"] and adaptive in found["public code: optimiser and layers"]
    assert mapper in found["mapper"] and adaptive not in found["mapper"]


def test_image_counts_have_panels_of_their_own_with_the_models_that_see_none():
    models = [("nada", "adaptive", 0, "source")]
    models += [(m, "plain", s, "source") for m in ("tgan", "ojha") for s in (100, 5)]
    found = facets(models)
    assert [facet.title for facet in found] == ["5 images", "100 images"]
    assert list(found[0].models.values()) == ["NADA adaptive", "TGAN", "Ojha et al."]


def test_the_sweep_of_k_has_a_colour_for_each_k():
    names = [("nada", v) for v in ("k_1", "k_2", "adaptive", "k_4", "k_5", "k_6", "all_layers")]
    assert len({look["color"] for look in styles(names).values()}) == len(names)
    assert set(K_COLOURS.values()).isdisjoint({KNOWN["nada", "adaptive"][0], KNOWN["nada", "all_layers"][0]})
