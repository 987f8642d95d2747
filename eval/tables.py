"""The tables of a group: one row per condition, one column per metric, bounds last.

    python -m eval.tables --spec SPEC.json --scores FILE.csv --out PREFIX

writes PREFIX.csv (numbers) and PREFIX.md, .html and .tex (for people). Cells are means over seeds with the
half-width of a 95 % t interval; arrows, digits and bold follow the declaration of the metric
(eval/metrics/metric.py). If the group asks for it, a metric has a second column, of the best snapshot by
its own value or of raw weights, and a second table (.md, .html) shows differences from a baseline, paired
over seeds. The last table gives each row's length, its share s of the published length, and its costs
(eval/analysis/costs.py).
"""

import argparse
import sys
from dataclasses import dataclass

import numpy as np
import pandas as pd

from eval.analysis import costs, differences, left_out, lengths
from eval.analysis.columns import Column
from eval.analysis.rows import Row, rows
from eval.metrics import catalogue
from eval.metrics.fid import IMAGES_PER_FEATURE
from eval.metrics.intra_cluster_lpips import MEMBERS
from eval.metrics.precision_recall import NEIGHBOURS, REFERENCE_COPIES
from eval.metrics.target_rate import NONE_RATE, TARGET_RATE
from eval.metrics.zero_shot import ZERO_SHOT_SHARE
from eval.pages.rendering import page
from eval.score import LAST, read_scores
from eval.table_formats import (
    html_frame,
    html_table,
    latex,
    latex_frame,
    markdown,
    markdown_after,
)
from nada.run.atomic import atomic_path
from nada.run.errors import UserError, command
from nada.run.outputs import check_outputs
from nada.run.spec.base import CONDITION_KEYS, REAL
from nada.run.spec.group_spec import GroupSpec, read_group_spec

#: Columns when the group names none.
DEFAULT_COLUMNS = (
    "fid", "kid", "intra_cluster_lpips", "mean_lpips", "target_rate", "none_rate", "factor_correlation",
    "retrieval_top1",
)  # fmt: skip


def footer(group: GroupSpec, scores: pd.DataFrame, columns: list[Column]) -> list[str]:
    """The notes under the table: numbers of images, clusters and seeds, biases, bounds."""
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
            f" real images: two halves of {counts('fid', reals)}."
        )
        per_feature = last.loc[last.metric == "fid_images_per_feature", "value"].astype(float)
        if (per_feature < IMAGES_PER_FEATURE).any():
            lines.append(
                f"Fewer than {IMAGES_PER_FEATURE} images per feature (down to"
                f" {per_feature.min():.1f}): FID is dominated by its bias."
            )
    if shown & {"precision", "recall"}:
        lines.append(f"Precision and recall: k = {NEIGHBOURS} nearest neighbours.")
    for row in last[last.metric == REFERENCE_COPIES.name].itertuples():
        lines.append(
            f"Real images of {row.task}: {float(row.value):.0f} of {row.n} repeat another image; precision,"
            " recall and realism count repeated images once, FID and KID every time."
        )
    if any(column.oracle for column in columns):
        snapshots = scores[(scores.step != LAST) & (scores.method != REAL)]
        lines.append(
            f"Best snapshot: the best of a run's snapshots by the value shown, on"
            f" {counts('target_rate', snapshots)} images: an oracle, so it is optimistic."
        )
    if "intra_cluster_lpips" in shown:
        lines.append(
            f"Intra-cluster LPIPS: {counts('intra_cluster_lpips', runs)} images,"
            f" k={group.k_medoids} medoids, at most"
            f" {MEMBERS} members each, mean over clusters with two members or more."
        )
    if shown & {"factor_correlation", "retrieval_top1", "source_lpips"}:
        lines.append(
            f"Correspondence: {counts('source_lpips', runs)} latent codes, adapted against source model."
        )
    if ZERO_SHOT_SHARE.name in shown:
        lines += zero_shot_notes(group, counts(ZERO_SHOT_SHARE.name, runs))
    seeds = sorted(runs.groupby(list(CONDITION_KEYS), sort=False).seed.nunique().unique())
    if len(seeds):
        number = "–".join(str(n) for n in dict.fromkeys((seeds[0], seeds[-1])))
        if number == "1":
            lines.append("One seed: no interval.")
        else:
            lines.append(f"Mean over {number} seeds, ± half-width of the 95 % t interval.")
    lines += limits(group, last, columns)
    lines.append(
        "Bold: best mean of a task's adapted models, unless all are equal. The last rows of a task are bounds."
    )
    return lines


def zero_shot_notes(group: GroupSpec, images: str) -> list[str]:
    """What the zero-shot share is, on which tasks, and what it is not."""
    tasks = {}
    for task, spec in group.tasks.items():
        if spec.zero_shot is not None:
            tasks.setdefault((spec.zero_shot.clip, *spec.zero_shot.texts), []).append(task)
    return [
        f"Zero-shot share of {', '.join(names)}: the share of {images} images that the CLIP {clip}, which steers no"
        f" adaptation, places nearer to “{first}” than to “{second}”. It measures this CLIP's association of pictures"
        " with two words, not people; compare it with the source model's."
        for (clip, first, second), names in tasks.items()
    ]


