"""A group's table as Markdown, HTML and LaTeX."""

import html

import pandas as pd

from eval.analysis.columns import Column
from eval.analysis.rows import Row
from eval.page import PAGE, heads, items
from nada.run.spec.base import BOUNDS


def _shown(cells, bold: str, plus_minus: str = "±", missing: str = "–") -> list[str]:
    """Cells as text. bold: the pattern of a best cell. missing: the text if nothing was scored."""
    texts = []
    for cell in cells:
        text = missing if cell is None else cell.text(plus_minus)
        texts.append(bold.format(text) if cell is not None and cell.best else text)
    return texts


def markdown(table: list[Row], columns: list[Column], title: str, notes: list[str]) -> str:
    """A Markdown table below its title, notes below the table."""
    frame = pd.DataFrame(
        [[r.task, r.label, *_shown(r.cells, "**{}**"), r.seeds or "–"] for r in table],
        columns=["task", "model", *(column.heading for column in columns), "seeds"],
    )
    body = frame.to_markdown(index=False, disable_numparse=True)
    return f"**{title}**\n\n{body}\n\n" + "\n".join(f"- {note}" for note in notes) + "\n"


def page(table: list[Row], columns: list[Column], title: str, notes: list[str]) -> str:
    """One self-contained HTML page: title, table (bounds in grey, a rule between tasks), notes."""
    titles = ["task", "model", *(column.heading for column in columns), "seeds"]
    lines, previous = [], None
    for row in table:
        classes = ["bound"] * (row.method in BOUNDS) + ["first"] * (row.task != previous)
        cells = [html.escape(row.task), html.escape(row.label), *_shown(row.cells, "<b>{}</b>")]
        cells.append(str(row.seeds or "–"))
        previous = row.task
        content = "".join(f"<td>{cell}</td>" for cell in cells)
        lines.append(f'<tr class="{" ".join(classes)}">{content}</tr>')
    return PAGE.format(
        title=html.escape(title),
        head=heads(titles),
        body="\n".join(lines),
        notes=items(notes),
    )


_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "“": "``", "”": "''", "±": r"$\pm$", "≥": r"$\geq$", "–": "--", "↑": r"$\uparrow$", "↓": r"$\downarrow$",
}  # fmt: skip


def latex_text(text: str) -> str:
    """Text with LaTeX's special characters and our symbols escaped."""
    return "".join(_LATEX.get(character, character) for character in text)


def latex(table: list[Row], columns: list[Column], title: str, notes: list[str]) -> str:
    """A booktabs table (pandas Styler): caption above, notes below."""
    titles = ["task", "model", *(column.heading for column in columns), "seeds"]
    frame = pd.DataFrame(
        [
            [
                latex_text(r.task),
                latex_text(r.label),
                *_shown(r.cells, r"\textbf{{{}}}", r"$\pm$", "--"),
                r.seeds or "--",
            ]
            for r in table
        ],
        columns=[latex_text(head) for head in titles],
    )
    body = frame.style.hide(axis="index").to_latex(
        caption=latex_text(title), hrules=True, position="t", position_float="centering",
        column_format="ll" + "r" * (len(columns) + 1),
    )  # fmt: skip
    note = r"\par\footnotesize " + latex_text(" ".join(notes)) + "\n"
    return body.replace(r"\end{table}", note + r"\end{table}")


def add_table(texts: dict[str, str], frame: pd.DataFrame, note: str) -> None:
    """Append another table with a note to the .md and .html."""
    second = frame.to_markdown(index=False, disable_numparse=True)
    texts[".md"] += f"\n{second}\n\n- {note}\n"
    second = f"{frame.to_html(index=False, border=0)}<ul>{items([note])}</ul>"
    texts[".html"] = texts[".html"].replace("</body>", f"{second}</body>")


def plain_latex(frame: pd.DataFrame, note: str) -> str:
    """A booktabs table of texts: the first two columns left-aligned, the note below."""
    text = frame.map(latex_text).rename(columns=latex_text)
    body = text.style.hide(axis="index").to_latex(
        hrules=True, position="t", position_float="centering",
        column_format="ll" + "r" * (frame.shape[1] - 2),
    )  # fmt: skip
    return body.replace(
        r"\end{table}", rf"\par\footnotesize {latex_text(note)}" + "\n" + r"\end{table}"
    )
