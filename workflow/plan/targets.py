"""The targets of a command line, checked against the plan, and the groups that they need."""

import os
import textwrap
from pathlib import PurePath

from snakemake.cli import get_argument_parser

from nada.run.errors import UserError
from workflow.plan.checking import nearest
from workflow.plan.groups import STUDY
from workflow.plan.layout import shown
from workflow.plan.plan import RULES

#: Descriptions of the targets besides groups, for `snakemake --list`.
MADE = {
    "all": "every group, the joined scores, the claims and the report (the default)",
    "tables": "the table of every group",
    "figures": "the grid and figures of every group",
    "report": "one page with the result, every table, figure and picture",
    "publish": "publication.zip: tables, figures, report, claims, scores, records and their checksums",
    "study": "pairs of pictures for people to compare (docs/preference-study.md)",
    "estimate": "hours, disk and memory of `all`, forecast from measured runs; makes no file",
    "assets": "every weight and data set of the world, fetched and verified",
    "pretrain_world": "every network of the mini world, trained again (about three hours of one core)",
}
WRITTEN = ("results/world_build",)  # by workflow/rules/pretrain.smk, besides the plan's results
EVERY_GROUP = ("all", "tables", "figures", "report", "scores", "claims", "pages", "html", "provenance", "publish")


def asked_targets(argv):
    """The targets on Snakemake's command line; Snakemake does not pass them to the Snakefile."""
    try:
        return get_argument_parser().parse_known_args(argv)[0].targets
    except SystemExit:  # no command line of Snakemake's: another program runs the workflow
        return []


def check_targets(plan, asked):
    """Refuse a word that is not a target, rule or file; Snakemake checks other paths."""
    known = plan.targets
    for word in asked:
        path = os.path.dirname(word) or os.path.splitext(word)[1] or os.path.exists(word)
        if path and not os.path.exists(word):
            _check_place(plan, word)
            _check_shown(plan, word)
        if not path and word not in {*known, *RULES}:
            raise UserError(f"there is no target '{word}'; {nearest(word, known)}")


def _check_place(plan, word):
    """Refuse a path outside the folders that jobs write."""
    folders = [plan.results, *WRITTEN, *([plan.world["assets"]["folder"]] if "assets" in plan.world else [])]
    if not any(PurePath(os.path.normpath(word)).is_relative_to(folder) for folder in folders):
        raise UserError(f"no job makes '{word}'; results are written under {plan.results}.")


def _check_shown(plan, word):
    """Refuse a path among the tables and figures that no group has."""
    known = [os.path.splitext(path) for path in shown(plan, *plan.groups)]
    stem, ending = os.path.splitext(word)
    if os.path.dirname(stem) in {os.path.dirname(path) for path, _ in known}:
        stems = dict.fromkeys(path for path, _ in known)
        if stem.removesuffix("_cost") not in stems:
            raise UserError(f"no job makes '{word}'; {nearest(word, [path + ending for path in stems])}")


def listing(plan):
    """The text of `snakemake --list`: a line for each target and group, and the parts of each group."""
    width = max(len(name) for name in (*MADE, *plan.config["groups"])) + 2
    lines = [f"Targets of world '{plan.world['name']}', as in: snakemake all --cores 2", ""]
    lines += [f"{name:<{width}}{made}" for name, made in MADE.items() if name in plan.targets]
    lines += ["", "Groups, and under each its parts, which make its runs of one variant or method alone:", ""]
    parts = []
    for name in plan.groups:
        if name in plan.config["groups"]:
            lines += [*_wrapped(parts), f"{name:<{width}}{plan.groups[name]['title']}"]
            parts = []
        else:
            parts.append(name)
    return "\n".join([*lines, *_wrapped(parts)])


def _wrapped(names):
    """The names of a group's parts, indented, in lines of at most 100 characters."""
    return textwrap.wrap(
        " ".join(names), 100, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False
    )


def groups_asked(plan, asked):
    """The groups that targets need; without targets (`all`), those in `show`.

    Empty for targets that need no group by name, such as `assets` or the path of one file.
    """
    if not asked or any(word in EVERY_GROUP for word in asked):
        return list(dict.fromkeys([*plan.shown, *(w for w in asked if w in plan.config["groups"])]))
    study = plan.config.get("study", {}).get("group")
    words = [study if word == STUDY else word for word in asked]
    return list(dict.fromkeys(word for word in words if word in plan.groups))
