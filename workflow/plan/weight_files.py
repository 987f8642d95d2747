"""Read the metadata of this project's weight files from their headers. Needs no torch."""

import json


def described(path) -> dict:
    """The metadata of one of this project's safetensors files; {} for any other file.

    A safetensors header is the length of a JSON text in 8 bytes, then the text.
    """
    try:
        with open(path, "rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        said = json.loads(header["__metadata__"]["json"])
    except (OSError, ValueError, KeyError, TypeError, MemoryError, OverflowError):
        return {}
    return said if isinstance(said, dict) else {}


def networks(path) -> dict:
    """The architecture of each network of a source model, by name; {} if only a job can read the file."""
    found = described(path).get("architecture")
    return found if isinstance(found, dict) else {}


def resolution(path) -> int | None:
    """Pixels per side of a source model's images, from its file; None if the file does not say."""
    generator = networks(path).get("G_ema")
    return generator.get("resolution") if isinstance(generator, dict) else None
