"""A world that is `like` another: what is looked up by a world's name is looked up in its lineage too."""

import pytest
import yaml

from baselines import registry
from nada.run.errors import UserError
from nada.run.spec.base import as_json
from workflow.assets import asset_registry
from workflow.plan.checking import ConfigError
from workflow.plan.inputs import claims_arguments
from workflow.plan.methods import KEPT, descriptions
from workflow.plan.plan import load_plan
from workflow.plan.specs import group_spec, report_spec


@pytest.fixture
def like(root, tmp_path):
    """like(name, model, **changes): the plan of a new world in a folder that has the project's own, too."""
    for name in ("baselines", "eval", "config.yaml", "nada"):
        (tmp_path / name).symlink_to(root / name)
    descriptions(registry.methods(root / "baselines"), root)  # which another root would make anew, in seconds
    (tmp_path / KEPT).parent.mkdir()
    (tmp_path / KEPT).symlink_to(root / KEPT)
    worlds = tmp_path / "workflow/worlds"
    worlds.mkdir(parents=True)
    (tmp_path / "workflow/presets").symlink_to(root / "workflow/presets")
    for name in ("mini", "paper", "rehearsal"):
        (worlds / name).symlink_to(root / "workflow/worlds" / name)

    def planned(name, model, **changes):
        (worlds / name).mkdir()
        (worlds / name / "world.yaml").write_text(yaml.safe_dump({"like": model, **changes}))
        return load_plan(tmp_path, {"world": name, "results": f"results/{name}"})

    return planned


def test_a_world_like_another_shows_the_licences_of_that_one(root, like):
    of_paper = report_spec(load_plan(root, {"world": "paper"})).assets
    assert of_paper
    own = like("mine", "paper", device="cpu")
    assert report_spec(own).assets == of_paper and own.world["registry"] == "paper"
    assert report_spec(like("second", "mine")).assets == of_paper
    assert report_spec(like("drawn", "mini")).assets == ()


def test_a_world_that_makes_its_files_itself_shows_no_licence_of_the_originals(root, like):
    assert report_spec(load_plan(root, {"world": "rehearsal"})).assets == ()
    assert report_spec(like("made", "rehearsal")).assets == ()


def test_specs_name_the_worlds_that_a_world_is_like_and_only_where_there_are_any(default, like):
    own = like("mine", "mini", resolution=32)
    assert report_spec(own).like == group_spec(own, "table1").like == ("mini",)
    assert like("second", "mine").world["lineage"] == ("second", "mine", "mini")
    assert report_spec(default).like is None and "like" not in as_json(group_spec(default, "table1"))


def test_the_assets_of_a_world_without_a_registry_are_those_of_the_world_that_it_is_like(tmp_path, monkeypatch):
    theirs = "licences: {mit: {name: MIT, url: 'https://example.org', consent: false}}\nassets: {}\ndefault: []\n"
    for name, content in (("far", "device: cpu"), ("near", "like: far"), ("mine", "like: near"), ("alone", "{}")):
        (tmp_path / "workflow/worlds" / name).mkdir(parents=True)
        (tmp_path / "workflow/worlds" / name / "world.yaml").write_text(content)
    monkeypatch.setattr(asset_registry, "WORLDS", tmp_path / "workflow/worlds")
    (tmp_path / "workflow/worlds/far/assets.yaml").write_text(theirs)
    assert asset_registry.load_registry("mine").world == "far"
    (tmp_path / "workflow/worlds/near/assets.yaml").write_text(theirs)
    assert asset_registry.load_registry("mine").world == "near"
    with pytest.raises(UserError, match="world 'alone' has no assets"):
        asset_registry.load_registry("alone")
    (tmp_path / "workflow/worlds/far/world.yaml").write_text("like: mine")
    (tmp_path / "workflow/worlds/near/assets.yaml").unlink()
    (tmp_path / "workflow/worlds/far/assets.yaml").unlink()
    with pytest.raises(ConfigError, match="makes a circle"):
        asset_registry.load_registry("mine")


def test_the_claims_are_told_the_worlds_that_a_world_is_like(default, like):
    like("mine", "mini")
    assert claims_arguments(like("second", "mine")) == "--like mine mini"
    assert claims_arguments(default) == ""