def limits(group: GroupSpec, last: pd.DataFrame, columns: list[Column]) -> list[str]:
    """Notes against misreading: truncation, targets that are styles, columns without a value."""
    lines, shown = [], [column.metric for column in columns]
    if group.truncation_psi != 1:
        lines.append(f"All images are generated at truncation {group.truncation_psi:g}.")
    targets = {name: task.target for name, task in group.tasks.items() if task.target is not None}
    styles = [task for task, target in targets.items() if target.kind == "style" and task in set(last.task)]
    if styles and {TARGET_RATE, NONE_RATE} <= set(shown) and (last.metric == NONE_RATE.name).any():
        lines.append(
            f"The target of {', '.join(styles)} is a style: its target rate is about the style, “none of"
            " these” about the class, so both can be near 1."
        )
    measured = set(last.metric)
    absent = [metric for metric in dict.fromkeys(shown) if metric.name not in measured]
    for need, why in (
        ("judge", "this world has no judge of classes"),
        ("references", "these tasks have no reference images"),
    ):
        names = [metric.label for metric in absent if metric.needs == need]
        if names and not any(catalogue.needs(name) == need for name in measured):
            lines.append(f"Not measured: {', '.join(names)}; {why}.")
            absent = [metric for metric in absent if metric.needs != need]
    if absent:
        lines.append(f"Without a value in any row: {', '.join(metric.label for metric in absent)}.")
    return lines


def numbers(table: list[Row], columns: list[Column], cost: pd.DataFrame) -> pd.DataFrame:
    """The table as numbers: for each metric mean, half-width of the interval and n; then the costs."""
    of_condition = {tuple(row[:5]): row[5:] for row in cost.itertuples(index=False, name=None)}
    records = []
    for row in table:
        record = {"task": row.task, "method": row.method, "row": row.label}
        for column, cell in zip(columns, row.cells, strict=True):
            record[column.name] = cell.mean if cell else None
            record[f"{column.name}_half_width"] = cell.half if cell else None
            record[f"{column.name}_n"] = cell.n if cell else 0
        if of_condition:
            values = of_condition.get(row.condition, (None,) * len(costs.COLUMNS))
            # without the last, n, which every metric has
            record.update(list(zip(costs.COLUMNS, values, strict=True))[:-1])
        records.append(record)
    return pd.DataFrame(records)


def members(group: GroupSpec, scores: pd.DataFrame) -> pd.DataFrame:
    """The scores of a group's conditions and of its tasks' real images.

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
    """The group's columns; those of oracles and raw weights follow their metric's.

    UserError: an unknown metric, or an oracle of a metric without a direction.
    """
    found = []
    for name in group.table or DEFAULT_COLUMNS:
        found.append(Column(catalogue.metric(name)))
        if name in group.oracle:
            if found[-1].metric.maximize is None:
                raise UserError(f"group {group.name}: {name} has no best value; take it out of 'oracle'.")
            found.append(Column(found[-1].metric, oracle=True))
        if name in group.raw:
            found.append(Column(catalogue.metric(name), raw=True))
    return found


ENDINGS = (".csv", ".md", ".html", ".tex")  # of the files that `make` gives


@dataclass(frozen=True)
class GroupTable:
    """What a group's files show: the table with its notes, paired differences, costs.

    differences: as `eval.analysis.differences.found` returns them. cost: `eval.analysis.costs.frame`.
    """

    columns: list[Column]
    rows: list[Row]
    notes: list[str]
    differences: list[tuple]
    cost: pd.DataFrame


def computed(group: GroupSpec, scores: pd.DataFrame) -> GroupTable:
    """The numbers and notes of a group. scores: with the rows of raw weights."""
    wanted = members(group, scores)
    asked = columns_of(group)
    last = wanted[wanted.step == LAST]
    columns = left_out.measured(group, last, asked)
    notes = [*footer(group, wanted, columns), *left_out.notes(group, last, asked), *lengths.notes(group)]
    found = differences.found(wanted, columns, group.differences)
    return GroupTable(columns, rows(wanted, columns), notes, found, costs.frame(group))


def make(group: GroupSpec, scores: pd.DataFrame) -> dict[str, str]:
    """The four files of a group as text: {".csv": …, ".md": …, ".html": …, ".tex": …}."""
    table, title = computed(group, scores), group.heading
    columns, cost, shown = table.columns, table.cost, (table.rows, table.columns)
    more = []  # (part of a caption, table of texts, columns of text, note)
    if table.differences:
        frame = differences.frame(table.differences, columns)
        more.append(("differences", frame, 3, differences.note(table.differences)))
    if len(cost):
        more.append(("costs", costs.as_text(cost), 2, costs.NOTE))
    pages = [html_frame(frame, [note], texts) for _, frame, texts, note in more]
    floats = [latex_frame(frame, f"{title}: {what}", note, texts) for what, frame, texts, note in more]
    return {
        ".csv": numbers(table.rows, columns, cost).to_csv(index=False, lineterminator="\n"),
        ".md": markdown(*shown, title, table.notes)
        + "".join(markdown_after(frame, note) for _, frame, _, note in more),
        ".html": page(title, html_table(*shown, table.notes), *pages),
        ".tex": latex(*shown, title, table.notes) + "".join(floats),
    }


@command
def main(argv=None):
    """Command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m eval.tables", description=__doc__)
    parser.add_argument("--spec", required=True, help="the group spec (JSON)")
    parser.add_argument("--scores", required=True, help="the table of scores (CSV)")
    parser.add_argument("--out", required=True, help="path of the files to write, without an ending")
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
