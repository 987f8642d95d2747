"""Self-contained HTML pages from Jinja2 templates, and the page of one table or more."""

from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

FOLDER = Path(__file__).parent
#: Files of this folder that every page is made of: the styles, and the page of a table.
STYLES, TABLE_PAGE = "style.css", "table.html"


@dataclass(frozen=True)
class HtmlTable:
    """A table of texts; Markup is kept, other text is escaped.

    rows: one list of cells per row. texts: leading columns of text; the others are numbers. prose: columns
    whose text wraps. classes: the CSS classes of each row, if any. notes: list items below the table.
    """

    head: list[str]
    rows: list[list]
    notes: list[str]
    texts: int = 2
    prose: tuple[int, ...] = ()
    classes: tuple[str, ...] = ()


def environment(*folders: Path) -> Environment:
    """A Jinja2 environment that escapes, refuses unknown names and reads the folders, then this one."""
    loader = FileSystemLoader([*folders, FOLDER])
    return Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )


def asset(name: str, folder: Path = FOLDER) -> Markup:
    """The text of a style sheet or a script, to be put into a page as it is."""
    return Markup((folder / name).read_text(encoding="utf-8"))


def bold(text: str) -> Markup:
    """Text in bold."""
    return Markup("<b>{}</b>").format(text)


def page(title: str, *tables: HtmlTable) -> str:
    """One self-contained page: a title and the tables with their notes."""
    template = environment().get_template(TABLE_PAGE)
    return template.render(title=title, tables=tables, styles=asset(STYLES)) + "\n"
