"""Download one file from its mirrors over an unreliable network: retry, resume, or report why not.

The received bytes stay in `<name>.part` for the next attempt or the next process. An address is a web
address or `gd:<id>`, a file of Google Drive. Two versions of a file are never mixed. A file gets its
final name only after the caller's check. The network library is loaded only by a download.
"""

import fcntl
import json
import os
import re
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from nada.run.atomic import write_json
from nada.run.errors import UserError
from workflow.assets.responses import (
    NO_ADDRESS,
    NOT_A_FILE,
    Again,
    Dead,
    confirmed_address,
    declares_page,
    is_web_page,
    next_hop,
    page_of_drive,
    same_file,
    strong_etag,
    total_length,
    usable,
)

DRIVE = "https://drive.google.com/uc"
CHUNK = 1 << 20  # bytes read from a connection at a time
RESERVE = 256 * 10**6  # bytes that a download leaves free on the disk
PROGRESS = 1 << 20  # bytes that a failed attempt must add to count as progress


class NotFetched(Exception):
    """No address gave the file; the message says what each answered."""


@dataclass(frozen=True)
class Wanted:
    """A file to fetch. Sizes in bytes: `size` exact, `about` approximate; None: unknown."""

    name: str  # shown in progress lines
    urls: list[str]  # mirrors, the best first
    size: int | None = None
    about: int | None = None
    hashed: bool = False  # whether the check compares a hash, which detects a truncated file


@dataclass(frozen=True)
class Limits:
    """Timeouts and retries of a download; times in seconds."""

    connect: float = 15
    stall: float = 60  # a connection slower than `floor` for this long is closed
    floor: int = 1024  # bytes per second
    tries: int = 5  # per address; counted anew after progress
    wait: float = 2  # before the second attempt; doubled each time
    longest_wait: float = 60
    hops: int = 8  # redirects
    lines: float | None = None  # between progress lines; None: 3 on a terminal, otherwise 30


# ---- the unfinished file ------------------------------------------------------------------------


class Part:
    """An unfinished file `<name>.part`, locked by one process; `<name>.part.json` says its origin.

    It stays on disk when the process ends, so that the next one can resume.
    """

    def __init__(self, target: Path):
        self.target = target
        self.path = target.with_name(target.name + ".part")
        self.note_path = target.with_name(target.name + ".part.json")

    def __enter__(self):
        self.target.parent.mkdir(parents=True, exist_ok=True)
        self.file = open(self.path, "ab")
        if not self._held():
            self.file.close()
            raise UserError(f"another process is fetching {self.target}; wait for it.")
        return self

    def _held(self) -> bool:
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Another process may have finished and renamed it since it was opened.
            return os.path.samestat(os.fstat(self.file.fileno()), os.stat(self.path))
        except (BlockingIOError, FileNotFoundError):
            return False

    def __exit__(self, *_):
        try:
            if self.path.exists() and self.size() == 0:
                self.path.unlink()
                self.note_path.unlink(missing_ok=True)
        finally:
            self.file.close()

    def size(self) -> int:
        """Number of bytes received so far."""
        self.file.flush()
        return os.fstat(self.file.fileno()).st_size

    def note(self, url: str) -> dict:
        """The note on the received bytes if they came from `url` and can be resumed, otherwise {}.

        Without a strong ETag or a date, a change of the remote file could not be detected.
        """
        try:
            note = json.loads(self.note_path.read_text(encoding="utf-8"))
            usable = note["url"] == url and (note["etag"] or note["modified"])
            length = note["length"]
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return {}
        fits = length is None or self.size() <= length
        return note if usable and fits and self.size() else {}

    def begin(self, note: dict) -> None:
        """Start over; note: url, etag, modified and length of the file to come."""
        self.discard()
        write_json(self.note_path, note)

    def discard(self) -> None:
        """Delete the received bytes."""
        self.file.truncate(0)  # keeps the file, so that the lock stays valid
        self.note_path.unlink(missing_ok=True)

    def finish(self) -> None:
        """Rename the file to its final name."""
        self.file.flush()
        os.fsync(self.file.fileno())
        os.replace(self.path, self.target)
        self.note_path.unlink(missing_ok=True)


