"""Paths of a plan's files: runs, observations, references, and the tables and figures of a group.

All paths are relative to the folder that the workflow runs in. This module writes no file.
"""

import hashlib
from pathlib import Path

from nada.run.spec.base import REAL
from workflow.plan.figure_kinds import figures_of
from workflow.plan.measured import real_images
from workflow.plan.plan import Plan

TABLES = ("md", "html")  # a table's files for people; .csv and .tex come with them
OURS = ".safetensors"  # suffix of files in this project's layout; other checkpoints are converted


# ---- what jobs make -------------------------------------------------------------------------------


def run_folder(plan: Plan, run_id):
    return f"{plan.results}/runs/{run_id}"


def observation_file(plan: Plan, task, condition):
    return f"{plan.results}/observations/{task}/{condition}.npz"


def real_observation(plan: Plan, task):
    """The observation of a task's reference images; None where they are too few to be measured."""
    return observation_file(plan, task, REAL) if real_images(plan, task) else None


def reference_file(plan: Plan, task):
    """The file of a task's reference images; None if it has only a text."""
    return _images_file(plan, plan.config["tasks"][task].get("references"))


def training_file(plan: Plan, condition):
    """The file of the images that a condition's runs are trained on, or None."""
    return _images_file(plan, plan.training_images(condition))


def _images_file(plan: Plan, images):
    """The file of a task's images {domain, count}; None for None."""
    if not images:
        return None
    kind = "json" if image_set(plan, images["domain"]) else "npz"  # an index, or pixels
    return f"{plan.results}/references/{images['domain']}.{kind}"


def shown(plan: Plan, *groups):
    """The final files of groups: tables, grids and figures."""
    names = [*groups, *(f"{g}_paper" for g in groups if plan.groups[g].get("paper"))]
    names += [f"{g}_preference" for g in groups if answers_file(plan, g)]
    tables = [f"{plan.results}/tables/{name}.{kind}" for name in names for kind in TABLES]
    return tables + [figure for group in groups for figure in figures(plan, group)]


def answers_file(plan: Plan, group):
    """The file of people's answers about a group's models, or None."""
    return plan.groups[group].get("preference", {}).get("answers")


def preference_table(plan: Plan, group):
    """The path, without an ending, of what people prefer among a group's models."""
    return f"{plan.results}/tables/{group}_preference"


def study_folder(plan: Plan):
    """The folder of the preference study that `snakemake study` prepares."""
    return f"{plan.results}/study"


def collected(plan: Plan):
    """What `all` and the report end in: tables and figures of the groups shown, scores, claims.

    The paper's claims are no question where only tasks of the world itself are shown.
    """
    own = plan.world.get("tasks", {})
    asks = any(task not in own for group in plan.shown for task in plan.groups[group]["tasks"])
    claims = [f"{plan.results}/claims.html"] if asks else []
    return [*shown(plan, *plan.shown), f"{plan.results}/scores.csv", *claims]


def figures(plan: Plan, group):
    """The images of a group: its grid, then its figures (workflow/plan/figure_kinds.py)."""
    prefix = f"{plan.results}/figures/{group}"
    return [f"{prefix}_grid.png", *(f"{prefix}_{kind}.svg" for kind in figures_of(plan, group))]


def source_weights(plan: Plan, domain):
    """The file of a domain's source model that jobs read: the world's, or its conversion."""
    weights = plan.world["sources"][domain]["weights"]
    return converted_file(plan, domain) if is_foreign(weights) else weights


def checkpoint_weights(plan: Plan, weights):
    """The path that jobs read for a variant's `weights`: the file, the folder of a run, or the file's
    conversion."""
    return converted_file(plan, checkpoint_name(weights)) if is_foreign(weights) else weights


def converted_file(plan: Plan, name):
    return f"{plan.results}/converted/{name}{OURS}"


def checkpoint_name(weights):
    """The name of the conversion of a variant's checkpoint; unique, since two files may share a stem."""
    return f"{Path(weights).stem}-{hashlib.sha256(str(weights).encode()).hexdigest()[:8]}"


def is_foreign(weights):
    """Whether a path is a checkpoint of another project's layout, by its suffix; a run's folder is not."""
    return Path(weights).suffix not in ("", OURS) and not Path(weights).is_dir()


# ---- files of the world ---------------------------------------------------------------------------


def image_set(plan: Plan, domain):
    """The path of a domain's images in world.yaml; None if a module draws them."""
    return plan.world["references"]["domains"][domain].get("source")


def fetched_mark(plan: Plan, asset):
    """The mark file of a fetched and verified asset."""
    return f"{plan.world['assets']['folder']}/.fetched/{asset}"


def ready(plan: Plan, *paths):
    """The inputs of a job that opens files of the world.

    For an embedded file, the file; for an asset, its mark; for a plain name (a model or prompts of
    open_clip), nothing.
    """
    waits = []
    for path in paths:
        fetched = plan.world["fetched"].items()
        asset = next((name for at, name in fetched if Path(path).is_relative_to(at)), None)
        if asset is not None:
            waits.append(fetched_mark(plan, asset))
        elif Path(path).suffix:
            waits.append(path)
    return list(dict.fromkeys(waits))
