"""Tables of a group: one row per variant, one column per metric, bounds beneath.

    python -m eval.tables --settings GROUP.json --scores FILE.csv --out PREFIX

writes PREFIX.csv (numbers) and PREFIX.md, .html and .tex (for people). Cells are means over seeds
with the half-width of a 95 % t interval; arrows, digits and bold come from the metrics themselves.
Where the group asks for it, a metric has a second column, of the best snapshot by its own value, and
a second table (.md, .html) the differences of variants from a baseline, paired over seeds.
"""

import argparse
import html
import sys
from dataclasses import dataclass

import numpy as np
import pandas as pd

from eval import lengths, metrics
from eval.diversity import CLUSTERS, MEMBERS
from eval.fid import IMAGES_PER_FEATURE
from eval.metric import Metric
from eval.page import PAGE, heads, items
from eval.precision_recall import NEIGHBOURS
from eval.score import LAST, RAW, WEIGHTS, read_scores
from eval.settings import REAL, SETTING_KEYS, Group, read_group
from eval.statistics import LEAST_SEEDS, UNDECIDED, holm, seeds_needed, sign_flip_p, t_interval
from nada.atomic import atomic_path
from nada.errors import UserError, command
from nada.outputs import check_outputs

#: Columns when the group names none.
DEFAULT_COLUMNS = (
    "fid", "kid", "cluster_lpips", "mean_lpips", "target_rate", "none_rate", "factor_correlation",
    "retrieval_top1",
)  # fmt: skip
#: Controls: bounds, never the best of anything; last in a table, in this order.
SOURCE, REPLAY = "source", "replay"
BOUNDS = (SOURCE, REPLAY, REAL)


@dataclass(frozen=True)
class Column:
    """A metric of the model as its run left it; with oracle, of the best of its snapshots; with
    raw, of the weights behind its average."""

    metric: Metric
    oracle: bool = False
    raw: bool = False

    @property
    def name(self) -> str:
        return self.metric.name + "_oracle" * self.oracle + "_raw" * self.raw

    @property
    def heading(self) -> str:
        if self.raw:
            return f"{self.metric.label}, raw weights {self.metric.arrow}"
        if not self.oracle:
            return self.metric.heading
        return f"{self.metric.label}, best snapshot {self.metric.arrow}"


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
    """One setting of a task; cells in the order of the columns, None where nothing was scored."""

    task: str
    method: str
    label: str
    seeds: int
    cells: tuple[Cell | None, ...]


def _label(method: str, variant: str, shots: int, warm_start: str) -> str:
    if method == REAL:
        return "real images (two halves)"
    if method == SOURCE:
        return "source model, unchanged"
    if method == REPLAY:
        return f"the {shots} target images, replayed"
    parts = [method, variant.replace("_", " ")]
    if shots:
        parts.append(f"{shots}-shot")
    if warm_start != "source":
        parts.append(f"from {warm_start}")
    return " ".join(part for part in parts if part)


def seed_values(part: pd.DataFrame, column: Column) -> pd.Series:
    """One value per seed [seed -> float] of one setting's scores; empty where nothing was scored.

    Oracle: the best over a seed's snapshots, where there are two or more of them.
    """
    part = part[part.weights == (RAW if column.raw else WEIGHTS)]
    part = part[part.metric == column.metric.name].astype({"value": float})
    if not column.oracle:
        return part[part.step == LAST].set_index("seed").value
    part = part[part.step != LAST]
    if part.step.nunique() < 2:
        return part.set_index("seed").value.iloc[:0]
    by_seed = part.groupby("seed").value
    return by_seed.max() if column.metric.maximize else by_seed.min()


def rows(scores: pd.DataFrame, columns: list[Column]) -> list[Row]:
    """One row per setting, tasks and settings in the order of the scores, bounds last per task.

    Best: among a task's rows that are no bounds, when there are two or more; equal means (as
    printed) are all best.
    """
    found = []
    for setting, part in scores.groupby(list(SETTING_KEYS), sort=False):
        task, method, variant, shots, warm_start = setting
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
        label = _label(method, variant, int(shots), warm_start)
        found.append(Row(task, method, label, seeds, tuple(cells)))
    tasks = list(dict.fromkeys(row.task for row in found))
    order = {method: place for place, method in enumerate(BOUNDS, start=1)}
    found.sort(key=lambda row: (tasks.index(row.task), order.get(row.method, 0)))
    return [row for task in tasks for row in _mark_best([r for r in found if r.task == task])]


