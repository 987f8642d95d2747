"""Tables 1 and 2 in the layout of the paper, with the published numbers and the costs of the runs.

    python -m eval.paper_table --spec SPEC.json --scores FILE.csv --out PREFIX

writes PREFIX.csv (every cell: our FID, the paper's, and whether the two are comparable), PREFIX.md, .html
and .tex (for people), and PREFIX_cost.csv. A cell is the FID of one model (method, variant, shots, warm
start): mean over seeds ± half-width of the 95 % t interval. Bold: the best warm start of a method (Table 1)
or the better of a pair (Table 2). Star: the best of a column. Equal cells have no mark. The published
numbers are in eval/paper/.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from eval.analysis import costs, lengths
from eval.analysis.names import WARM_STARTS, method_name
from eval.analysis.statistics import t_interval
from eval.metrics.fid import FID
from eval.pages.rendering import bold, page
from eval.score import LAST, read_scores
from eval.table_formats import (
    LATEX_BOLD,
    LATEX_HEAD,
    LATEX_PLUS_MINUS,
    html_frame,
    latex_float,
    latex_frame,
    latex_text,
)
from nada.run.atomic import atomic_path
from nada.run.errors import UserError, command
from nada.run.outputs import check_outputs
from nada.run.spec.group_spec import GroupSpec, read_group_spec

FOLDER = Path(__file__).parent / "paper"
#: Worlds whose FID is comparable with the paper's, and why that of others is not. A world that is `like` one
#: of them may have changed anything, so neither list says what it holds.
COMPARABLE_WORLDS = ("paper",)
REASONS = {
    "mini": "another world: rendered pictures of 32 px, its own FID network",
    "rehearsal": "random weights",
}
OTHER = "another world: other images and networks"
NOT_IN_THE_PAPER = "not in the paper"
#: Controls that bound every cell, and what they are called.
BOUNDS = {
    "source": "source model, unchanged",
    "replay": "the target images, replayed",
    "real": "real images (two halves)",
}


def reason_of(world: str, like: tuple[str, ...] | None) -> str:
    """Why a world's numbers are not comparable with the paper's; "" where they are.

    Of a world that neither list has: the nearest of theirs among the worlds that it is `like`.
    """
    if world in COMPARABLE_WORLDS:
        return ""
    near = next((name for name in like or () if name in (*COMPARABLE_WORLDS, *REASONS)), None)
    changed = f"a world like {near}, with changes" if near else OTHER
    return REASONS.get(world, changed)


@dataclass(frozen=True)
class Layout:
    """rows, columns: the keys that name them; head: the title of the rows' names. rivals: bold marks the
    best cell of a column among those that share these keys."""

    head: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    rivals: tuple[str, ...] = ()


LAYOUTS = {
    "table1": Layout("training starts from", ("warm_start",), ("model",)),
    "table2": Layout("model, start", ("model", "warm_start"), ("task", "shots"), ("model",)),
}
#: What names a cell of the paper's tables, and what names one of ours.
KEYS = ["task", "shots", "method", "warm_start"]
OWN_KEYS = [*KEYS, "variant"]
#: The variant of an empty cell, if the group has no variant of its method.
PLAIN = "plain"


def published(name: str) -> pd.DataFrame:
    """The published numbers: KEYS and fid. UserError: no such table in eval/paper/."""
    path = FOLDER / f"{name}.csv"
    if name not in LAYOUTS or not path.is_file():
        raise UserError(f"paper: no table is called {name!r}; known: {', '.join(LAYOUTS)}.")
    return pd.read_csv(path)


def fids(group: GroupSpec, scores: pd.DataFrame) -> pd.DataFrame:
    """The rows with the FID of final models in the group's world."""
    part = scores[(scores.world == group.world) & (scores.step == LAST)]
    return part[part.metric == FID.name].astype({"value": float, "shots": int})


