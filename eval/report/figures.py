"""The figures of the page: drawn into it, with links to their files."""

import base64
import html
import re
from dataclasses import dataclass
from pathlib import Path

from eval.report.contents import Contents
from nada.run.spec.report_spec import FigureSpec

#: A larger SVG is shown as its PNG.
MOST_BYTES = 400_000


@dataclass(frozen=True)
class Shown:
    """A figure: title, caption (paragraphs), data URI, and its path relative to the page, without an ending."""

    title: str
    caption: str
    uri: str
    files: str


#: What figures are called.
TITLES = {
    "pareto": "Quality against diversity", "training_curves": "Training curves", "losses": "Losses",
    "chosen_layers": "Layers chosen", "bias": "Shift of pose and colours", "gallery": "Gallery",
    "sweep": "Metrics against the number of trained layers", "neighbours": "Nearest training images",
}  # fmt: skip


def shown(contents: Contents, figure: FigureSpec) -> Shown | None:
    """A figure for the page; None if its file is missing."""
    svg, png = Path(f"{figure.prefix}.svg"), Path(f"{figure.prefix}.png")
    if not svg.is_file():
        return None
    small = svg.stat().st_size <= MOST_BYTES or not png.is_file()
    path, kind = (svg, "svg+xml") if small else (png, "png")
    uri = f"data:image/{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
    group = next(group for group in contents.groups if group.name == figure.group)
    kind_title = TITLES.get(figure.kind, figure.kind.replace("_", " ").capitalize())
    files = Path(figure.prefix).relative_to(contents.spec.results).as_posix()
    return Shown(f"{kind_title}: {group.title}", plain(figure.caption), uri, files)


def all_shown(contents: Contents, *kinds: str, groups=None) -> list[Shown]:
    """The figures of some kinds that there are."""
    found = [shown(contents, figure) for figure in contents.figures(*kinds, groups=groups)]
    return [figure for figure in found if figure]


def plain(caption: str) -> str:
    """A docstring as running text."""
    text = re.sub(r"``?([^`]*)``?", r"\1", caption)
    return html.unescape(re.sub(r"\s+", " ", text)).strip()
