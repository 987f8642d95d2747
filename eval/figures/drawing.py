"""What figures share: the command line, style, legends, titles and the names of axes."""

import argparse
import textwrap
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from eval.analysis.names import task_name
from eval.analysis.statistics import t_interval
from eval.figures import files
from eval.score import read_scores
from nada.run.errors import UserError
from nada.run.outputs import check_outputs
from nada.run.spec.group_spec import read_group_spec

#: Height and width of one panel, and the smallest width of a figure, in inches.
PANEL, LEAST_WIDTH = (2.1, 2.9), 7
#: Widths of a letter in a legend and in a title, in inches.
LETTER, TITLE_LETTER = 0.063, 0.078

#: How a figure writes its files.
save = files.save


def axes(rows: int, columns: int, **options):
    """(figure, axes [rows, columns]) in seaborn's style whitegrid, with small type."""
    import matplotlib

    matplotlib.use("Agg")
    import seaborn
    from matplotlib import pyplot as plt

    seaborn.set_theme(context="paper", style="whitegrid", font_scale=0.9)
    matplotlib.rcParams["svg.hashsalt"] = "figures"  # else ids are random
    matplotlib.rcParams["pdf.fonttype"] = 42  # TrueType: journals refuse Type 3
    size = (max(LEAST_WIDTH, PANEL[1] * columns), PANEL[0] * rows + 0.7)
    return plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained", **options)


def over_seeds(rows: pd.DataFrame, keys: list[str], value: str = "value") -> pd.DataFrame:
    """One row per value of `keys`, in order of appearance: mean, half_width of the 95 % t interval, n (seeds).

    half_width is None for one seed. Where the rows say how many images a value is of (n), `images` is the
    largest.
    """
    found = []
    for key, part in rows.groupby(keys, sort=False):
        mean, half = t_interval(part[value])
        found.append((*key, mean, half, len(part), *([int(part.n.max())] if "n" in part else [])))
    return pd.DataFrame(found, columns=[*keys, "mean", "half_width", "n", *(["images"] if "n" in rows else [])])


def metric_label(metric, table: pd.DataFrame) -> str:
    """The name of a metric for an axis: name, unit, the better direction, and n of the rows drawn.

    table: rows of one metric with columns n (seeds) and images.
    """
    return f"{metric.heading}\nn = {count(table.images, 'image')}, {seeds(table.n)}"


def seeds(numbers) -> str:
    """`1 seed`, `7 seeds`, `5–7 seeds`: for the axes and titles of figures."""
    return count(numbers, "seed")


def count(numbers, what: str) -> str:
    """A number of things, or the range of several numbers."""
    low, high = int(min(numbers)), int(max(numbers))
    return f"{low:,} {what}{'s' if high != 1 else ''}" if low == high else f"{low:,}–{high:,} {what}s"


def side_title(axis, text: str) -> None:
    """Write a panel's title at its left edge."""
    axis.set_title(text, loc="left", fontsize=9)


def task_title(task: str, facet: str = "") -> str:
    """The title of a panel: the task, and what its models have in common."""
    return ": ".join(part for part in (task_name(task), facet) if part)


def beside(axis, lines: dict) -> None:
    """Draw a legend {label: line} right of a panel, for a row of panels."""
    axis.legend(
        lines.values(), lines.keys(), loc="upper left", bbox_to_anchor=(1.02, 1.04), frameon=False, fontsize=8,
        handlelength=2.6,
    )  # fmt: skip


def legend(figure, lines: dict) -> None:
    """Draw one legend {label: line} below all panels, in as many columns as fit."""
    width = 0.6 + LETTER * max(len(label) for label in lines)
    columns = max(1, min(len(lines), int(figure.get_figwidth() / width)))
    figure.legend(
        lines.values(), lines.keys(), loc="outside lower center", ncols=columns,
        frameon=False, fontsize=8,
    )  # fmt: skip


def title(figure, text: str) -> None:
    """Write a title above all panels, in lines that fit."""
    width = int(figure.get_figwidth() / TITLE_LETTER)
    lines = [part for line in text.split("\n") for part in textwrap.wrap(line, width)]
    figure.suptitle("\n".join(lines), fontsize=10)


def command_line(argv, module: str, doc: str, draw: Callable, raw: bool = False, **options: str):
    """Run a figure's command: read group and scores, then call draw(group, scores, prefix).

    module: the name of the figure's file. raw: whether scores include those of raw weights. options: name
    -> help of further optional files; draw gets their paths by name, None if not given.
    """
    parser = argparse.ArgumentParser(prog=f"python -m eval.figures.{module}", description=doc)
    parser.add_argument("--spec", required=True, help="the group spec (JSON)")
    parser.add_argument("--scores", required=True, help="the table of scores (CSV)")
    parser.add_argument("--out", required=True, help="path of the files to write, without an ending")
    for name, text in options.items():
        parser.add_argument(f"--{name}", help=text)
    arguments = parser.parse_args(argv)
    given = {name: getattr(arguments, name) for name in options}
    reads = [arguments.spec, arguments.scores, *given.values()]
    check_outputs(arguments.out, files.ENDINGS, reads)
    group = read_group_spec(arguments.spec)
    print(f"world {group.world}: figure '{module}' of group {group.name}")
    Path(arguments.out).parent.mkdir(parents=True, exist_ok=True)
    draw(group, read_scores(arguments.scores, raw), arguments.out, **given)


def read_curves(path) -> pd.DataFrame:
    """The curves of one run, indexed by step; empty for a run without training.

    Column `layers` is text. UserError: no such file, or no column `step`.
    """
    try:
        curves = pd.read_csv(path, dtype={"layers": str})
    except FileNotFoundError:
        raise UserError(f"{path}: no such curves; make the run again.") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a run's curves ({error}).") from None
    if "step" not in curves.columns:
        raise UserError(f"{path}: not a run's curves, column 'step' is missing.")
    return curves.set_index("step")