def cells(group: GroupSpec, scores: pd.DataFrame) -> pd.DataFrame:
    """One row per cell: OWN_KEYS, model, mean, half_width, n, paper, comparable, reason, bold and best.

    model: the name of the method, with the variant if the group has several of the method.
    """
    layout = LAYOUTS[group.paper]
    known = published(group.paper)
    theirs = list(known[KEYS].drop_duplicates().itertuples(index=False, name=None))
    own = own_cells(group)
    wanted = [key for cell in theirs for key in variants_of(cell, own)]
    wanted = dict.fromkeys([*wanted, *own])  # cells that the paper lacks come last
    part = fids(group, scores)
    found = []
    for key in wanted:
        mine = part[(part[OWN_KEYS] == pd.Series(key, OWN_KEYS)).all(axis=1)]
        mean, half = t_interval(mine.value) if len(mine) else (np.nan, None)
        cell = key[:-1]
        paper = known.set_index(KEYS).fid.get(cell, np.nan)
        reason = reason_of(group.world, group.like) if cell in theirs else NOT_IN_THE_PAPER
        comparable = not reason
        found.append((*key, mean, half, len(mine), paper, comparable, reason))
    table = pd.DataFrame(
        found, columns=[*OWN_KEYS, "mean", "half_width", "n", "paper", "comparable", "reason"]
    )
    several = table.groupby("method").variant.transform("nunique") > 1
    called = [method_name(method) for method in table.method]
    names = zip(called, table.variant, several, strict=True)
    model = [f"{c} ({v.replace('_', ' ')})" if s else c for c, v, s in names]
    table.insert(len(OWN_KEYS), "model", model)
    table["bold"] = is_best(table, [*layout.columns, *layout.rivals])
    table["best"] = is_best(table, list(layout.columns))
    return table


def is_best(table: pd.DataFrame, keys: list[str]) -> pd.Series:
    """Whether each cell is the smallest, as printed, of those that share the keys; none if all are equal."""
    shown = table["mean"].round(FID.digits)
    rivals = shown.groupby([table[key] for key in keys])
    return (shown == rivals.transform("min")) & (rivals.transform("nunique") > 1)


def own_cells(group: GroupSpec) -> list[tuple]:
    """OWN_KEYS of every model of the group, without its bounds."""
    return [
        tuple(getattr(row, key) for key in OWN_KEYS)
        for row in group.rows
        if row.method not in BOUNDS
    ]


def variants_of(cell: tuple, own: list[tuple]) -> list[tuple]:
    """OWN_KEYS of the group's models in a cell of the paper; if there is none, of an empty cell with
    the variant that the group has of the method."""
    here = [key for key in own if key[:-1] == cell]
    others = [key[-1] for key in own if key[2] == cell[2]]
    return here or [(*cell, others[0] if others else PLAIN)]


def text(cell, bold: str = "{}", plus_minus: str = "±") -> str:
    """`12.3 ± 0.4 [45.1]`, with the published number in brackets and a star for the best of a column."""
    if not np.isfinite(cell["mean"]):
        return "–"
    shown = number_text(cell, plus_minus)
    shown = bold.format(shown) if cell["bold"] else shown
    shown += "★" if cell["best"] else ""
    beside = f"{cell['paper']:.2f}" if np.isfinite(cell["paper"]) else NOT_IN_THE_PAPER
    return shown + f" [{beside}]"  # keeps Markup


def number_text(cell, plus_minus: str = "±") -> str:
    """`12.30 ± 0.40`, or `12.30` for one seed."""
    shown = f"{cell['mean']:.{FID.digits}f}"
    if cell["half_width"] is None or not np.isfinite(float(cell["half_width"])):
        return shown
    return f"{shown} {plus_minus} {float(cell['half_width']):.{FID.digits}f}"


def name(keys: tuple[str, ...], cell) -> str:
    """The name of a row or a column, from the values of its keys."""
    called = {"warm_start": WARM_STARTS}
    parts = [str(called.get(key, {}).get(cell[key], cell[key])) for key in keys]
    return ", ".join(f"{p} images" if k == "shots" else p for k, p in zip(keys, parts, strict=True))


def bounds(
    group: GroupSpec, scores: pd.DataFrame, table: pd.DataFrame, plus_minus: str = "±"
) -> pd.DataFrame:
    """One row of text per bound (BOUNDS): FID on the task of each column of `laid_out`."""
    layout = LAYOUTS[group.paper]
    part = fids(group, scores)
    lines: dict[str, dict[str, str]] = {label: {} for label in BOUNDS.values()}
    for _, cell in table.drop_duplicates(list(layout.columns)).iterrows():
        for method, label in BOUNDS.items():
            rows = part[(part.task == cell["task"]) & (part.method == method)]
            values = rows[rows.shots.isin([0, cell["shots"]])].value
            shown = "–"
            if len(values):
                mean, half = t_interval(values)
                shown = f"{mean:.{FID.digits}f}"
                shown += "" if half is None else f" {plus_minus} {half:.{FID.digits}f}"
            lines[label][name(layout.columns, cell)] = shown
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis(layout.head).reset_index()


def ordered(table: pd.DataFrame, layout: Layout) -> pd.DataFrame:
    """The cells in the order of the paper's rows: by warm start; by model first if rows are named by both."""
    order = {start: i for i, start in enumerate(WARM_STARTS)}
    table = table.sort_values("warm_start", key=lambda s: s.map(order), kind="stable")
    return table.sort_values("model", kind="stable") if len(layout.rows) > 1 else table


