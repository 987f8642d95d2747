"""Every weight and data set of a world: listed, fetched, verified, or asked for in one sentence.

    python -m workflow.assets list
    python -m workflow.assets fetch [NAME ...] [--accept LICENCE ...] [--offline]
    python -m workflow.assets verify [NAME ...]
    python -m workflow.assets licences --out licences.md

What there is stands in worlds/<world>/assets.yaml. A file counts only with the right bytes: a hash that
its authors publish must match; one that only a third party's copy had must match too, since some of
these files are code when they are loaded, unless the user says `--trust NAME`; where no hash is known,
that of the first file is pinned in pins.json and must match from then on. Nothing that asks for
consent is fetched without `--accept LICENCE`. A file placed by hand is checked and taken. How a file
is fetched stands in workflow/download.py, how an archive is unpacked in workflow/archives.py.
"""

import argparse
import hashlib
import json
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from nada.run.atomic import atomic_path, write_json
from nada.run.errors import EXIT_USER_ERROR, FULL_DISK, UserError, command
from nada.run.outputs import begins_with, check_output
from workflow.assets.archives import first_lost, is_unpacked, unpack, wait_for
from workflow.assets.download import (
    CHUNK,
    Downloader,
    NotFetched,
    Part,
    Progress,
    Wanted,
    is_web_page,
    megabytes,
)
from workflow.plan.checking import nearest, read_yaml

WORLDS = Path(__file__).parents[1] / "worlds"
PINS = "pins.json"  # {asset: SHA-256 of the first file}, in the folder of assets
CONSENT = "BENCHMARK_ACCEPT_LICENCES"  # licences accepted beforehand, with commas or blanks between


# ---- the registry -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Licence:
    """Terms: what they are called, where they stand, and whether they ask for consent."""

    name: str
    url: str
    consent: bool


@dataclass(frozen=True)
class Asset:
    """One file that the benchmark uses; assets.yaml documents the fields. Sizes in bytes."""

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
        """The page where a person gets it."""
        first = self.page or self.urls[0]
        return re.sub(r"^gd:(.+)$", r"https://drive.google.com/file/d/\1/view", first)

    @property
    def folder(self) -> str:
        """Name of the folder that it is unpacked into."""
        return Path(self.file).stem


@dataclass(frozen=True)
class Registry:
    """The assets of a world by name, their licences by key, and what is fetched by default."""

    world: str
    assets: dict[str, Asset]
    licences: dict[str, Licence]
    default: list[str]

    def chosen(self, words) -> list[Asset]:
        """Assets that the words name, or that are needed by what the words name; in file order."""
        roles = {role for asset in self.assets.values() for role in asset.needed_by}
        _refuse_unknown("asset or task", words, sorted({*self.assets, *roles}))
        wanted = set(words)
        return [a for a in self.assets.values() if wanted & {a.name, *a.needed_by}]


def load_registry(world: str) -> Registry:
    """Read worlds/<world>/assets.yaml; UserError where there is none or an entry is not usable."""
    path = WORLDS / world / "assets.yaml"
    if not path.is_file():
        known = sorted(found.parent.name for found in WORLDS.glob("*/assets.yaml"))
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
            raise UserError(f"{path}: the file of '{asset.name}' is {asset.file!r}; a plain name.")
        if asset.licence not in licences or asset.unpack not in (None, "zip"):
            raise UserError(f"{path}: correct 'licence' or 'unpack' of '{asset.name}'.")
        if not (asset.urls or asset.page):
            raise UserError(f"{path}: '{asset.name}' has neither urls nor a page; name one.")
    return registry


def _refuse_unknown(kind: str, words, known) -> None:
    for word in words:
        if word not in known:
            raise UserError(f"there is no {kind} '{word}'; {nearest(word, known)}")


# ---- is it the right file? ----------------------------------------------------------------------


@dataclass(frozen=True)
class Verdict:
    """Of a file: its fault or None; else in words why it is taken, and the hash to pin or None."""

    fault: str | None = None
    why: str = ""
    pin: str | None = None


