"""One file from its mirrors over a bad network: tried again, continued, or given up with reasons.

What came of a file waits in `<name>.part` for the next try, or for the next process. An address is a
web address or `gd:<id>`, a file of Google Drive. Two versions of a file are never mixed, and a file gets
its own name only once the caller's check has passed it. Nothing here is loaded by what stays offline.
"""

import contextlib
import fcntl
import json
import os
import re
import shutil
import sys
import time
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlencode, urljoin, urlsplit

from nada.run.atomic import write_json
from nada.run.errors import UserError

DRIVE = "https://drive.google.com/uc"
CHUNK = 1 << 20  # bytes asked of a connection at once
RESERVE = 256 * 10**6  # bytes of the disk that a download leaves free
PROGRESS = 1 << 20  # bytes that a failed try must add to count as progress
PAGE_BYTES = 1 << 18  # of a web page that is read
NOT_A_FILE = "answers with a web page instead of the file"
NO_ADDRESS = "leads to what is no web address"
NO_QUOTA = "has been fetched too often: Google Drive's quota is used up for a day or so"
WORDS = re.compile(rb'<[!?a-z]|[{\[]\s*["{\]}]', re.IGNORECASE)
QUOTA = re.compile(r"quota exceeded|too many users have (viewed|downloaded)", re.IGNORECASE)


class NotFetched(Exception):
    """No address gave the file; the message is what each of them answered."""


class Again(Exception):
    """This try failed, another may not; `wait` is how many seconds the other side asks for."""

    def __init__(self, reason: str, wait: float = 0):
        super().__init__(reason)
        self.wait = wait


class Dead(Exception):
    """This address does not give the file; the message goes on after the address."""


@dataclass(frozen=True)
class Wanted:
    """A file to fetch. Sizes in bytes: `size` as it must be, `about` as a guess; None: unknown."""

    name: str  # in lines of progress
    urls: list[str]  # mirrors, the best first
    size: int | None = None
    about: int | None = None
    hashed: bool = False  # does the check know a hash, which a file cut short would not have?


@dataclass(frozen=True)
class Limits:
    """How patient a download is; times in seconds."""

    connect: float = 15
    stall: float = 60  # a connection that gives less than `floor` for so long is given up
    floor: int = 1024  # bytes a second
    tries: int = 5  # per address, counted anew when one brought something
    wait: float = 2  # before the second try; doubled each time
    longest_wait: float = 60
    hops: int = 8  # redirects
    lines: float | None = None  # between lines of progress; None: 3 on a terminal, else 30


# ---- the unfinished file ------------------------------------------------------------------------


class Part:
    """An unfinished file, `<name>.part`, held by one process; `<name>.part.json` says of what.

    It outlives the process, so that the next one can go on.
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
            # Another process may have finished it, and given it its name, since it was opened.
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
        """Bytes that are here."""
        self.file.flush()
        return os.fstat(self.file.fileno()).st_size

    def note(self, url: str) -> dict:
        """What is known of the bytes that are here, if they came from `url` and can be continued.

        Without a strong ETag or a date nobody could tell that the other end is still the same.
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
        """Start over, with what is known of the bytes to come: url, etag, modified, length."""
        self.discard()
        write_json(self.note_path, note)

    def discard(self) -> None:
        """Drop what is here."""
        self.file.truncate(0)  # the same file, so that the lock holds
        self.note_path.unlink(missing_ok=True)

    def finish(self) -> None:
        """Give the file its own name."""
        self.file.flush()
        os.fsync(self.file.fileno())
        os.replace(self.path, self.target)
        self.note_path.unlink(missing_ok=True)


# ---- the download -------------------------------------------------------------------------------