def _mark_best(task_rows: list[Row]) -> list[Row]:
    rivals = [row for row in task_rows if row.method not in BOUNDS]
    marked = {id(row): list(row.cells) for row in task_rows}
    if len(rivals) >= 2:
        for column in range(len(rivals[0].cells)):
            cells = [(row, row.cells[column]) for row in rivals if row.cells[column] is not None]
            if not cells or cells[0][1].metric.maximize is None:
                continue
            metric = cells[0][1].metric
            printed = [round(cell.mean, metric.digits) for _, cell in cells]
            best = max(printed) if metric.maximize else min(printed)
            for (row, cell), value in zip(cells, printed, strict=True):
                if value == best:
                    marked[id(row)][column] = Cell(metric, cell.mean, cell.half, cell.n, True)
    return [Row(r.task, r.method, r.label, r.seeds, tuple(marked[id(r)])) for r in task_rows]


def footer(scores: pd.DataFrame, columns: list[Column], k: int) -> list[str]:
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
    if any(column.oracle for column in columns):
        snapshots = scores[(scores.step != LAST) & (scores.method != REAL)]
        lines.append(
            f"Best snapshot: the best of a run's snapshots by the very number shown, on"
            f" {counts('target_rate', snapshots)} images: an oracle, optimistic by its choice."
        )
    if "cluster_lpips" in shown:
        lines.append(
            f"Cluster LPIPS: {counts('cluster_lpips', runs)} images, k={k} medoids, at most"
            f" {MEMBERS} members each, mean over clusters that hold a pair."
        )
    if shown & {"factor_correlation", "retrieval_top1", "source_lpips"}:
        lines.append(
            f"Correspondence: {counts('source_lpips', runs)} latents, frozen against adapted."
        )
    seeds = sorted(runs.groupby(list(SETTING_KEYS), sort=False).seed.nunique().unique())
    if len(seeds):
        number = "–".join(str(n) for n in dict.fromkeys((seeds[0], seeds[-1])))
        if number == "1":
            lines.append("One seed: no interval, and no claim.")
        else:
            lines.append(f"Mean over {number} seeds, ± half-width of the 95 % t interval.")
    lines.append("Bold: best mean of the task's adapted models; the last rows are bounds.")
    return lines


def numbers(table: list[Row], columns: list[Column]) -> pd.DataFrame:
    """The table as numbers: per metric its mean, half-width of the interval, and n."""
    records = []
    for row in table:
        record = {"task": row.task, "method": row.method, "row": row.label}
        for column, cell in zip(columns, row.cells, strict=True):
            record[column.name] = cell.mean if cell else None
            record[f"{column.name}_half_width"] = cell.half if cell else None
            record[f"{column.name}_n"] = cell.n if cell else 0
        records.append(record)
    return pd.DataFrame(records)


@dataclass(frozen=True)
class Difference:
    """A variant minus its baseline over the seeds that both have: one metric of one task.

    mean, half: of the paired differences, as measured (not signed by what is better). p: two-sided
    exact sign-flip test, Holm-corrected over the rows of its column; None below LEAST_SEEDS seeds.
    """

    metric: Metric
    mean: float
    half: float | None
    p: float | None

    def text(self) -> str:
        """`+1.23 ± 0.45, p 0.06`; `undecided` in place of p where the seeds are too few."""
        spread = "" if self.half is None else f" ± {self.half:.{self.metric.digits}f}"
        verdict = UNDECIDED if self.p is None else f"p {self.p:.2g}"
        return f"{self.mean:+z.{self.metric.digits}f}{spread}, {verdict}"


def differences(scores: pd.DataFrame, columns: list[Column], against) -> list[tuple]:
    """(task, variant, baseline, [Difference or None per column]) of every pair of `against`.

    against: (baseline variant, its variants) as the group names them. Pairs without a seed in common are left out.
    """
    found = []
    for task, of_task in scores.groupby("task", sort=False):
        by_variant = {v: part for v, part in of_task.groupby("variant") if v}
        pairs = [(v, b) for b, variants in against for v in variants]
        pairs = [pair for pair in pairs if set(pair) <= set(by_variant)]
        per_column = []
        for column in columns:
            values = {v: seed_values(part, column) for v, part in by_variant.items()}
            paired = [(values[v] - values[b]).dropna().to_numpy() for v, b in pairs]
            tested = [i for i, d in enumerate(paired) if len(d) >= LEAST_SEEDS]
            p = dict(zip(tested, holm([sign_flip_p(paired[i], "two-sided") for i in tested])))
            per_column.append(
                [
                    Difference(column.metric, *t_interval(d), p.get(i)) if len(d) else None
                    for i, d in enumerate(paired)
                ]
            )
        rows_of_task = zip(*per_column, strict=True)
        found += [(task, *pair, list(row)) for pair, row in zip(pairs, rows_of_task, strict=True)]
    return found


