"""Tables of a group: one row per variant, one column per metric, bounds beneath.

    python -m eval.tables --spec SPEC.json --scores FILE.csv --out PREFIX

writes PREFIX.csv (numbers) and PREFIX.md, .html and .tex (for people). Cells are means over seeds
with the half-width of a 95 % t interval; arrows, digits and bold come from the metrics themselves.
Where the group asks for it, a metric has a second column, of the best snapshot by its own value, and
a second table (.md, .html) shows the differences of variants from a baseline, paired over seeds. The
last table says how long each row was trained, what share s of the published length that is, and what
it cost (eval/analysis/costs.py).
"""

import argparse
import html
import sys
from dataclasses import dataclass

import numpy as np
import pandas as pd

from eval.analysis import costs, differences, left_out, lengths
from eval.analysis.columns import Column, label, seed_values
from eval.analysis.statistics import t_interval
from eval.metrics import catalogue as metrics
from eval.metrics.fid import IMAGES_PER_FEATURE
from eval.metrics.intra_cluster_lpips import MEMBERS
from eval.metrics.metric import Metric
from eval.metrics.precision_recall import NEIGHBOURS, REFERENCE_COPIES
from eval.metrics.target import NONE_RATE, TARGET_RATE
from eval.page import PAGE, heads, items
from eval.score import LAST, read_scores
from nada.run.atomic import atomic_path
from nada.run.errors import UserError, command
from nada.run.outputs import check_outputs
from nada.run.spec.base import BOUNDS, CONDITION_KEYS, REAL
from nada.run.spec.group import GroupSpec, read_group_spec

#: Columns when the group names none.
DEFAULT_COLUMNS = (
    "fid", "kid", "intra_cluster_lpips", "mean_lpips", "target_rate", "none_rate", "factor_correlation",
    "retrieval_top1",
)  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """Mean over n seeds, half-width of its interval (None for one seed), and whether it is best."""

    metric: Metric
    mean: float
    half: float | None
    n: int
    best: bool = False

    def text(self, plus_minus: str) -> str:
        """`12.34 ± 0.56`, or `12.34` for one seed; digits from the metric."""
        digits = self.metric.digits
        if self.half is None:
            return f"{self.mean:z.{digits}f}"  # z: no minus sign before a rounded zero
        return f"{self.mean:z.{digits}f} {plus_minus} {self.half:.{digits}f}"


@dataclass(frozen=True)
class Row:
    """One condition of a task; cells in the order of the columns, None where nothing was scored."""

    condition: tuple
    label: str
    seeds: int
    cells: tuple[Cell | None, ...]

    @property
    def task(self) -> str:
        return self.condition[0]

    @property
    def method(self) -> str:
        return self.condition[1]


def rows(scores: pd.DataFrame, columns: list[Column]) -> list[Row]:
    """One row per condition, tasks and hyperparameters in the order of the scores, bounds last per task.

    Best: among a task's rows that are no bounds. Equal means (as printed) are all best, but where all
    the rows are equal, or there is one alone, none is.
    """
    found = []
    for condition, part in scores.groupby(list(CONDITION_KEYS), sort=False):
        task, method, variant, shots, warm_start = condition
        cells = []
        for column in columns:
            values, metric = seed_values(part, column), column.metric
            if len(values) == 0:
                cells.append(None)
            elif method == REAL:  # two halves of one set are no seeds: no interval
                cells.append(Cell(metric, float(values.mean()), None, len(values)))
            else:
                cells.append(Cell(metric, *t_interval(values), len(values)))
        seeds = 0 if method == REAL else part.seed.nunique()
        name = label(method, variant, int(shots), warm_start)
        key = (task, method, variant, int(shots), warm_start)
        found.append(Row(key, name, seeds, tuple(cells)))
    tasks = list(dict.fromkeys(row.task for row in found))
    order = {method: place for place, method in enumerate(BOUNDS, start=1)}
    found.sort(key=lambda row: (tasks.index(row.task), order.get(row.method, 0)))
    return [row for task in tasks for row in _mark_best([r for r in found if r.task == task])]


