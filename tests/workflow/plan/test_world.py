"""A world: its files are found, checked and, where they are assets, waited for."""

import json

import numpy as np
import pytest
import yaml
from PIL import Image

from nada.run.atomic import sha256
from workflow.plan.checking import ConfigError
from workflow.plan.inputs import reference_arguments
from workflow.plan.plan import load_plan
from workflow.plan.world import check_files, load_world
from workflow.worlds.mini import references


@pytest.fixture
def world_folder(tmp_path):
    """A root with one world of four small files and a manifest that knows one of them."""
    folder = tmp_path / "workflow/worlds/tiny"
    (folder / "weights").mkdir(parents=True)
    for name in ("dog.safetensors", "clip.json", "clip.safetensors", "net.safetensors"):
        (folder / "weights" / name).write_text(name)
    (folder / "templates.txt").write_text("a {}\n")
    world = {
        "device": "cpu",
        "resolution": 32,
        "sources": {"dog": "weights/dog.safetensors"},
        "clips": [
            {
                "name": "a",
                "config": "weights/clip.json",
                "weights": "weights/clip.safetensors",
                "weight": 1.0,
            }
        ],
        "perceptual": "weights/net.safetensors",
        "judge": "weights/net.safetensors",
        "templates": "templates.txt",
        "references": {"module": "workflow.tiny", "domains": {}},
    }
    world["references"]["domains"]["cat"] = {"species": "cat", "style": "photo"}
    (folder / "world.yaml").write_text(yaml.safe_dump(world))
    dog = folder / "weights/dog.safetensors"
    manifest = {"files": {dog.name: {"sha256": sha256(dog)}}}
    (folder / "weights/manifest.json").write_text(json.dumps(manifest))
    return tmp_path


def test_whole_weights_pass_and_paths_are_relative_to_the_root(world_folder):
    world = load_world("tiny", world_folder)
    weights = "workflow/worlds/tiny/weights/dog.safetensors"
    assert world["sources"] == {"dog": {"weights": weights, "resolution": 32}}
    check_files(world, world_folder)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda path: path.unlink(), "dog.safetensors: this file of the world 'tiny' is missing"),
        (lambda path: path.write_text("dog"), "dog.safetensors: damaged or replaced: its SHA-256"),
    ],
    ids=["missing", "truncated"],
)
def test_a_damaged_weight_file_is_named_before_anything_runs(world_folder, damage, sentence):
    damage(world_folder / "workflow/worlds/tiny/weights/dog.safetensors")
    with pytest.raises(ConfigError) as error:
        check_files(load_world("tiny", world_folder), world_folder)
    assert sentence in str(error.value)
    assert "git checkout" in str(error.value)


def test_an_unknown_key_of_a_world_is_named_with_its_file(world_folder):
    path = world_folder / "workflow/worlds/tiny/world.yaml"
    path.write_text(path.read_text() + "devise: cpu\n")
    with pytest.raises(ConfigError, match=r"tiny/world.yaml: unknown key 'devise' .* 'device'\?"):
        load_world("tiny", world_folder)


def test_an_asset_is_a_path_in_the_assets_folder_and_need_not_exist_before_it_is_fetched(
    world_folder,
):
    folder = world_folder / "workflow/worlds/tiny"
    world = yaml.safe_load((folder / "world.yaml").read_text())
    world["sources"] = {"dog": {"weights": "asset:dog_512", "resolution": 512}}
    world["assets"] = {"folder": "assets", "command": "workflow.assets.asset_registry"}
    world["references"]["domains"] = {"cat": {"source": "asset:pets/train/cat", "resolution": 512}}
    (folder / "world.yaml").write_text(yaml.safe_dump(world))
    entries = {"dog_512": {"file": "dog.pkl"}, "pets": {"file": "pets.zip", "unpack": "zip"}}
    (folder / "assets.yaml").write_text(yaml.safe_dump({"assets": entries}))

    found = load_world("tiny", world_folder)
    assert found["sources"]["dog"] == {"weights": "assets/dog.pkl", "resolution": 512}
    assert found["references"]["domains"]["cat"]["source"] == "assets/pets/train/cat"
    assert found["fetched"] == {"assets/dog.pkl": "dog_512", "assets/pets": "pets"}
    check_files(found, world_folder)


