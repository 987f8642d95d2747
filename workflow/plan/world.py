"""Load a world: its networks, images and sizes from world.yaml, with paths that jobs can open.

A file is either embedded in the world's folder, or an asset that the world's command fetches
(`asset:NAME`).
"""

import json
import os
from copy import deepcopy
from pathlib import Path

from nada.run.atomic import sha256
from workflow.plan.checking import (
    ConfigError,
    known_name,
    nearest,
    read_yaml,
    schema,
    validate,
    whole_numbers,
)
from workflow.plan.like import chain, laid_over
from workflow.plan.weight_files import resolution

ASSET, ASSETS = "asset:", "assets.yaml"  # prefix of assets in world.yaml, and their registry's file
WORLD = "world.yaml"
READER = "nada.images.sets"  # reads the images of a folder, zip or LMDB
HELD_OUT = "held_out_clip"
PLACES = ("perceptual", "judge", "templates", "vgg")  # keys of a world that name one file each


def lineage(name, root):
    """Names of a world and of the worlds that it is `like`, itself first.

    Raises ConfigError for a world that does not exist, or a circle.
    """
    worlds = Path(root, "workflow", "worlds")
    known = sorted(path.parent.name for path in worlds.glob(f"*/{WORLD}"))
    if name not in known:
        raise ConfigError(f"config: 'world' is \"{name}\"; {nearest(name, known)}")

    def place(world):
        return f"'like' of workflow/worlds/{world}/{WORLD}"

    return chain(name, lambda world: read_yaml(worlds / world / WORLD), known, place)


def placed(world, place):
    """A world, or the part in one world.yaml, with every file name replaced by place(text).

    For names that open_clip may know (a CLIP's config, the prompts): place(text, named=True).
    """
    world = deepcopy(world)

    def put(entry, key, **how):
        if isinstance(entry, dict) and isinstance(entry.get(key), str):
            entry[key] = place(entry[key], **how)

    def entries(*keys):
        found = world
        for key in keys:
            found = found.get(key) if isinstance(found, dict) else None
        return found if isinstance(found, dict) else {}

    for key in PLACES:
        put(world, key, named=key == "templates")
    for mode in entries("inception"):
        put(entries("inception"), mode)
    for clip in world["clips"] if isinstance(world.get("clips"), list) else ():
        put(clip, "config", named=True)
        put(clip, "weights")
    put(world.get(HELD_OUT), "config", named=True)
    put(world.get(HELD_OUT), "weights")
    for domain, source in entries("sources").items():
        put(*((source, "weights") if isinstance(source, dict) else (entries("sources"), domain)))
    for domain in entries("references", "domains").values():
        put(domain, "source")
    return world


def relative_to(folder):
    """A function that makes file names of a folder's world.yaml relative to that folder, except assets."""

    def place(text, named=False):
        bare = named and not Path(text).suffix
        return text if bare or text.startswith(ASSET) else (folder / text).as_posix()

    return place


def without_nulls(entries):
    """A mapping without entries that are null, also in nested mappings."""
    if not isinstance(entries, dict):
        return entries
    return {key: without_nulls(value) for key, value in entries.items() if value is not None}


def read_registry(path, root):
    """{name: path in the assets' folder} of a world's assets; an archive is a folder once unpacked.

    `workflow.assets.asset_registry`, or the world's own command, checks the rest of the registry.
    """
    entries = read_yaml(Path(root, path))["assets"]
    return {
        name: entry["file"].rsplit(".", 1)[0] if entry.get("unpack") else entry["file"]
        for name, entry in entries.items()
    }


def load_world(name, root):
    """Read and check a world; the paths in it are relative to `root`, as in jobs.

    A world that is `like` another overrides it; keys set to null are removed. A file is in the folder
    of the world.yaml that names it. Assets are those of the nearest world that has a registry.

    Returns the content of world.yaml with `name` added, every source as {weights, resolution} (that of its
    file where it says it), and every domain with its `resolution` and the `module` that makes its images.
    Added are `lineage`: its name and those of the worlds that it is like; `registry`: the world whose
    assets.yaml it uses, or None; and `fetched`: {path: name} of the assets that the world's command fetches
    (empty if all files are embedded).
    Raises ConfigError for an unknown world, a circle, an asset that the registry does not have, or a
    domain whose images no module makes.
    """
    names = lineage(name, root)
    folders = [Path("workflow", "worlds", world) for world in names]
    entries = [placed(read_yaml(Path(root, folder, WORLD)), relative_to(folder)) for folder in folders]
    world = laid_over(entries)
    rules = schema("world")
    world = whole_numbers(without_nulls(world), rules)
    validate(world, rules, folders[0] / WORLD)

    homes = [folder for folder in folders if Path(root, folder, ASSETS).is_file()]
    registry = read_registry(homes[0] / ASSETS, root) if "assets" in world and homes else {}
    fetched = {}

    def located(text, named=False):
        """A path relative to the root, also for an asset."""
        if not text.startswith(ASSET):
            return text
        asset, _, inside = text.removeprefix(ASSET).partition("/")
        known_name(asset, registry, f"the world '{name}'")
        path = f"{world['assets']['folder']}/{registry[asset]}"
        fetched[path] = asset
        return f"{path}/{inside}" if inside else path

    world = placed(world, located)
    check_held_out(world, folders[0] / WORLD)
    for domain, source in world["sources"].items():
        entry = source if isinstance(source, dict) else {"weights": source}
        says = None if entry["weights"] in fetched else resolution(Path(root, entry["weights"]))
        world["sources"][domain] = {"resolution": says or world["resolution"], **entry}
    for domain, images in world["references"]["domains"].items():
        images["module"] = maker(domain, images, world["references"], folders[0] / WORLD)
        images.setdefault("resolution", side_of(domain, world))
    owner = homes[0].name if homes else None
    return {"name": name, **world, "lineage": tuple(names), "registry": owner, "fetched": fetched}