# ---- the download -------------------------------------------------------------------------------


class Downloader:
    """Downloads files over http(s) with retries, mirrors, resumed downloads and redirects."""

    def __init__(self, limits: Limits | None = None, drive: str = DRIVE, say=None, session=None):
        """drive: Google Drive's download address; say: prints a progress line; session: of requests."""
        import requests  # not at the top: offline commands must not load the network library
        import urllib3

        self.limits, self.drive = limits or Limits(), drive
        self.say = say or (lambda line: print(line, flush=True))
        self.session = session or requests.Session()
        self.timeouts = (requests.Timeout, urllib3.exceptions.TimeoutError)
        self.failures = (requests.RequestException, urllib3.exceptions.HTTPError)

    def download(self, wanted: Wanted, target: Path, check) -> None:
        """Download a file to `target` from the first address that gives the right bytes.

        check(path) returns what is wrong with a complete file, or None. Raises NotFetched with the
        answer of every address, and UserError if another process downloads the file or the disk is
        too small. An interrupted download stays in the .part file.
        """
        said = []
        with Part(target) as part:
            for url in wanted.urls:
                try:
                    self._persist(url, wanted, part)
                    fault = check(part.path)
                    if fault is None:
                        return part.finish()
                    part.discard()
                    raise Dead(f"gave a file that {fault}")
                except Dead as reason:
                    said.append(f"{url} {reason}")
                    self.say(f"{wanted.name}: {said[-1]}")
                except KeyboardInterrupt as stop:
                    stop.add_note(f"{part.path} is kept: repeat the command to resume.")
                    raise
        raise NotFetched("; ".join(said))

    def _persist(self, url, wanted, part):
        """Try one address until the file is complete; raises Dead if that fails."""
        tries, best = 0, part.size()
        while True:
            try:
                return self._try(url, wanted, part)
            except Again as failure:
                tries = 1 if part.size() >= best + PROGRESS else tries + 1
                best = max(best, part.size())
                if tries >= self.limits.tries:
                    raise Dead(f"{failure} ({tries} times)") from None
                pause = max(self.limits.wait * 2 ** (tries - 1), failure.wait)
                pause = min(pause, self.limits.longest_wait)
                self.say(f"{wanted.name}: {url} {failure}; retry in {pause:.0f} s")
            time.sleep(pause)

    def _try(self, url, wanted, part):
        note, headers = part.note(url), {"Accept-Encoding": "identity"}
        if note and part.size() == note["length"]:
            return  # complete, but the last process ended before the check
        if note:
            mark = note["etag"] or note["modified"]
            headers |= {"Range": f"bytes={part.size()}-", "If-Range": mark}
        try:
            with self._open(url, headers) as response:
                if response.status_code == 416:
                    part.discard()
                    raise Again("does not have the requested range")
                self._receive(response, wanted, part, note, url)
        except self.timeouts:
            raise Again(f"sent nothing for {self.limits.stall:g} s") from None
        except self.failures as error:
            raise Again(f"failed ({type(error).__name__})") from None

    def _open(self, url, headers):
        """The response that carries the file, with status 200, 206 or 416."""
        if url.startswith("gd:"):
            return self._open_drive(url.removeprefix("gd:"), headers)
        return usable(self._get(url, headers))

    def _open_drive(self, key, headers):
        """Google Drive sends a small file at once, and a large one after a page asks for confirmation."""
        query = urlencode({"id": key, "export": "download"})
        response = self._get(f"{self.drive}?{query}", headers)
        if not declares_page(response):
            return usable(response)
        page = page_of_drive(response)
        usable(response, page=True)
        confirmed = confirmed_address(page)
        if confirmed is None:
            raise Dead(NOT_A_FILE)
        response = self._get(next_hop(response.url, confirmed), headers)
        if declares_page(response):
            page_of_drive(response)
        return usable(response)

    def _get(self, url, headers):
        """Follow redirects one by one: each must be a web address, and none may leave https."""
        url = next_hop(url, "")
        for _ in range(self.limits.hops + 1):
            timeout = (self.limits.connect, self.limits.stall)
            try:
                response = self.session.get(
                    url, headers=headers, stream=True, allow_redirects=False, timeout=timeout
                )
            except ValueError as error:  # requests cannot parse the address of a redirect
                if isinstance(error, self.failures):
                    raise
                raise Dead(NO_ADDRESS) from None
            if not response.is_redirect:
                return response
            response.close()
            url = next_hop(url, self.session.get_redirect_target(response))
        raise Dead(f"redirects more than {self.limits.hops} times")

    def _receive(self, response, wanted, part, note, url):
        """Append the body to the part, or start over if the server does."""
        fresh = {
            "url": url,
            "etag": strong_etag(response.headers.get("ETag")),
            "modified": response.headers.get("Last-Modified"),
            "length": total_length(response),
        }
        if response.status_code == 206:
            start = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
            if not same_file(fresh, note) or start is None or int(start[1]) != part.size():
                part.discard()
                raise Again("has a different file than before")
        length = fresh["length"]
        _refuse_implausible(wanted, length, response)
        if response.status_code == 200:
            part.begin(fresh)
        need_space(part.target, (length or wanted.size or wanted.about or 0) - part.size())
        self._pour(response, wanted, part, length)
        if length is not None and part.size() != length:
            raise Again(f"stopped at {part.size()} of {length} bytes")

    def _pour(self, response, wanted, part, length):
        progress = Progress(wanted.name, part.size(), length, self.say, self.limits.lines)
        most, since, got, unchecked = length or wanted.size, time.monotonic(), 0, 0
        while data := response.raw.read1(CHUNK, decode_content=False):
            if progress.done == 0 and is_web_page(data):
                part.discard()
                raise Dead(NOT_A_FILE)
            part.file.write(data)
            progress.add(len(data))
            if most is not None and progress.done > most:
                part.discard()
                raise Dead(f"sends more than the expected {most} bytes")
            got, unchecked = got + len(data), unchecked + len(data)
            if unchecked > RESERVE // 4:  # an endless file would fill the disk
                need_space(part.target, 0)
                unchecked = 0
            if time.monotonic() - since > self.limits.stall:
                if got < self.limits.floor * self.limits.stall:
                    raise Again(f"sent only {got} bytes in {self.limits.stall:g} s")
                since, got = time.monotonic(), 0
        part.file.flush()  # the check opens it by name


