"""Read a report page without a browser: its text, its numbers, and what they are of."""

import html
import json
import re
from pathlib import Path

NUMBER = re.compile(r'<button[^>]* class="num[^"]*" data-condition="(\d+)" data-column="(\w+)">([^<]*)</button>')


def details(page: Path) -> dict:
    """The JSON that numbers open."""
    return json.loads(re.search(r'id="details">(.*?)</script>', page.read_text(encoding="utf-8"), re.DOTALL)[1])


def numbers(text: str) -> list[tuple[int, str, str]]:
    """(number of the condition, name of the column, text) of every number."""
    return [(int(c), column, html.unescape(shown)) for c, column, shown in NUMBER.findall(text)]


def section(page: Path, name: str) -> str:
    """The HTML of a section."""
    text = page.read_text(encoding="utf-8")
    return re.search(rf'<section id="{name}".*?</section>', text, re.DOTALL)[0]


def words(markup: str) -> str:
    """Text without tags, its blanks joined."""
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", "", markup))).strip()
