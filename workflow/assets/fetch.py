"""Fetch assets: ask for consent, download, verify, pin, unpack; or say how to get a file by hand."""

import os
from pathlib import Path

from nada.run.atomic import write_json
from nada.run.errors import FULL_DISK, UserError
from workflow.assets.archives import is_unpacked, unpack, wait_for
from workflow.assets.asset_registry import PINS, Asset
from workflow.assets.download import NotFetched, Wanted
from workflow.assets.verify import examine, read_pins

CONSENT = (
    "BENCHMARK_ACCEPT_LICENCES"  # environment: accepted licences, separated by commas or blanks
)


class Fetch:
    """One call of `fetch` on a folder; collects one sentence for each asset that failed."""

    def __init__(self, registry, into: Path, accepted=(), trusted=(), downloader=None):
        """accepted: licences; trusted: names of assets; downloader: None to stay offline."""
        self.registry, self.into = registry, into
        self.accepted, self.trusted, self.downloader = set(accepted), set(trusted), downloader
        self.pins = read_pins(into)
        self.failures: list[str] = []

    def run(self, assets: list[Asset]) -> list[str]:
        """Get every asset; returns one sentence for each that failed."""
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
                    f"{asset.name}: {self.into / asset.file} cannot be written: {why}; fix that and "
                    "repeat the command; the downloaded part is kept."
                )
        return self.failures

    def get(self, asset: Asset) -> None:
        """Verify one asset, after a download if it is missing, and unpack it; UserError if that fails."""
        path, folder = self.into / asset.file, self.into / asset.folder
        if path.is_file():
            verdict, word = self._examine(asset, path), "present"
            if verdict.fault:
                raise UserError(left_alone(asset, path, verdict.fault))
        elif is_there(asset, self.into):
            print(f"{asset.name}: present, unpacked by hand, not verified ({folder})", flush=True)
            return
        else:
            verdict, word = self._download(asset, path), "fetched"
        if asset.unpack and not is_unpacked(
            folder
        ):  # first, so that a broken archive is not pinned
            print(f"{asset.name}: {unpack(path, folder)} files unpacked into {folder}", flush=True)
        if verdict.pin is not None:
            self._pin(asset, verdict.pin)
        print(f"{asset.name}: {word}, {verdict.why} ({path})", flush=True)

    def _download(self, asset, path):
        if self.downloader is None:
            raise UserError(by_hand(asset, path, f"{path} is missing and --offline is set"))
        if not asset.urls:
            raise UserError(
                by_hand(asset, path, f"{path} is missing and cannot be fetched automatically")
            )
        licence, verdicts = self.registry.licences[asset.licence], []

        def check(part):
            verdicts.append(self._examine(asset, part))
            return verdicts[-1].fault

        print(f"{asset.name}: {asset.title}. Terms: {licence.name}, {licence.url}", flush=True)
        size = None if asset.name in self.trusted else asset.bytes
        # without a binding hash the file is pinned, so the download must be provably complete
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
            wait_for(folder)  # other processes may pin other assets
            self.pins = {**read_pins(self.into), asset.name: digest}
            write_json(self.into / PINS, self.pins)
        finally:
            os.close(folder)

    def _ask_consent(self, assets) -> list[Asset]:
        """Print each licence that is not accepted yet and add a failure; returns the refused assets."""
        licences, refused = self.registry.licences, []
        for key, licence in licences.items():
            stopped = [
                a for a in assets if a.licence == key and a.urls and not is_there(a, self.into)
            ]
            if not (licence.consent and stopped) or key in self.accepted:
                continue
            names = " ".join(asset.name for asset in stopped)
            print(f"licence to accept: {licence.name}, {licence.url}: {names}", flush=True)
            self.failures.append(
                f"{names} can be fetched only if you accept the {licence.name}: read {licence.url}, then "
                f"set {CONSENT}={key}, or run: python -m workflow.assets fetch {names} --world "
                f"{self.registry.world} --into {self.into} --accept {key}"
            )
            refused += stopped
        return refused


def is_there(asset: Asset, into: Path) -> bool:
    """Whether the file exists, or a folder that was unpacked by hand."""
    unpacked = asset.unpack is not None and is_unpacked(into / asset.folder)
    return unpacked or (into / asset.file).is_file()


def by_hand(asset: Asset, path: Path, why: str) -> str:
    """A sentence that asks for a file: why, where to get it, and where to put it."""
    place = f"put it at {path}"
    if asset.unpack:
        place += f" (or its images into {path.with_name(asset.folder)}, which is not verified)"
    return (
        f"{asset.name}: {why}; get it by hand from {asset.source}, {place} and repeat the command: "
        "the file will be verified and used."
    )


def left_alone(asset: Asset, path: Path, fault: str) -> str:
    return f"{asset.name}: {path} {fault}; it was not changed: move it away to fetch it again."
