"""Whether a file is the right one: its size, its published hash, or the hash pinned at first use."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from nada.run.errors import UserError
from workflow.assets.asset_registry import PINS, Asset
from workflow.assets.download import CHUNK, Progress
from workflow.assets.responses import is_web_page


@dataclass(frozen=True)
class Verdict:
    """Result of a check. fault: what is wrong, or None; why: the reason to accept; pin: hash to pin."""

    fault: str | None = None
    why: str = ""
    pin: str | None = None


def examine(asset: Asset, path: Path, pinned: str | None = None, trusted: bool = False) -> Verdict:
    """Compare a file with its known size and with the pinned hash or, without one, with the registry's hash.

    trusted: accept the file and pin its hash; the command refuses this for a published hash.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(512)
    if size == 0 or is_web_page(head):
        return Verdict("is empty" if size == 0 else "is a web page")
    if trusted:
        return Verdict(why="pinned because of --trust", pin=sha256(path))
    strict, anew = asset.confidence == "published", f"(--trust {asset.name} accepts it)"
    if pinned and not strict:
        found = sha256(path)
        if found != pinned:
            return Verdict(f"has SHA-256 {found[:12]}…, but {pinned[:12]}… is pinned {anew}")
        return Verdict(why="SHA-256 matches the pinned one")
    if asset.bytes is not None and size != asset.bytes:
        return Verdict(f"has {size} bytes where {asset.bytes} are expected")
    kind, expected = ("SHA-256", asset.sha256) if asset.sha256 else ("MD5", asset.md5)
    if expected is None:
        return Verdict(why="no hash is known: its hash is now pinned", pin=sha256(path))
    found = _hash(path, "sha256" if asset.sha256 else "md5")
    differ = f"has {kind} {found[:12]}… where {expected[:12]}… is expected"
    if found != expected and asset.confidence == "doubtful":
        return Verdict(
            why=f"warning: it {differ}, which may belong to another file; pinned", pin=found
        )
    if found != expected:
        return Verdict(differ if strict else f"{differ} {anew}")
    return Verdict(why=f"{kind} matches", pin=None if asset.sha256 else sha256(path))


def read_pins(into: Path) -> dict[str, str]:
    """The pinned hashes of a folder of assets; {} if there are none."""
    path = into / PINS
    try:
        pins = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:
        pins = None
    if not isinstance(pins, dict):
        raise UserError(f"{path} is damaged; restore it, or remove it to pin the files anew.")
    return pins


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file; prints progress for a large one."""
    return _hash(path, "sha256")


def _hash(path: Path, algorithm: str) -> str:
    digest, progress = (
        hashlib.new(algorithm),
        Progress(f"checking {path}", 0, path.stat().st_size, _say),
    )
    with open(path, "rb") as file:
        while data := file.read(CHUNK):
            digest.update(data)
            progress.add(len(data))
    return digest.hexdigest()


def _say(line: str) -> None:
    print(line, flush=True)
