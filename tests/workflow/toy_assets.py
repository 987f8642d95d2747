"""Toy assets: a loopback server that can be told to misbehave, zips, and short ways to fetch them."""

import hashlib
import http.server
import re
import zipfile
from dataclasses import replace

from workflow.assets.asset_registry import Asset, Licence, Registry
from workflow.assets.download import Downloader, Limits
from workflow.assets.fetch import Fetch

CONTENT = bytes(range(256)) * 400
OTHER = CONTENT[::-1]
SHA = hashlib.sha256(CONTENT).hexdigest()
HALF = len(CONTENT) // 2
PATIENCE = Limits(
    connect=5, stall=5, tries=3, wait=0.01, longest_wait=0.05, hops=3, lines=float("inf")
)
PAGE = b"<!DOCTYPE html><html><head><title>Sorry</title></head><body>Not here.</body></html>"
LICENCES = {
    "free": Licence("Free Licence", "https://example.org/free", False),
    "strict": Licence("Strict Licence", "https://example.org/strict", True),
}


# ---- the server ---------------------------------------------------------------------------------


class Site:
    """A loopback server: `routes[path]` is a list of answers, the last of which is given for ever."""

    def __init__(self):
        self.routes, self.seen = {}, []
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                path = self.path.partition("?")[0]
                count = sum(known.partition("?")[0] == path for known, _ in site.seen)
                site.seen.append((self.path, dict(self.headers)))
                answers = site.routes.get(path, [status(404)])
                answers[min(count, len(answers) - 1)](self)

            def log_message(self, *_):
                """Say nothing."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def paths(self):
        return [path for path, _ in self.seen]

    def ranges(self):
        return [headers.get("Range") for _, headers in self.seen]


def send(request, code, body=b"", **headers):
    request.send_response(code)
    for name, value in headers.items():
        if value is not None:
            request.send_header(name.replace("_", "-"), str(value))
    request.end_headers()
    request.wfile.write(body)


def status(code, body=b"", **headers):
    return lambda request: send(request, code, body, **headers)


def redirect(target, code=302):
    return status(code, Location=target)


def page(text=PAGE, code=200):
    return status(code, text, Content_Type="text/html; charset=utf-8")


def whole(content=CONTENT, etag='"1"', stop=None, length=None, ranges=True, check=True, **headers):
    """A file server. stop: bytes of the body after which it hangs up. length: what it claims.

    ranges: does it answer a range with a part? check: does it heed If-Range?
    """

    def answer(request):
        asked = re.match(r"bytes=(\d+)-", request.headers.get("Range", ""))
        condition = request.headers.get("If-Range")
        if asked and ranges and (not check or condition in (None, etag)):
            start = int(asked[1])
            rest = content[start:]
            place = f"bytes {start}-{len(content) - 1}/{len(content)}"
            sent = rest[:stop]
            send(request, 206, sent, ETag=etag, Content_Length=len(rest), Content_Range=place)
            return
        claimed = len(content) if length is None else length
        send(request, 200, content[:stop], ETag=etag, Content_Length=claimed, **headers)

    return answer


# ---- shorthands ---------------------------------------------------------------------------------


def thing(*urls, **changes):
    """An asset `thing`, file thing.bin, whose authors publish its hash."""
    asset = Asset(
        name="thing", title="A thing", kind="model", paper=None, file="thing.bin", urls=list(urls),
        page="https://example.org/thing", bytes=None, about=None, sha256=SHA, md5=None,
        confidence="published", licence="free", purpose="to be there", unpack=None,
        needed_by=["task"], note="",
    )  # fmt: skip
    return replace(asset, **changes)


def unknown(*urls, **changes):
    return thing(*urls, **{"sha256": None, "confidence": None, **changes})


def fetch(into, *things, accept=(), trust=(), limits=PATIENCE, drive="", session=None, say=None):
    """What went wrong when the things were fetched into a folder."""
    registry = Registry("toy", {a.name: a for a in things}, LICENCES, [])
    downloader = Downloader(limits, drive=drive, session=session, say=say)
    return Fetch(registry, into, accept, trust, downloader).run(list(things))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def archive(folder, *members, **options):
    """A zip of (name or ZipInfo, content) pairs."""
    path = folder / "set.zip"
    with zipfile.ZipFile(path, "w", **options) as zipped:
        for name, content in members:
            zipped.writestr(name, content)
    return path
