"""The registry of a world's weights and data sets: worlds/<world>/assets.yaml, read and checked."""

import re
from dataclasses import dataclass
from pathlib import Path

from nada.run.errors import UserError
from workflow.plan.checking import nearest, read_yaml
from workflow.plan.world import ASSETS, WORLD, lineage

WORLDS = Path(__file__).parents[1] / "worlds"
PINS = "pins.json"  # {asset: SHA-256 of its first file}, in the folder of assets


@dataclass(frozen=True)
class Licence:
    """A licence: its name, its address, and whether it asks for consent."""

    name: str
    url: str
    consent: bool


@dataclass(frozen=True)
class Asset:
    """One file that the benchmark uses; assets.yaml documents the fields. Sizes are in bytes."""

    name: str
    title: str
    kind: str
    paper: str | None
    file: str
    urls: list[str]
    page: str | None
    bytes: int | None
    about: int | None
    sha256: str | None
    md5: str | None
    confidence: str | None
    licence: str
    purpose: str
    unpack: str | None
    needed_by: list[str]
    note: str

    @property
    def source(self) -> str:
        """Address where a person can get the file."""
        first = self.page or self.urls[0]
        return re.sub(r"^gd:(.+)$", r"https://drive.google.com/file/d/\1/view", first)

    @property
    def folder(self) -> str:
        """Name of the folder that the archive is unpacked into."""
        return Path(self.file).stem


@dataclass(frozen=True)
class Registry:
    """The assets of a world by name, their licences by key, and what is fetched by default."""

    world: str
    assets: dict[str, Asset]
    licences: dict[str, Licence]
    default: list[str]

    def chosen(self, words) -> list[Asset]:
        """The assets that the words name, or that the named tasks need, in the order of the file."""
        roles = {role for asset in self.assets.values() for role in asset.needed_by}
        refuse_unknown("asset or task", words, sorted({*self.assets, *roles}))
        wanted = set(words)
        return [a for a in self.assets.values() if wanted & {a.name, *a.needed_by}]


def load_registry(world: str) -> Registry:
    """Read the assets.yaml of a world, or of the nearest that it is `like` and that has one.

    Raises UserError if there is none, or if an entry is wrong.
    """
    known = sorted(found.parent.name for found in WORLDS.glob(f"*/{ASSETS}"))
    names = [world]  # a folder without a world.yaml may have a registry
    if (WORLDS / world / WORLD).is_file():
        names = lineage(world, WORLDS.parents[1])
    world = next((name for name in names if name in known), world)
    path = WORLDS / world / ASSETS
    if not path.is_file():
        raise UserError(f"world '{world}' has no assets; {nearest(world, known)}")
    content = read_yaml(path)
    try:
        licences = {key: Licence(**entry) for key, entry in content["licences"].items()}
        assets = {name: Asset(name=name, **entry) for name, entry in content["assets"].items()}
        registry = Registry(world, assets, licences, list(content["default"]))
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: {type(error).__name__}: {error}; correct the entry.") from None
    for asset in assets.values():
        if Path(asset.file).name != asset.file or asset.file in (PINS, ".", ".."):
            raise UserError(
                f"{path}: the file of '{asset.name}' is {asset.file!r}; give a plain file name."
            )
        if asset.licence not in licences or asset.unpack not in (None, "zip"):
            raise UserError(
                f"{path}: '{asset.name}' has an unknown 'licence' or 'unpack'; correct it."
            )
        if not (asset.urls or asset.page):
            raise UserError(f"{path}: '{asset.name}' has neither urls nor a page; add one.")
    return registry


def refuse_unknown(kind: str, words, known) -> None:
    for word in words:
        if word not in known:
            raise UserError(f"there is no {kind} '{word}'; {nearest(word, known)}")
