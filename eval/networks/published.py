"""Published network files: taken only under the hash that was published, or that was declared."""

import json
from pathlib import Path

from nada.run.errors import UserError
from nada.run.manifest import MANIFEST, verify_weights


def check_published(
    path, what: str, published: str, declared: str | None = None, made_here: bool = False
) -> str:
    """The SHA-256 of a file, which must be the published one or one that the user vouches for.

    what: how to call the file in errors. declared: a SHA-256 that the caller pins. made_here: the
    world says that it made its files itself, so that the `manifest.json` written with them counts;
    never otherwise, since whoever hands on a folder could vouch for it. UserError: no such file, or
    another hash.
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