class Downloader:
    """Fetches files over http(s) with patience: tries, mirrors, continued downloads, redirects."""

    def __init__(self, limits: Limits | None = None, drive: str = DRIVE, say=None, session=None):
        """drive: Google Drive's download address. say: takes lines of progress. session: requests'."""
        import requests  # only here: nothing offline loads what could open a socket
        import urllib3

        self.limits, self.drive = limits or Limits(), drive
        self.say = say or (lambda line: print(line, flush=True))
        self.session = session or requests.Session()
        self.timeouts = (requests.Timeout, urllib3.exceptions.TimeoutError)
        self.failures = (requests.RequestException, urllib3.exceptions.HTTPError)

    def download(self, wanted: Wanted, target: Path, check) -> None:
        """Put a file at `target` from its first address that gives the right bytes.

        check(path) says what is wrong with a whole file, or None. Raises NotFetched with what every
        address said, UserError where another process is at it or the disk is too small; what was
        fetched of a broken download stays in the .part file.
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
                    stop.add_note(f"{part.path} is kept: the same command goes on from there.")
                    raise
        raise NotFetched("; ".join(said))

    def _persist(self, url, wanted, part):
        """Try one address until the part is whole; Dead when it will not be."""
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
                self.say(f"{wanted.name}: {url} {failure}; again in {pause:.0f} s")
            time.sleep(pause)

    def _try(self, url, wanted, part):
        note, headers = part.note(url), {"Accept-Encoding": "identity"}
        if note and part.size() == note["length"]:
            return  # the last process ended between the last byte and the check
        if note:
            mark = note["etag"] or note["modified"]
            headers |= {"Range": f"bytes={part.size()}-", "If-Range": mark}
        try:
            with self._open(url, headers) as response:
                if response.status_code == 416:
                    part.discard()
                    raise Again("has no such range")
                self._receive(response, wanted, part, note, url)
        except self.timeouts:
            raise Again(f"gave nothing for {self.limits.stall:g} s") from None
        except self.failures as error:
            raise Again(f"broke off ({type(error).__name__})") from None

    def _open(self, url, headers):
        """The response that carries the file, its status 200, 206 or 416."""
        if url.startswith("gd:"):
            return self._open_drive(url.removeprefix("gd:"), headers)
        return _usable(self._get(url, headers))

    def _open_drive(self, key, headers):
        """Google Drive gives a small file at once, a large one behind a page that wants a click."""
        query = urlencode({"id": key, "export": "download"})
        response = self._get(f"{self.drive}?{query}", headers)
        if not _declares_page(response):
            return _usable(response)
        page = _page_of_drive(response)
        _usable(response, page=True)
        confirmed = confirmed_address(page)
        if confirmed is None:
            raise Dead(NOT_A_FILE)
        response = self._get(next_hop(response.url, confirmed), headers)
        if _declares_page(response):
            _page_of_drive(response)
        return _usable(response)

    def _get(self, url, headers):
        """Follow redirects by hand, since each must be a web address and none may leave https."""
        url = next_hop(url, "")
        for _ in range(self.limits.hops + 1):
            timeout = (self.limits.connect, self.limits.stall)
            try:
                response = self.session.get(
                    url, headers=headers, stream=True, allow_redirects=False, timeout=timeout
                )
            except ValueError as error:  # requests reads the address that a redirect names
                if isinstance(error, self.failures):
                    raise
                raise Dead(NO_ADDRESS) from None
            if not response.is_redirect:
                return response
            response.close()
            url = next_hop(url, self.session.get_redirect_target(response))
        raise Dead(f"leads on more than {self.limits.hops} times")

    def _receive(self, response, wanted, part, note, url):
        """Append the body to the part, or start the part over where the server starts over."""
        fresh = {
            "url": url,
            "etag": _strong(response.headers.get("ETag")),
            "modified": response.headers.get("Last-Modified"),
            "length": _total(response),
        }
        if response.status_code == 206:
            start = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
            if not _same(fresh, note) or start is None or int(start[1]) != part.size():
                part.discard()
                raise Again("has another file than before")
        length = fresh["length"]
        _refuse_implausible(wanted, length, response)
        if response.status_code == 200:
            part.begin(fresh)
        need_space(part.target, (length or wanted.size or wanted.about or 0) - part.size())
        self._pour(response, wanted, part, length)
        if length is not None and part.size() != length:
            raise Again(f"broke off at {part.size()} of {length} bytes")

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
                raise Dead(f"gives more than the {most} bytes that are expected")
            got, unchecked = got + len(data), unchecked + len(data)
            if unchecked > RESERVE // 4:  # a file without an end would fill the disk
                need_space(part.target, 0)
                unchecked = 0
            if time.monotonic() - since > self.limits.stall:
                if got < self.limits.floor * self.limits.stall:
                    raise Again(f"gave only {got} bytes in {self.limits.stall:g} s")
                since, got = time.monotonic(), 0
        part.file.flush()  # the check reads it by its name


class Progress:
    """Lines that say how far a download is: a few seconds apart on a terminal, else 30."""

    def __init__(self, name, done, total, say, every=None):
        self.name, self.done, self.total, self.say = name, done, total, say
        self.every = every if every is not None else (3 if sys.stdout.isatty() else 30)
        self.begun = self.told = time.monotonic()
        self.first = done

    def add(self, count: int) -> None:
        self.done += count
        now = time.monotonic()
        if now - self.told < self.every:
            return
        self.told = now
        rate = (self.done - self.first) / max(now - self.begun, 1e-9)
        whole = f" of {megabytes(self.total)}" if self.total else ""
        left = f", {(self.total - self.done) / max(rate, 1):.0f} s left" if self.total else ""
        self.say(f"{self.name}: {megabytes(self.done)}{whole}, {megabytes(rate)}/s{left}")


# ---- what a server answers ----------------------------------------------------------------------


def next_hop(url: str, location: str) -> str:
    """Where a redirect leads; Dead where that is no web address, or leaves https for http."""
    try:
        target = urljoin(url, location)
        scheme = urlsplit(target).scheme
    except ValueError:
        raise Dead(NO_ADDRESS) from None
    if scheme not in ("http", "https"):
        raise Dead(f"leads to {target[:100]}, which is no web address")
    if urlsplit(url).scheme == "https" and scheme != "https":
        raise Dead(f"leads away from https, to {target[:100]}")
    return target


def confirmed_address(page: str) -> str | None:
    """The address behind "download anyway" of Google Drive's page: its form, or its older link."""
    parser = _Confirmation()
    with contextlib.suppress(AssertionError):  # Python's answer to "<![" before anything that it knows
        parser.feed(page)
    if parser.action is None:
        return parser.link
    join = "&" if "?" in parser.action else "?"
    return parser.action + (join + urlencode(parser.fields) if parser.fields else "")