class Progress:
    """Prints the progress of a download, every 3 s on a terminal and else every 30 s."""

    def __init__(self, name, done, total, say, every=None):
        self.name, self.done, self.total, self.say = name, done, total, say
        self.every = every if every is not None else (3 if sys.stdout.isatty() else 30)
        self.begun = self.printed = time.monotonic()
        self.first = done

    def add(self, count: int) -> None:
        self.done += count
        now = time.monotonic()
        if now - self.printed < self.every:
            return
        self.printed = now
        rate = (self.done - self.first) / max(now - self.begun, 1e-9)
        whole = f" of {megabytes(self.total)}" if self.total else ""
        left = f", {(self.total - self.done) / max(rate, 1):.0f} s left" if self.total else ""
        self.say(f"{self.name}: {megabytes(self.done)}{whole}, {megabytes(rate)}/s{left}")


def _refuse_implausible(wanted: Wanted, length: int | None, response) -> None:
    if None not in (wanted.size, length) and length != wanted.size:
        raise Dead(f"offers {length} bytes where {wanted.size} are expected")
    framed = response.headers.get("Transfer-Encoding", "").lower() == "chunked"
    if length is None and not framed and not (wanted.size or wanted.hashed):
        raise Dead("does not say how long the file is, so a truncated file could not be detected")


# ---- room on the disk ---------------------------------------------------------------------------


def need_space(target: Path, wanted: int) -> None:
    """Raise UserError if the disk of `target` has less than `wanted` bytes plus RESERVE free."""
    free = shutil.disk_usage(target.parent).free
    if free < wanted + RESERVE:
        raise UserError(
            f"{target} needs {megabytes(wanted)} plus {megabytes(RESERVE)} of reserve, but its disk has "
            f"{megabytes(free)} free; free some space, or give another folder with --into."
        )


def megabytes(count: float) -> str:
    """A number of bytes as text, in MB."""
    return f"{count / 1e6:.1f} MB"
