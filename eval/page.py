"""The HTML page of a table: one self-contained file, and helpers for its rows and notes."""

import html

#: Fields: title, head and body of the table (rows as HTML), notes (list items).
PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem; color: #222; }}
table {{ border-collapse: collapse; }}
h1 {{ font-size: 1.2rem; }}
td {{ white-space: nowrap; }}
td:first-child {{ white-space: normal; min-width: 18rem; max-width: 32rem; }}
th, td {{ padding: .2rem .6rem; text-align: right; font-variant-numeric: tabular-nums; }}
th:nth-child(-n+2), td:nth-child(-n+2) {{ text-align: left; }}
thead th {{ border-bottom: 2px solid #222; }}
tr.bound td {{ color: #777; }}
tr.first td {{ border-top: 1px solid #aaa; }}
</style></head><body><h1>{title}</h1>
<table><thead><tr>{head}</tr></thead>
<tbody>
{body}
</tbody></table>
<ul>{notes}</ul></body></html>
"""


def heads(names) -> str:
    """Column titles as HTML."""
    return "".join(f"<th>{html.escape(str(name))}</th>" for name in names)


def rows(frame) -> str:
    """The rows of a table as HTML. The cells are HTML already: escape them first."""
    lines = ("".join(f"<td>{cell}</td>" for cell in row) for row in frame.itertuples(index=False))
    return "\n".join(f"<tr>{line}</tr>" for line in lines)


def items(notes) -> str:
    """Notes as HTML list items."""
    return "".join(f"<li>{html.escape(note)}</li>" for note in notes)