def _mark_best(task_rows: list[Row]) -> list[Row]:
    rivals = [row for row in task_rows if row.method not in BOUNDS]
    marked = {id(row): list(row.cells) for row in task_rows}
    for column in range(len(task_rows[0].cells)):
        cells = [(row, row.cells[column]) for row in rivals if row.cells[column] is not None]
        if not cells or cells[0][1].metric.maximize is None:
            continue
        metric = cells[0][1].metric
        printed = [round(cell.mean, metric.digits) for _, cell in cells]
        if len(set(printed)) < 2:
            continue
        best = max(printed) if metric.maximize else min(printed)
        for (row, cell), value in zip(cells, printed, strict=True):
            if value == best:
                marked[id(row)][column] = Cell(metric, cell.mean, cell.half, cell.n, True)
    return [Row(r.condition, r.label, r.seeds, tuple(marked[id(r)])) for r in task_rows]


def footer(group: GroupSpec, scores: pd.DataFrame, columns: list[Column]) -> list[str]:
    """What was measured, in sentences: counts, clusters, seeds, biases, notes on bounds."""
    last = scores[scores.step == LAST]
    runs, reals = last[last.method != REAL], last[last.method == REAL]

    def counts(name: str, table: pd.DataFrame) -> str:
        values = sorted({int(n) for n in table.loc[table.metric == name, "n"]})
        return "–".join(str(n) for n in dict.fromkeys((values[0], values[-1]))) if values else "no"

    shown = {column.name for column in columns}
    lines = []
    if shown & {"fid", "kid"}:
        lines.append(
            f"FID and KID: {counts('fid', runs)} generated images against all reference images;"
            f" real against real: halves of {counts('fid', reals)}."
        )
        per_feature = last.loc[last.metric == "fid_images_per_feature", "value"].astype(float)
        if (per_feature < IMAGES_PER_FEATURE).any():
            lines.append(
                f"Fewer than {IMAGES_PER_FEATURE} images per feature (down to"
                f" {per_feature.min():.1f}): FID is dominated by its bias."
            )
    if shown & {"precision", "recall"}:
        lines.append(f"Precision and recall: spheres that reach to neighbour number {NEIGHBOURS}.")
    for row in last[last.metric == REFERENCE_COPIES.name].itertuples():
        lines.append(
            f"Real images of {row.task}: {float(row.value):.0f} of {row.n} repeat another one;"
            " precision, recall and realism count each picture once, FID and KID as it stands."
        )
    if any(column.oracle for column in columns):
        snapshots = scores[(scores.step != LAST) & (scores.method != REAL)]
        lines.append(
            f"Best snapshot: the best of a run's snapshots by the very number shown, on"
            f" {counts('target_rate', snapshots)} images: an oracle, optimistic by its choice."
        )
    if "intra_cluster_lpips" in shown:
        lines.append(
            f"Intra-cluster LPIPS: {counts('intra_cluster_lpips', runs)} images,"
            f" k={group.k_medoids} medoids, at most"
            f" {MEMBERS} members each, mean over clusters that hold a pair."
        )
    if shown & {"factor_correlation", "retrieval_top1", "source_lpips"}:
        lines.append(
            f"Correspondence: {counts('source_lpips', runs)} latents, frozen against adapted."
        )
    seeds = sorted(runs.groupby(list(CONDITION_KEYS), sort=False).seed.nunique().unique())
    if len(seeds):
        number = "–".join(str(n) for n in dict.fromkeys((seeds[0], seeds[-1])))
        if number == "1":
            lines.append("One seed: no interval, and no claim.")
        else:
            lines.append(f"Mean over {number} seeds, ± half-width of the 95 % t interval.")
    lines += limits(group, last, columns)
    lines.append(
        "Bold: best mean of the task's adapted models, unless all are equal; the last rows are bounds."
    )
    return lines


