"""Seeds of named random streams: of a training, its few-shot images, a task's evaluation latents."""

import hashlib
import json


def stream_seed(*identity) -> int:
    """A seed in [0, 2^63) from the parts of an identity, the same on every machine and release."""
    text = json.dumps([str(part) for part in identity])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
