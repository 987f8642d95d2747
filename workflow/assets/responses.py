"""What a web server's response means: the file, a redirect, a web page instead, or an error.

Knows Google Drive's pages: the one that asks for confirmation, and the one about its quota.
"""

import contextlib
import re
from html.parser import HTMLParser
from urllib.parse import urlencode, urljoin, urlsplit

PAGE_BYTES = 1 << 18  # of a web page that are read
NOT_A_FILE = "answers with a web page instead of the file"
NO_ADDRESS = "redirects to an invalid address"
NO_QUOTA = "has been fetched too often: Google Drive's quota is used up for about a day"
TEXT = re.compile(rb'<[!?a-z]|[{\[]\s*["{\]}]', re.IGNORECASE)  # the beginning of HTML, XML or JSON
QUOTA = re.compile(r"quota exceeded|too many users have (viewed|downloaded)", re.IGNORECASE)


class Again(Exception):
    """This attempt failed, but another may succeed; wait: seconds that the server asks for."""

    def __init__(self, reason: str, wait: float = 0):
        super().__init__(reason)
        self.wait = wait


class Dead(Exception):
    """This address cannot give the file; the message follows the address in a sentence."""


def next_hop(url: str, location: str) -> str:
    """Target of a redirect; Dead if it is no web address, or leaves https for http."""
    try:
        target = urljoin(url, location)
        scheme = urlsplit(target).scheme
    except ValueError:
        raise Dead(NO_ADDRESS) from None
    if scheme not in ("http", "https"):
        raise Dead(f"redirects to {target[:100]}, which is not a web address")
    if urlsplit(url).scheme == "https" and scheme != "https":
        raise Dead(f"redirects from https to {target[:100]}")
    return target


def confirmed_address(page: str) -> str | None:
    """The address behind "download anyway" on Google Drive's page: its form, or its older link."""
    parser = _Confirmation()
    with contextlib.suppress(AssertionError):  # raised by html.parser for an unknown "<!["
        parser.feed(page)
    if parser.action is None:
        return parser.link
    join = "&" if "?" in parser.action else "?"
    return parser.action + (join + urlencode(parser.fields) if parser.fields else "")


class _Confirmation(HTMLParser):
    """Parses Google Drive's page "can't scan this file for viruses"."""

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
    """Whether a file begins like HTML, XML or JSON; no asset does."""
    return TEXT.match(head.lstrip(b"\xef\xbb\xbf \t\r\n")) is not None


def declares_page(response) -> bool:
    return response.headers.get("Content-Type", "").lower().startswith("text/html")


def page_of_drive(response) -> str:
    """The text of a page of Google Drive; Dead if it says that the quota is used up."""
    with response:
        text = response.raw.read(PAGE_BYTES, decode_content=True).decode("utf-8", "replace")
    if QUOTA.search(text):
        raise Dead(NO_QUOTA)
    return text


def usable(response, page=False):
    """The response if it carries the file; otherwise raise Again or Dead. page: a web page is expected."""
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
    if code != 416 and declares_page(response):
        return Dead(NOT_A_FILE)
    if response.headers.get("Content-Encoding", "identity") != "identity":
        return Dead("sends the file in an encoding that was not requested")
    return None


def strong_etag(etag: str | None) -> str | None:
    return None if etag is None or etag.startswith("W/") else etag


def same_file(now: dict, before: dict) -> bool:
    """Whether two responses describe the same file; a partial response may lack the date."""
    if before.get("length") not in (None, now["length"]):
        return False
    if before.get("etag"):
        return now["etag"] == before["etag"]
    return now["modified"] in (None, before.get("modified"))


def total_length(response) -> int | None:
    """Length of the whole file according to the server, or None."""
    if response.status_code == 206:
        whole = re.search(r"/(\d+)$", response.headers.get("Content-Range", ""))
        return int(whole[1]) if whole else None
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None