def limits(group: GroupSpec, last: pd.DataFrame, columns: list[Column]) -> list[str]:
    """What a reader could take wrong: truncation, two questions to the judge, columns without a value."""
    lines, shown = [], [column.metric for column in columns]
    if group.truncation_psi != 1:
        lines.append(f"Truncation {group.truncation_psi:g} of the measured images.")
    targets = {name: task.target for name, task in group.tasks.items() if task.target is not None}
    styles = [task for task, target in targets.items() if target.kind == "style" and task in set(last.task)]
    if styles and {TARGET_RATE, NONE_RATE} <= set(shown) and (last.metric == NONE_RATE.name).any():
        lines.append(
            f"The target of {', '.join(styles)} is a style: there the target rate is what the judge"
            " says of the style, “none of these” what it says of the class, so both can be near 1."
        )
    measured = set(last.metric)
    absent = [metric for metric in dict.fromkeys(shown) if metric.name not in measured]
    for needs, why in (
        (metrics.needs_judge, "this world has no judge of classes"),
        (metrics.COMPARED.__contains__, "these tasks have no reference images"),
    ):
        names = [metric.label for metric in absent if needs(metric.name)]
        if names and not any(needs(name) for name in measured):
            lines.append(f"Not measured: {', '.join(names)}; {why}.")
            absent = [metric for metric in absent if not needs(metric.name)]
    if absent:
        lines.append(f"No row has a value: {', '.join(metric.label for metric in absent)}.")
    return lines


def numbers(table: list[Row], columns: list[Column], cost: pd.DataFrame) -> pd.DataFrame:
    """The table as numbers: per metric its mean, half-width of the interval, and n; then the costs."""
    of_setting = {tuple(row[:5]): row[5:] for row in cost.itertuples(index=False, name=None)}
    records = []
    for row in table:
        record = {"task": row.task, "method": row.method, "row": row.label}
        for column, cell in zip(columns, row.cells, strict=True):
            record[column.name] = cell.mean if cell else None
            record[f"{column.name}_half_width"] = cell.half if cell else None
            record[f"{column.name}_n"] = cell.n if cell else 0
        if of_setting:
            values = of_setting.get(row.condition, (None,) * len(costs.COLUMNS))
            record.update(
                list(zip(costs.COLUMNS, values, strict=True))[:-1]
            )  # n: in every metric's
        records.append(record)
    return pd.DataFrame(records)


def cost_frame(cost: pd.DataFrame) -> pd.DataFrame:
    """The last table as text: task, model, and the columns of `costs.frame`."""
    names = [label(*row) for row in cost[list(CONDITION_KEYS[1:])].itertuples(index=False, name=None)]
    heads = pd.DataFrame({"task": list(cost.task), "model": names})
    return pd.concat([heads, costs.as_text(cost)], axis=1)


def _shown(cells, bold: str, plus_minus: str = "±", missing: str = "–") -> list[str]:
    """Cells as text; `bold` is the pattern of a best one, `missing` stands where nothing was scored."""
    texts = []
    for cell in cells:
        text = missing if cell is None else cell.text(plus_minus)
        texts.append(bold.format(text) if cell is not None and cell.best else text)
    return texts


def markdown(table: list[Row], columns: list[Column], title: str, notes: list[str]) -> str:
    """A Markdown table under its title, notes beneath."""
    frame = pd.DataFrame(
        [[r.task, r.label, *_shown(r.cells, "**{}**"), r.seeds or "–"] for r in table],
        columns=["task", "model", *(column.heading for column in columns), "seeds"],
    )
    body = frame.to_markdown(index=False, disable_numparse=True)
    return f"**{title}**\n\n{body}\n\n" + "\n".join(f"- {note}" for note in notes) + "\n"


def page(table: list[Row], columns: list[Column], title: str, notes: list[str]) -> str:
    """One HTML page that needs nothing else: title, table (bounds in grey, a rule between tasks), notes."""

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
    """Plain text with LaTeX's special characters and our symbols escaped."""
    return "".join(_LATEX.get(character, character) for character in text)


def latex(table: list[Row], columns: list[Column], title: str, notes: list[str]) -> str:
    """A booktabs table (pandas Styler): caption above, a rule between tasks, notes beneath."""
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