def examine(asset: Asset, path: Path, pinned: str | None = None, trusted: bool = False) -> Verdict:
    """Compare a file with what is known of it: size, the pinned hash or else the registry's hash.

    trusted: take it as it is, and pin it (not where the authors publish the hash).
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(512)
    if size == 0 or is_web_page(head):
        return Verdict("is empty" if size == 0 else "is a web page")
    if trusted:
        return Verdict(why="pinned, since you trust it", pin=sha256(path))
    strict, anew = asset.confidence == "published", f"(--trust {asset.name} takes it all the same)"
    if pinned and not strict:
        found = sha256(path)
        if found != pinned:
            return Verdict(f"has SHA-256 {found[:12]}…, pinned is {pinned[:12]}… {anew}")
        return Verdict(why="SHA-256 as pinned")
    if asset.bytes is not None and size != asset.bytes:
        return Verdict(f"has {size} bytes where {asset.bytes} are expected")
    kind, expected = ("SHA-256", asset.sha256) if asset.sha256 else ("MD5", asset.md5)
    if expected is None:
        return Verdict(why="no hash is known: pinned as it is", pin=sha256(path))
    found = _hash(path, "sha256" if asset.sha256 else "md5")
    differ = f"has {kind} {found[:12]}… where {expected[:12]}… is expected"
    if found != expected and asset.confidence == "doubtful":
        return Verdict(why=f"warning: it {differ}, which may be another file's: pinned", pin=found)
    if found != expected:
        return Verdict(differ if strict else f"{differ} {anew}")
    return Verdict(why=f"{kind} matches", pin=None if asset.sha256 else sha256(path))


def read_pins(into: Path) -> dict[str, str]:
    """The pinned hashes of a folder of assets; {} where nothing is pinned yet."""
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
    """Hex SHA-256 of a file, with lines of progress where that takes long."""
    return _hash(path, "sha256")


def _hash(path: Path, algorithm: str) -> str:
    digest, progress = hashlib.new(algorithm), Progress(f"checking {path}", 0, path.stat().st_size, _say)
    with open(path, "rb") as file:
        while data := file.read(CHUNK):
            digest.update(data)
            progress.add(len(data))
    return digest.hexdigest()


def _say(line: str) -> None:
    print(line, flush=True)


# ---- fetching what is chosen --------------------------------------------------------------------


class Fetch:
    """One call of `fetch`: a folder, what was accepted and trusted, and what went wrong."""

    def __init__(self, registry, into: Path, accepted=(), trusted=(), downloader=None):
        """downloader: None stays offline."""
        self.registry, self.into = registry, into
        self.accepted, self.trusted, self.downloader = set(accepted), set(trusted), downloader
        self.pins = read_pins(into)
        self.failures: list[str] = []

    def run(self, assets: list[Asset]) -> list[str]:
        """Get every asset that can be had; returns one sentence for each that cannot."""
        refused = self._ask_consent(assets) if self.downloader else []
        for asset in assets:
            if asset in refused:
                continue
            try:
                self.get(asset)
            except UserError as error:
                self.failures.append(str(error))
            except OSError as error:
                full = error.errno in FULL_DISK
                why = "the disk is full" if full else error.strerror or type(error).__name__
                self.failures.append(
                    f"{asset.name}: {self.into / asset.file} cannot be written: {why}; mend that and "
                    "type the same command: what was fetched is kept."
                )
        return self.failures

    def get(self, asset: Asset) -> None:
        """Check, or fetch and check, one asset and unpack it; UserError where that cannot be."""
        path, folder = self.into / asset.file, self.into / asset.folder
        if path.is_file():
            verdict, word = self._examine(asset, path), "there"
            if verdict.fault:
                raise UserError(_left_alone(asset, path, verdict.fault))
        elif is_there(asset, self.into):
            print(f"{asset.name}: there, unpacked by hand and not checked ({folder})", flush=True)
            return
        else:
            verdict, word = self._download(asset, path), "fetched"
        if asset.unpack and not is_unpacked(folder):  # before a pin makes a wrong file the right one
            print(f"{asset.name}: {unpack(path, folder)} files unpacked into {folder}", flush=True)
        if verdict.pin is not None:
            self._pin(asset, verdict.pin)
        print(f"{asset.name}: {word}, {verdict.why} ({path})", flush=True)

    def _download(self, asset, path):
        if self.downloader is None:
            raise UserError(by_hand(asset, path, f"{path} is missing and --offline is set"))
        if not asset.urls:
            raise UserError(by_hand(asset, path, f"{path} is missing and no program may fetch it"))
        licence, verdicts = self.registry.licences[asset.licence], []

        def check(part):
            verdicts.append(self._examine(asset, part))
            return verdicts[-1].fault

        print(f"{asset.name}: {asset.title}. Terms: {licence.name}, {licence.url}", flush=True)
        size = None if asset.name in self.trusted else asset.bytes
        # a file whose hash binds no one is pinned: it must have come whole
        binding = asset.name not in self.trusted and asset.confidence != "doubtful"
        about, hashed = asset.bytes or asset.about, binding and bool(asset.sha256 or asset.md5)
        try:
            wanted = Wanted(asset.name, asset.urls, size, about, hashed)
            self.downloader.download(wanted, path, check)
        except NotFetched as answers:
            raise UserError(by_hand(asset, path, str(answers))) from None
        return verdicts[-1]

    def _examine(self, asset, path):
        return examine(asset, path, self.pins.get(asset.name), asset.name in self.trusted)

    def _pin(self, asset, digest):
        folder = os.open(self.into, os.O_RDONLY)
        try:
            wait_for(folder)  # other processes pin other assets meanwhile
            self.pins = {**read_pins(self.into), asset.name: digest}
            write_json(self.into / PINS, self.pins)
        finally:
            os.close(folder)

    def _ask_consent(self, assets) -> list[Asset]:
        """Show the terms that were not accepted, with one failure for each; returns what they stop."""
        licences, refused = self.registry.licences, []
        for key, licence in licences.items():
            stopped = [
                a for a in assets if a.licence == key and a.urls and not is_there(a, self.into)
            ]
            if not (licence.consent and stopped) or key in self.accepted:
                continue
            names = " ".join(asset.name for asset in stopped)
            print(f"terms to accept: {licence.name}, {licence.url}: {names}", flush=True)
            self.failures.append(
                f"{names} may be fetched only if you accept the {licence.name}: read {licence.url}, then "
                f"set {CONSENT}={key}, or type: python -m workflow.assets fetch {names} --world "
                f"{self.registry.world} --into {self.into} --accept {key}"
            )
            refused += stopped
        return refused


def is_there(asset: Asset, into: Path) -> bool:
    """Is there a file to check, or a folder that somebody unpacked by hand?"""
    unpacked = asset.unpack is not None and is_unpacked(into / asset.folder)
    return unpacked or (into / asset.file).is_file()


def by_hand(asset: Asset, path: Path, why: str) -> str:
    """The sentence that asks for a file: why, from where a person gets it, where to put it."""
    place = f"put it at {path}"
    if asset.unpack:
        place += f" (or its pictures into {path.with_name(asset.folder)}, which is not checked)"
    return (
        f"{asset.name}: {why}; get it by hand from {asset.source}, {place} and type the same command "
        "again: it will be checked and taken."
    )


def _left_alone(asset: Asset, path: Path, fault: str) -> str:
    return f"{asset.name}: {path} {fault}; it is left alone: move it away to fetch it again."


# ---- pages --------------------------------------------------------------------------------------


def state_of(asset: Asset, into: Path, pins: dict[str, str]) -> tuple[str, str]:
    """("present", ""), or missing or damaged with a sentence; hashes the file."""
    path, folder = into / asset.file, into / asset.folder
    if path.is_file():
        if fault := examine(asset, path, pins.get(asset.name)).fault:
            return "damaged", _left_alone(asset, path, fault)
        if asset.unpack and folder.is_dir() and (lost := first_lost(path, folder)):
            what = f"{asset.name}: {lost} is missing or has another size than in {path}"
            return "damaged", f"{what}; remove {folder} to have it unpacked again."
        if asset.unpack and not is_unpacked(folder):
            what = f"{asset.name}: {path} is not unpacked"
            return "present, not unpacked", f"{what}; type: python -m workflow.assets fetch {asset.name}"
        return "present", ""
    if is_there(asset, into):
        return "present, unpacked by hand", ""
    word, part = "missing" if asset.urls else "missing, by hand", Part(path).path
    if part.is_file():
        word = f"missing, {megabytes(part.stat().st_size)} fetched"
    return word, by_hand(asset, path, f"{path} is missing")


def size_of(asset: Asset) -> str:
    """Its size as far as it is known."""
    if asset.bytes:
        return megabytes(asset.bytes)
    return f"about {megabytes(asset.about)}" if asset.about else "?"


def table(registry: Registry, into: Path) -> str:
    """One line per asset: name, state, size, licence, what needs it, purpose."""
    from tabulate import tabulate

    pins = read_pins(into)
    rows = [
        [
            asset.name,
            state_of(asset, into, pins)[0],
            size_of(asset),
            registry.licences[asset.licence].name,
            ", ".join(asset.needed_by),
            asset.purpose,
        ]
        for asset in registry.assets.values()
    ]
    headers = ["name", "state", "size", "licence", "needed by", "purpose"]
    return tabulate(rows, headers, "simple", disable_numparse=True)


LICENCES_HEAD = """\
After the paper's Tables 4 and 5, for what this benchmark uses; written by
`python -m workflow.assets licences`. The benchmark's own licence does not extend to any of these, and
nothing here is legal advice.
"""


def _title(registry: Registry) -> str:
    return f"# Licences of the models and data of world '{registry.world}'"


def licences_page(registry: Registry) -> str:
    """Markdown: models and data sets with sources and licences, as in the paper's Tables 4 and 5."""
    parts = [f"{_title(registry)}\n", LICENCES_HEAD]
    for kind, heading in (("model", "Models (Table 4)"), ("data", "Data sets (Table 5)")):
        parts.append(f"## {heading}\n")
        parts.append("| name | the paper's row | source | licence | consent | used for |")
        parts.append("|---|---|---|---|---|---|")
        for asset in registry.assets.values():
            if asset.kind != kind:
                continue
            licence = registry.licences[asset.licence]
            consent = "asked for" if licence.consent else "not needed"
            parts.append(
                f"| {asset.title} | {asset.paper or '–'} | <{asset.source}> | "
                f"[{licence.name}]({licence.url}) | {consent} | {asset.purpose} |"
            )
        parts.append("")
    notes = [f"- {asset.title}: {asset.note}" for asset in registry.assets.values() if asset.note]
    return "\n".join([*parts, "## Notes\n", *dict.fromkeys(notes), ""])


