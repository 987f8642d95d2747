"""A group's table as Markdown, HTML and LaTeX."""

import pandas as pd

from eval.analysis.columns import Column
from eval.analysis.rows import Row
from eval.pages.rendering import HtmlTable, bold
from nada.run.spec.base import BOUNDS


def _shown(cells, best: str, plus_minus: str = "±", missing: str = "–") -> list[str]:
    """Cells as text. best: the pattern of a best cell. missing: the text if nothing was scored."""
    texts = []
    for cell in cells:
        text = missing if cell is None else cell.text(plus_minus)
        texts.append(best.format(text) if cell is not None and cell.best else text)
    return texts


def _titles(columns: list[Column]) -> list[str]:
    return ["task", "model", *(column.heading for column in columns), "seeds"]


def markdown(table: list[Row], columns: list[Column], title: str, notes: list[str]) -> str:
    """A Markdown table below its title, notes below the table."""
    frame = pd.DataFrame(
        [[r.task, r.label, *_shown(r.cells, "**{}**"), r.seeds or "–"] for r in table],
        columns=_titles(columns),
    )
    return f"**{title}**\n\n{_markdown(frame)}\n\n" + "\n".join(f"- {note}" for note in notes) + "\n"


def _markdown(frame: pd.DataFrame) -> str:
    return frame.to_markdown(index=False, disable_numparse=True)


def markdown_after(frame: pd.DataFrame, note: str) -> str:
    """A further table of texts, with a note below."""
    return f"\n{_markdown(frame)}\n\n- {note}\n"


def html_table(table: list[Row], columns: list[Column], notes: list[str]) -> HtmlTable:
    """The table for a page: best cells bold, bounds grey, a rule between tasks."""
    lines, classes, previous = [], [], None
    for row in table:
        cells = [
            "–" if cell is None else bold(cell.text("±")) if cell.best else cell.text("±")
            for cell in row.cells
        ]
        lines.append([row.task, row.label, *cells, row.seeds or "–"])
        marks = ["bound"] * (row.method in BOUNDS) + ["first"] * (row.task != previous)
        classes.append(" ".join(marks))
        previous = row.task
    return HtmlTable(_titles(columns), lines, notes, classes=tuple(classes))


def html_frame(frame: pd.DataFrame, notes: list[str], texts: int = 2, prose=()) -> HtmlTable:
    """A table of texts for a page."""
    return HtmlTable(list(frame.columns), frame.to_numpy().tolist(), notes, texts, tuple(prose))


_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "ψ": r"$\psi$",
    "“": "``", "”": "''", "±": r"$\pm$", "≥": r"$\geq$", "–": "--", "↑": r"$\uparrow$", "↓": r"$\downarrow$",
    "★": r"$^\star$", "§": r"\S{}",
}  # fmt: skip
LATEX_HEAD = "% Needs in the preamble: \\usepackage{booktabs,graphicx}\n"
LATEX_BOLD, LATEX_PLUS_MINUS = r"\textbf{{{}}}", r"$\pm$"
#: A float whose table is reduced to the width of the text where it is wider.
_FLOAT = r"""\begin{table}[t]
\centering
\caption{%s}
\sbox0{%%
%s}%%
\ifdim\wd0>\linewidth\resizebox{\linewidth}{!}{\usebox0}\else\usebox0\fi
\par\smallskip
\parbox{\linewidth}{\footnotesize %s}
\end{table}
"""


def latex_text(text: str) -> str:
    """Text with LaTeX's special characters and our symbols escaped."""
    return "".join(_LATEX.get(character, character) for character in text)


def latex_float(frame: pd.DataFrame, caption: str, notes: list[str], texts: int = 2) -> str:
    """A booktabs table as a float that fits its column: caption above, notes below.

    frame: cells as LaTeX; headings, caption and notes are escaped here. texts: leading columns of text.
    """
    lines = [r"\begin{tabular}{" + "l" * texts + "r" * (frame.shape[1] - texts) + "}", r"\toprule"]
    lines.append(" & ".join(latex_text(str(name)) for name in frame.columns) + r" \\ \midrule")
    lines += [" & ".join(map(str, row)) + r" \\" for row in frame.itertuples(index=False, name=None)]
    body = "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])
    return _FLOAT % (latex_text(caption), body, latex_text(" ".join(notes)))


def latex(table: list[Row], columns: list[Column], title: str, notes: list[str]) -> str:
    """The group's table as a LaTeX float, with the packages that it needs in a comment."""
    frame = pd.DataFrame(
        [
            [
                latex_text(r.task),
                latex_text(r.label),
                *_shown(r.cells, LATEX_BOLD, LATEX_PLUS_MINUS, "--"),
                r.seeds or "--",
            ]
            for r in table
        ],
        columns=_titles(columns),
    )
    return LATEX_HEAD + latex_float(frame, title, notes)


def latex_frame(frame: pd.DataFrame, caption: str, note: str, texts: int = 2) -> str:
    """A further table of texts as a LaTeX float."""
    return latex_float(frame.map(lambda cell: latex_text(str(cell))), caption, [note], texts)
