"""A world: its networks, images and sizes as world.yaml names them, as paths that jobs can open.

A file is embedded beside world.yaml, or an asset that the world's command brings (`asset:NAME`).
"""

import json
from copy import deepcopy
from pathlib import Path

from nada.atomic import sha256
from workflow.checking import ConfigError, known_name, merge, nearest, read_yaml, schema, validate

ASSET, ASSETS = "asset:", "assets.yaml"  # how world.yaml names a file of the registry beside it


def locate(world, located):
    """A world whose every file is where `located` says."""
    world = deepcopy(world)
    for key in ("perceptual", "judge", "templates", "vgg"):
        if key in world:
            world[key] = located(world[key])
    for mode, path in world.get("inception", {}).items():
        world["inception"][mode] = located(path)
    for clip in world["clips"]:
        clip.update(config=located(clip["config"]), weights=located(clip["weights"]))
    for domain, source in world["sources"].items():
        entry = source if isinstance(source, dict) else {"weights": source}
        entry = {"resolution": world["resolution"], **entry}
        world["sources"][domain] = {**entry, "weights": located(entry["weights"])}
    for drawn in world["references"]["domains"].values():
        if "source" in drawn:
            drawn["source"] = located(drawn["source"])
    return world


def read_registry(path, root):
    """{name: path in the assets' folder} of a world's assets; an archive is a folder once unpacked.

    `workflow.assets` and whoever else brings them check the rest of the registry.
    """
    entries = read_yaml(Path(root, path))["assets"]
    return {
        name: entry["file"].rsplit(".", 1)[0] if entry.get("unpack") else entry["file"]
        for name, entry in entries.items()
    }


def load_world(name, root):
    """Read and check a world; paths come back relative to `root`, as jobs see them.

    Returns the content of world.yaml with `name` added, every source as {weights, resolution}, and
    `fetched`: {path: name} of the assets that its command brings (empty where all is embedded).
    Raises ConfigError for an unknown world, or an asset that its registry does not have.
    """
    worlds = Path(root, "workflow", "worlds")
    known = sorted(path.parent.name for path in worlds.glob("*/world.yaml"))
    if name not in known:
        raise ConfigError(f"config: 'world' is \"{name}\"; {nearest(name, known)}")
    folder = Path("workflow", "worlds", name)
    world = read_yaml(Path(root, folder, "world.yaml"))
    if model := world.pop("like", None):  # the files of another world, which has its own registry
        known_name(model, known, f"'like' of {folder / 'world.yaml'}")
        folder = folder.with_name(model)
        world = merge(read_yaml(Path(root, folder, "world.yaml")), world)
    validate(world, schema("world"), Path("workflow", "worlds", name, "world.yaml"))

    registry = read_registry(folder / ASSETS, root) if "assets" in world else {}
    fetched = {}

    def located(text):
        """A path from the root: of an asset, of a file beside world.yaml; a bare name stays."""
        if text.startswith(ASSET):
            asset, _, inside = text.removeprefix(ASSET).partition("/")
            known_name(asset, registry, f"the world '{name}'")
            path = f"{world['assets']['folder']}/{registry[asset]}"
            fetched[path] = asset
            return f"{path}/{inside}" if inside else path
        return (folder / text).as_posix() if Path(text).suffix else text

    world = locate(world, located)
    return {"name": name, **world, "fetched": fetched}


def files(world):
    """Every file of a world that a job may open, assets included; names of open_clip's own are none."""
    clips = [clip[key] for clip in world["clips"] for key in ("config", "weights")]
    sources = [source["weights"] for source in world["sources"].values()]
    named = [*sources, *clips, *referee(world), world["templates"]]
    return [path for path in named if Path(path).suffix]


def referee(world):
    """The networks that measure, as files."""
    networks = [world[key] for key in ("perceptual", "vgg", "judge") if key in world]
    return [*networks, *world.get("inception", {}).values()]


def check_files(world, root):
    """Raise ConfigError when an embedded file is missing or not the one its manifest names.

    manifest.json beside the weights gives their SHA-256; files without one (a user's own weights)
    are only checked for presence, and assets when they are fetched. Cost: one pass over the world's
    few tens of megabytes.
    """
    for path in files(world):
        if path in world["fetched"]:
            continue
        if not Path(root, path).is_file():
            raise ConfigError(
                f"{path}: this file of the world '{world['name']}' is missing; restore it "
                f"(git checkout -- {path}) or change world.yaml."
            )
        manifest = Path(root, path).with_name("manifest.json")
        if not manifest.is_file():
            continue
        entry = json.loads(manifest.read_text(encoding="utf-8"))["files"].get(Path(path).name)
        if entry and entry["sha256"] != (found := sha256(Path(root, path))):
            raise ConfigError(
                f"{path}: damaged or replaced: its SHA-256 is {found[:12]}…, but manifest.json "
                f"names {entry['sha256'][:12]}…; restore it with git checkout -- {path}."
            )


def convolutions(resolution):
    """Number of styled convolutions of a StyleGAN2 generator: 2 log2(R) - 3 (9 at 64x64)."""
    return 2 * (resolution.bit_length() - 1) - 3