# ---- the command --------------------------------------------------------------------------------


@command
def main(argv=None):
    """Command line of this module."""
    arguments = _parser().parse_args(argv)
    registry = load_registry(arguments.world)
    return arguments.run(registry, arguments)


def _list(registry, arguments):
    print(table(registry, arguments.into))


def _fetch(registry, arguments):
    assets = registry.chosen(arguments.names or registry.default)
    accepted = re.findall(r"[^,\s]+", " ".join(arguments.accept))
    beforehand = re.findall(r"[^,\s]+", os.environ.get(CONSENT, ""))
    _refuse_unknown("licence", accepted, registry.licences)
    _refuse_unknown(f"licence (${CONSENT})", beforehand, registry.licences)
    _refuse_unknown("asset", arguments.trust, registry.assets)
    for name in arguments.trust:
        if registry.assets[name].confidence == "published":
            raise UserError(
                f"--trust {name} is refused: its authors publish the hash, so another file is wrong; "
                "fetch it again."
            )
    downloader = None if arguments.offline else Downloader()
    accepted += beforehand
    fetch = Fetch(registry, arguments.into, accepted, arguments.trust, downloader)
    return _report(fetch.run(assets))


def _verify(registry, arguments):
    pins, failures = read_pins(arguments.into), []
    for asset in registry.chosen(arguments.names) or registry.assets.values():
        state, sentence = state_of(asset, arguments.into, pins)
        print(f"{asset.name}: {state}", flush=True)
        if state == "damaged" or (arguments.names and sentence):
            failures.append(sentence)
    return _report(failures)


