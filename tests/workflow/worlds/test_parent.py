"""The parent of a source model: what it has seen, how its members are drawn, what a shift touches."""

import pytest
import torch
import yaml

from nada.stylegan2.generator import Generator
from workflow.worlds.mini.parent import BETWEEN_SHARE, FAMILIES, OWN_SHARE, Family, Parent
from workflow.worlds.mini.references import WORLD
from workflow.worlds.mini.species import SPECIES, STYLES


def test_no_parent_of_a_benchmarked_source_has_seen_a_target(root):
    config = yaml.safe_load((root / "config.yaml").read_text())
    sources = yaml.safe_load(WORLD.read_text())["sources"]
    assert set(FAMILIES) == set(sources)
    for name, task in config["tasks"].items():
        if "references" not in task or task["source"] == "dog_with_targets":
            continue  # without references: no number of the task is compared with real images
        target = task.get("target_class") or task["target_style"]
        assert target not in FAMILIES[task["source"]].members, name
    assert {"cat", "bear", "fox"} < set(FAMILIES["dog_with_targets"].members)


def test_weights_of_members_describe_scenes_of_species_or_styles():
    for family in FAMILIES.values():
        weights = family.pure(family.members[-1], 3)
        species, style = family.scene(weights)
        assert species.shape == (3, len(SPECIES)) and style.shape == (3, len(STYLES))
        names = SPECIES if family.varies == "species" else STYLES
        varied = species if family.varies == "species" else style
        assert varied[0].argmax() == names.index(family.members[-1])
        assert (species.sum(1) == 1).all() and (style.sum(1) == 1).all()
        assert species[0, SPECIES.index(family.species)] == 1 or family.members[-1] != family.own


def test_a_third_of_the_drawn_members_lie_between_two():
    family = FAMILIES["dog"]
    weights = family.draw(4000, torch.Generator().manual_seed(0))
    torch.testing.assert_close(weights.sum(1), torch.ones(4000))
    pure = weights.amax(1) == 1
    m = len(family.members)
    between = BETWEEN_SHARE * (1 - (OWN_SHARE + (1 - OWN_SHARE) / m) / m - (1 - OWN_SHARE) * (m - 1) / m / m)
    assert abs(float((~pure).float().mean()) - between) < 0.03
    own = (weights[:, 0] == 1).float().mean()
    assert 0.65 * (OWN_SHARE + 0.8 / m) < own < 0.35


def small(family: Family) -> Parent:
    torch.manual_seed(0)
    return Parent(Generator(16, 8, 8, 64, 8, 2, 1.0), family).eval()


def test_the_own_domain_is_an_ordinary_generator_and_a_relative_is_another():
    parent = small(Family("species", "dog", ("wolf", "lion")))
    z = torch.randn(4, 8)
    G = parent.G
    with torch.no_grad():
        plain = G.synthesis(G.broadcast(G.mapping(z)), noise_mode="none")
        own = parent.draw(z, Family("species", "dog", ("wolf", "lion")).pure("dog", 4))
        wolf = parent.draw(z, Family("species", "dog", ("wolf", "lion")).pure("wolf", 4))
    torch.testing.assert_close(own, plain, rtol=0, atol=1e-6)
    assert (wolf - plain).abs().mean() > 0.01


def test_a_shift_enters_slot_0_alone_and_the_own_one_gets_no_gradient():
    family = Family("species", "dog", ("wolf",))
    parent = small(family)
    w = torch.randn(3, 8)
    codes = parent.w_plus(w, family.pure("wolf", 3))
    assert (codes[:, 0] != w).any() and (codes[:, 1:] == w[:, None]).all()
    weights = torch.tensor([[0.5, 0.5]])
    parent.w_plus(w[:1], weights).square().sum().backward()
    assert (parent.shifts.grad[0] == 0).all() and (parent.shifts.grad[1] != 0).any()


@pytest.mark.parametrize("name", FAMILIES)
def test_every_member_is_a_species_or_style_of_the_world(name):
    family = FAMILIES[name]
    assert set(family.members) <= set(SPECIES if family.varies == "species" else STYLES)
    assert len(set(family.members)) == len(family.members)