def check_held_out(world, source) -> None:
    """Raise ConfigError if the held-out CLIP steers; `source` names the world's file."""
    if HELD_OUT not in world:
        return
    file = os.path.normpath(world[HELD_OUT]["weights"])
    for clip in world["clips"]:
        if os.path.normpath(clip["weights"]) == file:
            raise ConfigError(
                f"{source}: '{HELD_OUT}' has the weights of the CLIP '{clip['name']}', which steers; name a "
                "CLIP that is not among 'clips', or take it out there."
            )


def side_of(domain, world):
    """Pixels per side of a domain that does not say: as many as the source model of the world's own task
    that names it, else as many as the world says."""
    for task in world.get("tasks", {}).values():
        images = [task.get(key) for key in ("references", "few_shot")] if isinstance(task, dict) else []
        names = [entry.get("domain") if isinstance(entry, dict) else entry for entry in images]
        if domain in names and task.get("source") in world["sources"]:
            return world["sources"][task["source"]]["resolution"]
    return world["resolution"]


def maker(domain, images, references, source):
    """The module that makes a domain's images: READER, or the world's module that draws.

    Raises ConfigError if no module draws the domain; `source` names the world's file.
    """
    if "source" in images:
        return READER
    where = f"{source}: 'references.domains.{domain}'"
    if references["module"] == READER:
        raise ConfigError(
            f"{where} has a species and no 'source', but {READER} draws nothing; give it a folder, "
            "zip or LMDB of images as 'source', and its 'resolution'."
        )
    for key, known in (("species", "species"), ("style", "styles")):
        drawn = references.get("draws", {}).get(known)
        if drawn is not None and images[key] not in drawn:
            raise ConfigError(
                f"{where} has the {key} '{images[key]}', which {references['module']} does not draw; "
                f"{nearest(images[key], drawn)}"
            )
    return references["module"]


def files(world):
    """Every file of a world that a job may open, with assets; names of open_clip are left out."""
    held_out = [world[HELD_OUT]] if HELD_OUT in world else []
    clips = [clip[key] for clip in [*world["clips"], *held_out] for key in ("config", "weights")]
    sources = [source["weights"] for source in world["sources"].values()]
    named = [*sources, *clips, *referee(world), world["templates"]]
    return [path for path in named if Path(path).suffix]


def referee(world):
    """The files of the measuring networks."""
    networks = [world[key] for key in ("perceptual", "vgg", "judge") if key in world]
    return [*networks, *world.get("inception", {}).values()]


def check_files(world, root):
    """Raise ConfigError if an embedded file is missing or differs from its manifest, or if a domain's
    images are missing.

    manifest.json in the folder of the weights has their SHA-256. Files without one (a user's weights)
    are only checked for presence; assets are checked when they are fetched. Cost: one pass over the
    world's few tens of megabytes.
    """
    for path in files(world):
        if path in world["fetched"]:
            continue
        manifest = Path(root, path).with_name("manifest.json")
        known = json.loads(manifest.read_text(encoding="utf-8"))["files"] if manifest.is_file() else {}
        entry = known.get(Path(path).name)
        if not Path(root, path).is_file():
            remedy = f"restore it (git checkout -- {path})" if entry else "put it there"
            raise ConfigError(
                f"{path}: this file of the world '{world['name']}' is missing; {remedy}, or correct "
                "world.yaml."
            )
        if not manifest.is_file():
            continue
        if entry and entry["sha256"] != (found := sha256(Path(root, path))):
            raise ConfigError(
                f"{path}: damaged or replaced: its SHA-256 is {found[:12]}…, but manifest.json "
                f"names {entry['sha256'][:12]}…; restore it with git checkout -- {path}."
            )


    for domain, images in world["references"]["domains"].items():
        path = images.get("source")
        if path is None or any(Path(path).is_relative_to(asset) for asset in world["fetched"]):
            continue
        if not Path(root, path).exists():
            raise ConfigError(
                f"{path}: the images of the domain '{domain}' of the world '{world['name']}' are "
                "missing; put them there, or change world.yaml."
            )


def convolutions(resolution):
    """Number of styled convolutions of a StyleGAN2 generator: 2 log2(R) - 3 (9 at 64x64)."""
    return 2 * (resolution.bit_length() - 1) - 3