class _Confirmation(HTMLParser):
    """Finds what Google Drive's page "can't scan this file for viruses" wants clicked."""

    def __init__(self):
        super().__init__()
        self.action, self.fields, self.link = None, {}, None
        self.inside = False

    def handle_starttag(self, tag, attributes):
        at = dict(attributes)
        if tag == "form" and "download" in (at.get("action") or ""):
            self.action, self.inside = at["action"], True
        elif tag == "input" and self.inside and at.get("name"):
            self.fields[at["name"]] = at.get("value") or ""
        elif tag == "a" and "confirm=" in (at.get("href") or "") and self.link is None:
            self.link = at["href"]

    def handle_endtag(self, tag):
        self.inside = self.inside and tag != "form"


def is_web_page(head: bytes) -> bool:
    """Does a file begin like HTML, XML or JSON, an answer in words? None of the assets does."""
    return WORDS.match(head.lstrip(b"\xef\xbb\xbf \t\r\n")) is not None


def _declares_page(response) -> bool:
    return response.headers.get("Content-Type", "").lower().startswith("text/html")


def _page_of_drive(response) -> str:
    """The text of a page of Google Drive; Dead where it says that the quota is used up."""
    with response:
        text = response.raw.read(PAGE_BYTES, decode_content=True).decode("utf-8", "replace")
    if QUOTA.search(text):
        raise Dead(NO_QUOTA)
    return text


def _usable(response, page=False):
    """The response if its status and kind are good; Again or Dead. page: may it be a web page?"""
    problem = _problem(response, page)
    if problem is None:
        return response
    response.close()
    raise problem


def _problem(response, page) -> Exception | None:
    code = response.status_code
    if code in (408, 429) or code >= 500:
        wait = response.headers.get("Retry-After", "")
        return Again(f"answered {code}", float(wait) if wait.isdecimal() else 0)
    if code not in (200, 206, 416):
        return Dead(f"answered {code}")
    if page:
        return None
    if code != 416 and _declares_page(response):
        return Dead(NOT_A_FILE)
    if response.headers.get("Content-Encoding", "identity") != "identity":
        return Dead("sends the file in another coding than asked for")
    return None


def _refuse_implausible(wanted: Wanted, length: int | None, response) -> None:
    if None not in (wanted.size, length) and length != wanted.size:
        raise Dead(f"offers {length} bytes where {wanted.size} are expected")
    framed = response.headers.get("Transfer-Encoding", "").lower() == "chunked"
    if length is None and not framed and not (wanted.size or wanted.hashed):
        raise Dead(
            "does not say how long the file is, so that nobody could tell whether it is whole"
        )


def _strong(etag: str | None) -> str | None:
    return None if etag is None or etag.startswith("W/") else etag


def _same(now: dict, before: dict) -> bool:
    """Is it still the same file? A part of a file may come without the date of the whole."""
    if before.get("length") not in (None, now["length"]):
        return False
    if before.get("etag"):
        return now["etag"] == before["etag"]
    return now["modified"] in (None, before.get("modified"))


def _total(response) -> int | None:
    """Length of the whole file as the server tells it: of the range's whole, or of the body."""
    if response.status_code == 206:
        whole = re.search(r"/(\d+)$", response.headers.get("Content-Range", ""))
        return int(whole[1]) if whole else None
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None


# ---- room on the disk ---------------------------------------------------------------------------


def need_space(target: Path, wanted: int) -> None:
    """Raise UserError where the disk of `target` has less than `wanted` bytes and a reserve."""
    free = shutil.disk_usage(target.parent).free
    if free < wanted + RESERVE:
        raise UserError(
            f"{target} needs {megabytes(wanted)} and {megabytes(RESERVE)} to spare, but its disk has "
            f"{megabytes(free)}; free some space, or name a folder elsewhere with --into."
        )


def megabytes(count: float) -> str:
    """Bytes as people read them."""
    return f"{count / 1e6:.1f} MB"
