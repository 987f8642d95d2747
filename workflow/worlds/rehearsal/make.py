"""Make the files of the paper's world with random weights and generated images.

    python -m workflow.worlds.rehearsal.make fetch NAME ... --into FOLDER

NAME is an asset of worlds/paper/assets.yaml; the file has the name that it has there. The same
name gives the same bytes (with the same releases of torch, NumPy and Pillow). FOLDER/manifest.json
lists the hashes: loaders that check a published hash accept these files by it. The other options of
`workflow.assets fetch` are accepted and ignored: nothing is fetched, and no licence applies.
"""

import argparse
import fcntl
import json
import time
from pathlib import Path

from nada.run.atomic import write_json
from nada.run.errors import UserError, command
from nada.run.manifest import MANIFEST
from workflow.assets.asset_registry import load_registry
from workflow.plan.checking import nearest

MODEL_OF = "paper"  # the world whose registry names the assets and their files
FULL, NARROW = "full", "narrow"


def place(name: str, folder: Path) -> Path:
    """Path of an asset of the paper's registry; of an archive, the folder that it unpacks to."""
    assets = load_registry(MODEL_OF).assets
    if name not in assets:
        raise UserError(f"there is no asset '{name}'; {nearest(name, assets)}")
    return folder / (assets[name].folder if assets[name].unpack else assets[name].file)


def recipe_of(name: str, size: str = FULL):
    """The recipe of an asset in its published or its narrow size; UserError for other names."""
    from workflow.worlds.rehearsal.recipes import RECIPES

    if name not in RECIPES:
        raise UserError(f"the rehearsal cannot make '{name}'; it makes {', '.join(RECIPES)}.")
    return RECIPES[name] if size == FULL else RECIPES[name].narrow()


def make(name: str, folder: Path, size: str = FULL) -> Path:
    """Write one asset into a folder and list it in the manifest there; returns its path."""
    path, began = place(name, folder), time.monotonic()
    recipe = recipe_of(name, size)
    from workflow.worlds.rehearsal.recipes import write

    print(f"{name}: making {path} ({recipe.form}, {recipe.size})", flush=True)
    entry = write(name, recipe, path)
    _list(folder, path.name, {**entry, "asset": name, "size": size})
    how_much = f"{entry['files']} files" if recipe.is_folder else f"{entry['bytes'] / 1e6:.0f} MB"
    seconds = time.monotonic() - began
    print(f"{name}: {how_much} in {seconds:.1f} s, SHA-256 {entry['sha256'][:12]}…", flush=True)
    return path


def read_manifest(folder: Path) -> dict:
    """{file name: entry} of a folder's manifest; {} if there is none."""
    path = folder / MANIFEST
    if not path.is_file():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))["files"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} cannot be read ({error}); remove it and make the files again."
        ) from None


def _list(folder: Path, file: str, entry: dict) -> None:
    """Add an entry to the manifest; a lock lets parallel jobs add theirs."""
    with open(folder / f".{MANIFEST}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        write_json(folder / MANIFEST, {"files": {**read_manifest(folder), file: entry}})


def _refuse_others_file(path: Path) -> None:
    """UserError for an existing file or folder that the rehearsal did not make."""
    if path.exists() and path.name not in read_manifest(path.parent):
        raise UserError(
            f"{path} exists and was not made by the rehearsal; name another folder with "
            "--into."
        )


@command
def main(argv=None) -> None:
    arguments = _parser().parse_args(argv)
    for name in arguments.names:  # report a wrong name before making anything
        _refuse_others_file(place(name, arguments.into))
        recipe_of(name)
    for name in arguments.names:
        make(name, arguments.into, NARROW if arguments.narrow else FULL)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m workflow.worlds.rehearsal.make",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="fetch")
    fetch = commands.add_parser("fetch", help="make assets")
    add = fetch.add_argument
    add("names", nargs="+", metavar="NAME", help="assets of the paper's registry")
    add("--into", type=Path, default=Path("assets/rehearsal"), help="folder of the assets")
    add("--narrow", action="store_true", help="few channels and images, for tests of the formats")
    for option in ("--accept", "--trust"):
        add(option, nargs="+", action="extend", default=[], help="ignored")
    add("--world", default="rehearsal", help="ignored")
    add("--offline", action="store_true", help="ignored")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