def laid_out(table: pd.DataFrame, layout: Layout, **how) -> pd.DataFrame:
    """The table as text, in the layout of the paper."""
    lines: dict[str, dict[str, str]] = {}
    for _, cell in ordered(table, layout).iterrows():
        lines.setdefault(name(layout.rows, cell), {})[name(layout.columns, cell)] = text(
            cell, **how
        )
    frame = pd.DataFrame.from_dict(lines, orient="index").fillna("–")
    return frame.rename_axis(layout.head).reset_index()


def notes(group: GroupSpec, table: pd.DataFrame) -> list[str]:
    """The notes under the table."""
    seeds = sorted({int(n) for n in table.n if n})
    lines = ["FID, lower is better; in brackets the published number of the same cell."]
    if group.truncation_psi != 1:
        lines.append(f"All images are generated at truncation {group.truncation_psi:g}.")
    reasons = table.reason[~table.comparable & table.paper.notna()]
    if len(reasons):
        lines.append(f"Not comparable with the published numbers: {reasons.iloc[0]}.")
    if seeds == [1]:
        lines.append("One seed: no interval.")
    elif seeds:
        number = "–".join(str(n) for n in dict.fromkeys((seeds[0], seeds[-1])))
        lines.append(f"Mean over {number} seeds ± half-width of the 95 % t interval.")
    lines.append(
        "Bold: best of a method's warm starts. Star: best of a column. The last rows are bounds."
    )
    lines.append(f"{costs.NOTE} Equal iterations do not mean equal costs.")
    return [*lines, *lengths.notes(group)]


ENDINGS = (".csv", "_cost.csv", ".md", ".html", ".tex")  # of the files that `write` writes


def write(group: GroupSpec, scores: pd.DataFrame, prefix: str) -> None:
    """Write every file of the table."""
    layout, table, cost = LAYOUTS[group.paper], cells(group, scores), costs.frame(group)
    beneath = notes(group, table)

    def whole(bold: str, plus_minus: str = "±") -> pd.DataFrame:
        rows = bounds(group, scores, table, plus_minus)
        return pd.concat([laid_out(table, layout, bold=bold, plus_minus=plus_minus), rows])

    shown = whole("**{}**")
    body = shown.to_markdown(index=False, disable_numparse=True)
    shown_cost = costs.as_text(cost)
    costs_body = shown_cost.to_markdown(index=False, disable_numparse=True)
    title = group.heading
    markdown = f"**{title}**\n\n{body}\n\n" + "".join(f"- {n}\n" for n in beneath)
    tables = [html_frame(whole(bold("{}")), beneath, texts=1), html_frame(shown_cost, [])]
    floats = [
        latex(whole(LATEX_BOLD, LATEX_PLUS_MINUS), title, beneath),
        latex_frame(shown_cost, f"{title}: costs", costs.NOTE),
    ]
    files = {
        ".csv": table.drop(columns=["model", "bold", "best"]).to_csv(
            index=False, lineterminator="\n"
        ),
        "_cost.csv": cost.to_csv(index=False, lineterminator="\n"),
        ".md": f"{markdown}\n{costs_body}\n",
        ".html": page(title, *tables),
        ".tex": LATEX_HEAD + "".join(floats),
    }
    for ending, content in files.items():
        with atomic_path(prefix + ending) as temporary:
            temporary.write_text(content, encoding="utf-8")
    print(f"wrote {prefix}.csv, .md, .html, .tex and _cost.csv: {len(table)} cells")


def latex(frame: pd.DataFrame, title: str, beneath: list[str]) -> str:
    """The table as a LaTeX float. frame: as `laid_out` returns it, with bold and ± of LaTeX."""
    names, cells = frame.iloc[:, :1].map(latex_text), frame.iloc[:, 1:]
    cells = cells.map(lambda cell: cell.replace("–", "--").replace("★", r"$^\star$"))
    return latex_float(pd.concat([names, cells], axis=1), title, beneath, texts=1)


@command
def main(argv=None):
    """Command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m eval.paper_table", description=__doc__)
    parser.add_argument("--spec", required=True, help="the group spec (JSON)")
    parser.add_argument("--scores", required=True, help="the table of scores (CSV)")
    parser.add_argument("--out", required=True, help="path of the files to write, without an ending")
    arguments = parser.parse_args(argv)
    check_outputs(arguments.out, ENDINGS, [arguments.spec, arguments.scores])
    group = read_group_spec(arguments.spec)
    if group.paper is None:
        raise UserError(f"{arguments.spec}: 'paper' names none of the paper's tables.")
    published(group.paper)
    write(group, read_scores(arguments.scores), arguments.out)


if __name__ == "__main__":
    sys.exit(main())
