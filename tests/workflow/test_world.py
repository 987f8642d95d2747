"""A world: its files are found, checked and, where they are assets, waited for."""

import json

import pytest
import yaml

from nada.atomic import sha256
from workflow.checking import ConfigError
from workflow.world import check_files, load_world


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


def test_an_asset_is_a_path_in_the_assets_folder_and_is_not_looked_for_before_it_is_fetched(
    world_folder,
):
    folder = world_folder / "workflow/worlds/tiny"
    world = yaml.safe_load((folder / "world.yaml").read_text())
    world["sources"] = {"dog": {"weights": "asset:dog_512", "resolution": 512}}
    world["assets"] = {"folder": "assets", "command": "workflow.assets"}
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
    world["assets"] = {"folder": "assets", "command": "workflow.assets"}
    (folder / "world.yaml").write_text(yaml.safe_dump(world))
    (folder / "assets.yaml").write_text(yaml.safe_dump({"assets": {"dog": {"file": "d"}}}))
    with pytest.raises(ConfigError, match=r"the world 'tiny' names 'dogs'; did you mean 'dog'\?"):
        load_world("tiny", world_folder)