def difference_frame(found: list[tuple], columns: list[Column]) -> pd.DataFrame:
    """The second table as text: task, variant, baseline, one cell per column."""
    return pd.DataFrame(
        [
            [task, variant.replace("_", " "), baseline.replace("_", " ")]
            + [cell.text() if cell else "–" for cell in cells]
            for task, variant, baseline, cells in found
        ],
        columns=["task", "variant", "minus", *(column.heading for column in columns)],
    )


DIFFERENCE_NOTE = (
    "Differences, paired over seeds: mean, 95 % t interval; p of the two-sided exact sign-flip test,"
    f" Holm-corrected over a task's rows; undecided: fewer than {LEAST_SEEDS} seeds. {{rows}} rows need"
    " {needed} seeds before p can fall below 5 %: look at the intervals."
)


def difference_note(found: list[tuple]) -> str:
    """What stands beneath the second table; two-sided tests are twice as many as claims."""
    tasks = [task for task, *_ in found]
    most = max(tasks.count(task) for task in tasks)
    return DIFFERENCE_NOTE.format(rows=most, needed=seeds_needed(2 * most))


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
    "±": r"$\pm$", "≥": r"$\geq$", "–": "--", "↑": r"$\uparrow$", "↓": r"$\downarrow$",
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


def members(group: Group, scores: pd.DataFrame) -> pd.DataFrame:
    """The scores of a group's settings and its tasks' real images; other groups' rows are left out.

    UserError names the first setting that has no score in the group's world.
    """
    scores = scores[scores.world == group.world]
    settings = list(scores[list(SETTING_KEYS)].itertuples(index=False, name=None))
    found = set(settings)
    for member in group.members:
        if member not in found:
            name = ", ".join(str(part) for part in member)
            raise UserError(
                f"group {group.name}: no score of world {group.world!r} for {name}; make the"
                f" scores again with python -m eval.score."
            )
    real = (scores.method == REAL) & scores.task.isin(group.real)
    return scores[np.array([setting in group.members for setting in settings]) | real]


def columns_of(group: Group) -> list[Column]:
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


def make(group: Group, scores: pd.DataFrame) -> dict[str, str]:
    """The four files of a group as text: {".csv": …, ".md": …, ".html": …, ".tex": …}."""
    wanted = members(group, scores)
    columns = columns_of(group)
    table = rows(wanted, columns)
    title = f"World {group.world}: {group.title}"
    notes = [*footer(wanted, columns, group.k_medoids or CLUSTERS), *lengths.notes(group)]
    texts = {
        ".csv": numbers(table, columns).to_csv(index=False, lineterminator="\n"),
        ".md": markdown(table, columns, title, notes),
        ".html": page(table, columns, title, notes),
        ".tex": latex(table, columns, title, notes),
    }
    if found := differences(wanted, columns, group.against):
        frame = difference_frame(found, columns)
        second = frame.to_markdown(index=False, disable_numparse=True)
        note = difference_note(found)
        texts[".md"] += f"\n{second}\n\n- {note}\n"
        second = frame.to_html(index=False, border=0) + f"<ul><li>{note}</li></ul>"
        texts[".html"] = texts[".html"].replace("</body>", f"{second}</body>")
    return texts


@command
def main(argv=None):
    """Command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m eval.tables", description=__doc__)
    parser.add_argument("--settings", required=True, help="the group file (JSON)")
    parser.add_argument("--scores", required=True, help="the table of scores (CSV)")
    parser.add_argument("--out", required=True, help="names to write, without an ending")
    arguments = parser.parse_args(argv)
    check_outputs(arguments.out, ENDINGS, [arguments.settings, arguments.scores])
    group = read_group(arguments.settings)
    print(f"world {group.world}: table of group {group.name}")
    for ending, text in make(group, read_scores(arguments.scores, raw=True)).items():
        with atomic_path(arguments.out + ending) as temporary:
            temporary.write_text(text, encoding="utf-8")
        print(f"wrote {arguments.out}{ending}")


if __name__ == "__main__":
    sys.exit(main())