def test_an_asset_that_the_registry_does_not_have_is_named(world_folder):
    folder = world_folder / "workflow/worlds/tiny"
    world = yaml.safe_load((folder / "world.yaml").read_text())
    world["sources"] = {"dog": "asset:dogs"}
    world["assets"] = {"folder": "assets", "command": "workflow.assets.asset_registry"}
    (folder / "world.yaml").write_text(yaml.safe_dump(world))
    (folder / "assets.yaml").write_text(yaml.safe_dump({"assets": {"dog": {"file": "d"}}}))
    with pytest.raises(ConfigError, match=r"the world 'tiny' names 'dogs'; did you mean 'dog'\?"):
        load_world("tiny", world_folder)


def add_world(folder, name, **content):
    """Write another world's world.yaml and return its folder."""
    place = folder / "workflow/worlds" / name
    place.mkdir()
    (place / "world.yaml").write_text(yaml.safe_dump(content))
    return place


def test_a_world_like_a_world_like_another_has_the_files_of_all_three(world_folder):
    second = add_world(world_folder, "second", like="tiny", sources={"cat": "cat.safetensors"})
    add_world(world_folder, "third", like="second", device="cuda", templates="lines/own.txt")
    (second / "cat.safetensors").write_text("cat")
    world = load_world("third", world_folder)
    assert world["name"] == "third"
    assert world["device"] == "cuda"
    assert {domain: entry["weights"] for domain, entry in world["sources"].items()} == {
        "dog": "workflow/worlds/tiny/weights/dog.safetensors",
        "cat": "workflow/worlds/second/cat.safetensors",
    }
    # a file lies beside the world.yaml that names it
    assert world["templates"] == "workflow/worlds/third/lines/own.txt"
    assert world["perceptual"] == "workflow/worlds/tiny/weights/net.safetensors"


def test_worlds_that_are_like_each_other_are_refused(world_folder):
    add_world(world_folder, "second", like="third")
    add_world(world_folder, "third", like="second")
    with pytest.raises(ConfigError, match="makes a circle: second -> third -> second; break it"):
        load_world("second", world_folder)


def test_a_world_like_one_that_does_not_exist_is_refused_with_the_nearest(world_folder):
    add_world(world_folder, "second", like="tinny")
    sentence = r"'like' of workflow/worlds/second/world.yaml names 'tinny'; did you mean 'tiny'\?"
    with pytest.raises(ConfigError, match=sentence):
        load_world("second", world_folder)


def test_what_a_world_sets_to_null_it_does_not_take_over(world_folder):
    domains = {"cat": {"species": None, "style": None, "source": "cats", "resolution": 32}}
    place = add_world(
        world_folder, "second", like="tiny", judge=None, references={"domains": domains}
    )
    world = load_world("second", world_folder)
    assert "judge" not in world
    assert world["references"]["domains"]["cat"] == {
        "source": "workflow/worlds/second/cats", "resolution": 32, "module": "nada.images.sets"
    }  # fmt: skip
    with pytest.raises(ConfigError, match="second/cats: the images of the domain 'cat' .* missing"):
        check_files(world, world_folder)
    (place / "cats").mkdir()
    check_files(world, world_folder)


def test_a_domain_is_drawn_or_read_and_not_both(world_folder):
    domains = {"cat": {"source": "cats", "resolution": 32}}  # tiny draws it
    add_world(world_folder, "second", like="tiny", references={"domains": domains})
    sentence = "'references.domains.cat' needs either 'species' and 'style' or 'source', not both"
    with pytest.raises(ConfigError, match=sentence):
        load_world("second", world_folder)


