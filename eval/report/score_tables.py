"""The tables of scores: every cell names the condition and the column that it is the mean of."""

from dataclasses import dataclass

from eval import paper_table
from eval.analysis.columns import Column
from eval.analysis.rows import Cell
from eval.metrics.fid import FID
from eval.paper_table import LAYOUTS, NOT_IN_THE_PAPER
from eval.report.contents import Contents
from nada.run.spec.base import BOUNDS
from nada.run.spec.group_spec import GroupSpec


@dataclass(frozen=True)
class Number:
    """A number of the page: its text, its exact value, the condition's number and the column's name.

    paper: the published number of the same cell as text, if the table shows one.
    """

    text: str
    value: float
    condition: int
    column: str
    best: bool = False
    paper: str = ""


@dataclass(frozen=True)
class ScoreTable:
    """key: an id for links. rows: (name of task, model, whether it is a bound, cells, seeds).

    several: whether it has more than one task. filters: whether it has a field that filters rows.
    """

    key: str
    title: str
    heads: list[str]
    rows: list[tuple]
    notes: list[str]
    files: str
    several: bool
    filters: bool


#: Tables of more rows can be filtered.
FEW_ROWS = 8


def number(contents: Contents, condition: tuple, column: Column, cell: Cell | None) -> Number | None:
    """The number of a cell; None for a cell without a score."""
    if cell is None:
        return None
    return Number(cell.text("±"), cell.mean, contents.number(condition), column.name, cell.best)


def score_table(contents: Contents, group: GroupSpec) -> ScoreTable:
    """The table of a group."""
    table = contents.tables[group.name]
    rows = [
        (
            row.task,
            row.label,
            row.method in BOUNDS,
            [number(contents, row.condition, *pair) for pair in zip(table.columns, row.cells, strict=True)],
            row.seeds or "–",
        )
        for row in table.rows
    ]
    return ScoreTable(
        group.name,
        group.title,
        [column.heading.replace(" ↑", "\u00a0↑").replace(" ↓", "\u00a0↓") for column in table.columns],
        rows,
        table.notes,
        f"tables/{group.name}",
        len(group.tasks) > 1,
        len(rows) > FEW_ROWS,
    )


@dataclass(frozen=True)
class PublishedTable:
    """A table in the paper's layout. rows: (name, whether it is a bound, cells)."""

    key: str
    title: str
    head: str
    columns: list[str]
    rows: list[tuple]
    notes: list[str]
    files: str


def published_table(contents: Contents, group: GroupSpec) -> PublishedTable:
    """Our FID in the paper's layout, the published number in each cell."""
    layout = LAYOUTS[group.paper]
    cells = paper_table.cells(group, contents.scores[contents.scores.weights != "raw"])
    lines: dict[str, dict[str, Number | str]] = {}
    columns = {}  # name -> (task, shots)
    for _, cell in paper_table.ordered(cells, layout).iterrows():
        column = paper_table.name(layout.columns, cell)
        columns[column] = (cell["task"], cell["shots"])
        lines.setdefault(paper_table.name(layout.rows, cell), {})[column] = _ours(contents, cell)
    rows = [(name, False, [line.get(column, "–") for column in columns]) for name, line in lines.items()]
    table = contents.tables[group.name]
    fid = next((i for i, column in enumerate(table.columns) if column == Column(FID)), None)
    for method, name in paper_table.BOUNDS.items() if fid is not None else ():
        found = []
        for task, shots in columns.values():
            of_bound = [r for r in table.rows if (r.task, r.method) == (task, method) and r.condition[3] in (0, shots)]
            shown = [number(contents, row.condition, Column(FID), row.cells[fid]) for row in of_bound[:1]]
            found.append(shown[0] if shown and shown[0] else "–")
        rows.append((name, True, found))
    notes = paper_table.notes(group, cells)
    return PublishedTable(
        f"{group.name}_paper", group.title, layout.head, list(columns), rows, notes, f"tables/{group.name}_paper"
    )


def _ours(contents: Contents, cell) -> Number | str:
    """Our number with the published one; `–` where we have none."""
    condition = tuple(cell[key] for key in ("task", "method", "variant", "shots", "warm_start"))
    if contents.number(condition) is None or cell["n"] == 0:
        return "–"
    plain = paper_table.number_text(cell)
    paper = f"paper {cell['paper']:.2f}" if cell["paper"] == cell["paper"] else NOT_IN_THE_PAPER
    mark = "★" if cell["best"] else ""
    return Number(
        plain + mark, cell["mean"], contents.number(condition), FID.name, bool(cell["bold"]), paper
    )