def members(group: GroupSpec, scores: pd.DataFrame) -> pd.DataFrame:
    """The scores of a group's hyperparameters and its tasks' real images; other groups' rows are left out.

    UserError names the first condition that has no score in the group's world.
    """
    scores = scores[scores.world == group.world]
    conditions = list(scores[list(CONDITION_KEYS)].itertuples(index=False, name=None))
    found = set(conditions)
    for row in group.rows:
        if row.condition not in found:
            name = ", ".join(str(part) for part in row.condition)
            raise UserError(
                f"group {group.name}: no score of world {group.world!r} for {name}; make the"
                f" scores again with python -m eval.score."
            )
    real = (scores.method == REAL) & scores.task.isin(group.real)
    shown = set(group.conditions)
    return scores[np.array([condition in shown for condition in conditions]) | real]


def columns_of(group: GroupSpec) -> list[Column]:
    """The group's columns, an oracle's beside its metric's; UserError: an oracle without a best."""
    found = []
    for name in group.table or DEFAULT_COLUMNS:
        found.append(Column(metrics.metric(name)))
        if name in group.oracle:
            if found[-1].metric.maximize is None:
                raise UserError(f"group {group.name}: {name} has no best value; no oracle for it.")
            found.append(Column(found[-1].metric, oracle=True))
        if name in group.raw:
            found.append(Column(metrics.metric(name), raw=True))
    return found


ENDINGS = (".csv", ".md", ".html", ".tex")  # of the files that `make` gives


def make(group: GroupSpec, scores: pd.DataFrame) -> dict[str, str]:
    """The four files of a group as text: {".csv": …, ".md": …, ".html": …, ".tex": …}."""
    wanted = members(group, scores)
    asked = columns_of(group)
    last = wanted[wanted.step == LAST]
    columns = left_out.measured(group, last, asked)
    table, cost = rows(wanted, columns), costs.frame(group)
    title = group.heading
    notes = [*footer(group, wanted, columns), *left_out.notes(group, last, asked), *lengths.notes(group)]
    texts = {
        ".csv": numbers(table, columns, cost).to_csv(index=False, lineterminator="\n"),
        ".md": markdown(table, columns, title, notes),
        ".html": page(table, columns, title, notes),
        ".tex": latex(table, columns, title, notes),
    }
    if found := differences.found(wanted, columns, group.differences):
        add_table(texts, differences.frame(found, columns), differences.note(found))
    if len(cost):
        add_table(texts, cost_frame(cost), costs.NOTE)
        texts[".tex"] += plain_latex(cost_frame(cost), costs.NOTE)
    return texts


def add_table(texts: dict[str, str], frame: pd.DataFrame, note: str) -> None:
    """Put another table with a note beneath the others, in .md and .html."""
    second = frame.to_markdown(index=False, disable_numparse=True)
    texts[".md"] += f"\n{second}\n\n- {note}\n"
    second = f"{frame.to_html(index=False, border=0)}<ul>{items([note])}</ul>"
    texts[".html"] = texts[".html"].replace("</body>", f"{second}</body>")


def plain_latex(frame: pd.DataFrame, note: str) -> str:
    """A booktabs table of a frame of texts: the first two columns to the left, the note beneath."""
    text = frame.map(latex_text).rename(columns=latex_text)
    body = text.style.hide(axis="index").to_latex(
        hrules=True, position="t", position_float="centering",
        column_format="ll" + "r" * (frame.shape[1] - 2),
    )  # fmt: skip
    return body.replace(
        r"\end{table}", rf"\par\footnotesize {latex_text(note)}" + "\n" + r"\end{table}"
    )


@command
def main(argv=None):
    """Command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m eval.tables", description=__doc__)
    parser.add_argument("--spec", required=True, help="the group spec (JSON)")
    parser.add_argument("--scores", required=True, help="the table of scores (CSV)")
    parser.add_argument("--out", required=True, help="names to write, without an ending")
    arguments = parser.parse_args(argv)
    check_outputs(arguments.out, ENDINGS, [arguments.spec, arguments.scores])
    group = read_group_spec(arguments.spec)
    print(f"world {group.world}: table of group {group.name}")
    for ending, text in make(group, read_scores(arguments.scores, raw=True)).items():
        with atomic_path(arguments.out + ending) as temporary:
            temporary.write_text(text, encoding="utf-8")
        print(f"wrote {arguments.out}{ending}")


if __name__ == "__main__":
    sys.exit(main())
