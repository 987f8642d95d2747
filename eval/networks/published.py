"""Checks published network files against their published SHA-256, or against a declared one."""

import json
from pathlib import Path

from nada.run.errors import UserError
from nada.run.manifest import MANIFEST, verify_weights


def check_published(
    path, what: str, published: str, declared: str | None = None, made_here: bool = False
) -> str:
    """The SHA-256 of a file. UserError: no such file, or a hash that is not accepted.

    what: what errors call the file. published, declared: accepted hashes. made_here: whether the world
    made its files itself; only then is the hash in the `manifest.json` beside the file accepted, since
    anyone who passes on a folder can write a manifest.
    """
    found = verify_weights(path)
    if found not in (published, declared, _listed(Path(path)) if made_here else None):
        raise UserError(
            f"{what} {path} has SHA-256 {found[:12]}…, but the published file has "
            f"{published[:12]}…; fetch it again."
        )
    return found


def _listed(path: Path) -> str | None:
    manifest = path.with_name(MANIFEST)
    if not manifest.is_file():
        return None
    entry = json.loads(manifest.read_text(encoding="utf-8"))["files"].get(path.name)
    return entry and entry["sha256"]
