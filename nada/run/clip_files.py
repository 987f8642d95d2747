"""Find the files of a CLIP: two files, or a folder of the hub's cache. Needs no torch."""

from pathlib import Path

from nada.run.errors import UserError

#: A snapshot of the hub's cache: the configuration, and its weights in the order of preference.
HUB_CONFIG = "open_clip_config.json"
HUB_WEIGHTS = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
)


def clip_files(spec: dict) -> tuple[Path, Path | None]:
    """(weights, config) of a run spec's entry; config is None if it is the name of a model.

    A folder may hold both files: a snapshot of the hub's cache, or the `models--org--name` folder of
    its snapshots. `config` is then optional. Raises UserError if a file is missing.
    """
    weights, config = Path(spec["weights"]), spec.get("config")
    if weights.is_dir():
        folder = _snapshot(weights)
        names = [name for name in HUB_WEIGHTS if (folder / name).is_file()]
        if not names:
            raise UserError(
                f"CLIP '{spec['name']}': the folder {folder} holds no weights; put one of "
                f"{', '.join(HUB_WEIGHTS)} there, or name a file."
            )
        weights, config = folder / names[0], config or folder
    if config is None:
        raise UserError(
            f"CLIP '{spec['name']}': the weights {weights} need a config; name a JSON file or a "
            "model that open_clip knows, such as 'ViT-B-32-quickgelu'."
        )
    path = Path(config)
    if path.is_dir():
        path = _snapshot(path) / HUB_CONFIG
        if not path.is_file():
            raise UserError(f"CLIP '{spec['name']}': {path} is missing; name a config instead.")
    return weights, path if path.is_file() else None


def _snapshot(folder: Path) -> Path:
    """The snapshot in a folder of the hub's cache; any other folder is returned unchanged."""
    snapshots = folder / "snapshots"
    if not snapshots.is_dir():
        return folder
    reference = folder / "refs" / "main"
    if reference.is_file():
        current = snapshots / Path(reference.read_text(encoding="utf-8").strip()).name
        if current.is_dir():
            return current
    found = sorted(path for path in snapshots.iterdir() if path.is_dir())
    if len(found) != 1:
        raise UserError(f"{folder} holds {len(found)} snapshots; name one folder of {snapshots}.")
    return found[0]