def test_a_domain_that_nobody_draws_is_refused(world_folder):
    draws = {"species": ["cat", "rabbit"], "styles": ["photo"], "most": 100}
    domains = {"hare": {"species": "rabit", "style": "photo"}}
    references = {"draws": draws, "domains": domains}
    add_world(world_folder, "second", like="tiny", references=references)
    sentence = r"'rabit', which workflow.tiny does not draw; did you mean 'rabbit'\?"
    with pytest.raises(ConfigError, match=sentence):
        load_world("second", world_folder)
    references = {"module": "nada.images.sets"}
    add_world(world_folder, "third", like="tiny", references=references)
    with pytest.raises(ConfigError, match="domains.cat' has a species .* nada.images.sets draws not"):
        load_world("third", world_folder)


def test_a_resolution_that_a_program_wrote_with_a_point_is_a_whole_number(world_folder):
    add_world(world_folder, "second", like="tiny", resolution=32.0)
    assert repr(load_world("second", world_folder)["resolution"]) == "32"
    add_world(world_folder, "third", like="tiny", resolution=float("inf"))
    with pytest.raises(ConfigError, match="third/world.yaml: 'resolution' is Infinity"):
        load_world("third", world_folder)


@pytest.fixture
def own_world(root, tmp_path):
    """A root with the project's own worlds and one more, `mine`, that is like mini."""
    for name in ("baselines", "eval"):
        (tmp_path / name).symlink_to(root / name)
    for name in ("presets",):
        path = tmp_path / "workflow" / name
        path.parent.mkdir(exist_ok=True)
        path.symlink_to(root / "workflow" / name)
    (tmp_path / "config.yaml").symlink_to(root / "config.yaml")
    worlds = tmp_path / "workflow/worlds"
    worlds.mkdir()
    (worlds / "mini").symlink_to(root / "workflow/worlds/mini")

    def made(domain, **task):
        add_world(tmp_path, "mine", like="mini", references={"domains": {"hare": domain}})
        task = {
            "role": "test", "source": "dog", "text": {"source": "dog", "target": "rabbit"},
            "references": {"domain": "hare", "count": 200}, "target_class": "rabbit", **task,
        }  # fmt: skip
        groups = {"ablation": {"tasks": ["dog2hare"]}, "k_sweep": {"tasks": ["dog2hare"]}}
        overrides = {"world": "mine", "tasks": {"dog2hare": task}, "groups": groups}
        return load_plan(tmp_path, overrides)

    return made


def test_a_new_domain_of_a_world_like_mini_is_drawn_by_the_job_as_planned(own_world, tmp_path):
    plan = own_world({"species": "rabbit", "style": "photo"})
    words = reference_arguments(plan, "hare").split()
    module = plan.world["references"]["domains"]["hare"]["module"]
    assert module == "workflow.worlds.mini.references"
    assert references.main([*words, "--out", str(tmp_path / "hare.npz")]) == 0
    drawn = references.reference_images("hare", "rabbit", "photo", 200, 32)
    np.testing.assert_array_equal(np.load(tmp_path / "hare.npz")["images"], drawn)


def test_a_domain_of_ones_own_photographs_is_read_and_not_drawn(own_world, tmp_path):
    (tmp_path / "photos").mkdir()
    for number in range(200):
        Image.new("RGB", (32, 32)).save(tmp_path / f"photos/{number}.png")
    plan = own_world({"source": "../../../photos", "resolution": 32})
    assert plan.world["references"]["domains"]["hare"]["module"] == "nada.images.sets"
    assert "--source workflow/worlds/mine/../../../photos --resolution 32" in reference_arguments(
        plan, "hare"
    )


def test_more_images_than_a_domain_is_drawn_in_are_refused(own_world):
    domain = {"species": "rabbit", "style": "photo"}
    with pytest.raises(ConfigError, match="count' is 20001, but .*references draws at most 20000"):
        own_world(domain, references={"domain": "hare", "count": 20001})