def _licences(registry, arguments):
    check_output(arguments.out, begins_with(_title(registry)))
    with atomic_path(arguments.out) as temporary:
        temporary.write_text(licences_page(registry), encoding="utf-8")
    print(f"licences of {len(registry.assets)} assets -> {arguments.out}")


def _report(failures: list[str]) -> int:
    for failure in failures:
        print(f"error: {' '.join(failure.split())}", file=sys.stderr, flush=True)
    return EXIT_USER_ERROR if failures else 0


def _parser():
    parser = argparse.ArgumentParser(
        prog="python -m workflow.assets",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="list | fetch | verify | licences")

    def add(name, run, text):
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        sub.add_argument("--world", default="paper", help="whose assets (default: paper)")
        if name != "licences":
            sub.add_argument("--into", type=Path, default=Path("assets"), help="their folder")
        if name in ("fetch", "verify"):
            sub.add_argument(
                "names", nargs="*", metavar="NAME", help="assets, or tasks that need them"
            )
        return sub

    add("list", _list, "every asset: state, size, licence, purpose")
    fetch = add("fetch", _fetch, "fetch, check and unpack what is missing; names come first")
    fetch.add_argument(
        "--accept", nargs="+", action="extend", default=[], metavar="LICENCE", help=f"terms that you accept; also ${CONSENT}"
    )  # fmt: skip
    fetch.add_argument(
        "--trust", nargs="+", action="extend", default=[], metavar="NAME", help="take and pin it with another hash than a third party's"
    )  # fmt: skip
    fetch.add_argument(
        "--offline", action="store_true", help="check and take what is there; open no socket"
    )
    add("verify", _verify, "hash what is there again; with names, they must be there")
    licences = add("licences", _licences, "write the licences of everything as a page")
    licences.add_argument("--out", type=Path, required=True, help="the page, say licences.md")
    return parser


if __name__ == "__main__":
    sys.exit(main())
