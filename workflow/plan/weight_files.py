"""What weight files of this project say of themselves, read from their headers. No torch."""

import json


def described(path) -> dict:
    """What a network of this project says of itself in its safetensors file; {} of any other file.

    The header is the length of a JSON text in 8 bytes, and the text (safetensors' format).
    """
    try:
        with open(path, "rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        said = json.loads(header["__metadata__"]["json"])
    except (OSError, ValueError, KeyError, TypeError, MemoryError, OverflowError):
        return {}
    return said if isinstance(said, dict) else {}


def networks(path) -> dict:
    """The networks of a source model, by name, as its file says; {} where only a job can tell."""
    found = described(path).get("architecture")
    return found if isinstance(found, dict) else {}


def resolution(path) -> int | None:
    """Pixels per side of the images that a source model makes, as its file says; None where it does not."""
    generator = networks(path).get("G_ema")
    return generator.get("resolution") if isinstance(generator, dict) else None
