"""Input files of each job besides its spec, and the command arguments that depend on them.

The rules in workflow/rules/ call these functions; paths are those of `workflow.plan.layout`.
"""

import shlex

from nada.run.run_id import MODEL
from workflow.plan.figure_kinds import kinds
from workflow.plan.layout import (
    answers_file,
    checkpoint_name,
    image_set,
    is_foreign,
    observation_file,
    preference_table,
    ready,
    real_observation,
    run_folder,
    training_file,
)
from workflow.plan.plan import Plan
from workflow.plan.runs import Run
from workflow.plan.specs import observation_spec, run_spec, study_spec

PUBLISHED = "eval/paper"  # the paper's numbers, which eval/analysis/costs.py and eval/paper_table.py read

# ---- references -----------------------------------------------------------------------------------


def reference_inputs(plan: Plan, domain):
    """Files that making a domain's references needs."""
    source = image_set(plan, domain)
    return [] if source is None else ready(plan, source)


def reference_arguments(plan: Plan, domain):
    """The arguments of the references' command that select the images; quoted for the shell."""
    drawn, count = plan.world["references"]["domains"][domain], reference_count(plan, domain)
    if "source" not in drawn:
        words = ["--domain", domain, "--count", count]
        keys = ("species", "style", "resolution")
    else:
        words = ["--source", drawn["source"], "--resolution", drawn["resolution"], "--limit", count]
        keys = ("split", "resize")
    words += [word for key in keys if key in drawn for word in (f"--{key}", drawn[key])]
    return shlex.join(map(str, words))


def reference_count(plan: Plan, domain):
    """Number of images of a domain that are drawn: the largest count of any task."""
    tasks = plan.config["tasks"].values()
    asked = [task[key] for task in tasks for key in ("references", "few_shot") if task.get(key)]
    return max(images["count"] for images in asked if images["domain"] == domain)


# ---- convert --------------------------------------------------------------------------------------


def conversions(plan: Plan):
    """{name: file of another project's layout} of all conversions: source models by domain, and the
    checkpoints of variants."""
    conditions = {run.condition for run in plan.runs.values()}
    sources = {domain: source["weights"] for domain, source in plan.world["sources"].items()}
    named = {plan.hyperparameters(condition).get("weights") for condition in conditions} - {None, ""}
    files = {**sources, **{checkpoint_name(weights): weights for weights in sorted(named)}}
    return {name: weights for name, weights in files.items() if is_foreign(weights)}


# ---- adapt ----------------------------------------------------------------------------------------


def adapt_inputs(plan: Plan, run: Run):
    """Named lists of files that a run reads besides its spec: the files in the spec, and its parent."""
    files = {role: ready(plan, *paths) for role, paths in run_spec(plan, run).files().items()}
    if run.parent is not None:
        files["parent"] = [f"{run_folder(plan, run.parent_id)}/{MODEL}"]
    return files


def parent_argument(plan: Plan, run: Run):
    """The argument of the adapt command with the parent's folder, quoted; empty without a parent."""
    parent = [] if run.parent is None else ["--parent", run_folder(plan, run.parent_id)]
    return shlex.join(parent)


# ---- observe, score, show -------------------------------------------------------------------------


def observation_inputs(plan: Plan, task, name):
    """Named lists of files that an observe job reads besides its spec: the files in the spec."""
    files = observation_spec(plan, task, name).files()
    return {role: ready(plan, *paths) for role, paths in files.items()}


def group_inputs(plan: Plan, name):
    """The observations that a group's scores and grid are made of, the real images' included."""
    reals = [real_observation(plan, task) for task in plan.groups[name]["tasks"]]
    return [path for path in reals if path] + [
        observation_file(plan, condition.task, condition.name) for condition in plan.members(name)
    ]


def record_inputs(plan: Plan, name):
    """The specs and costs of a group's runs and of their ancestors."""
    runs = [run for condition in plan.members(name) for run in plan.seeds_of(condition)]
    ids = dict.fromkeys(i for run in runs for i in plan.lineage(run))
    return [f"{run_folder(plan, i)}/{record}.json" for i in ids for record in ("run", "cost")]


def report_inputs(plan: Plan):
    """What the report opens of every group shown: specs, observations, records, published numbers, answers."""
    files = published_inputs()
    for group in plan.shown:
        files += [f"{plan.results}/scores/{group}.json", *group_inputs(plan, group), *record_inputs(plan, group)]
        files += published_inputs(plan.groups[group].get("paper"))
        files += [answers for answers in [answers_file(plan, group)] if answers]
    return list(dict.fromkeys(files))


def published_inputs(table=None):
    """Files of published numbers that a table's command reads: lengths of runs, and a paper table."""
    return [f"{PUBLISHED}/{name}.csv" for name in ("lengths", table) if name]


def figure_inputs(plan: Plan, name, kind):
    """Named lists of files that a figure reads besides the group's spec."""
    files = {"scores": [f"{plan.results}/scores/{name}.csv"]}
    reads = kinds()[kind].reads
    if "observations" in reads:
        files["observations"] = group_inputs(plan, name)
        trained = [training_file(plan, condition) for condition in plan.members(name)]
        files["references"] = list(dict.fromkeys(path for path in trained if path))
    if "curves" in reads:
        runs = [run for condition in plan.members(name) for run in plan.seeds_of(condition)]
        files["curves"] = [f"{run_folder(plan, run.id)}/curves.csv" for run in runs]
    if "records" in reads:
        files["records"] = record_inputs(plan, name)
    if shares := _shares_file(plan, name, kind):
        files["answers"] = [shares]
    return files


def figure_arguments(plan: Plan, name, kind):
    """Further arguments of a figure's command, after spec, scores and output; quoted for the shell."""
    shares = _shares_file(plan, name, kind)
    return shlex.join(["--answers", shares]) if shares else ""


def claims_arguments(plan: Plan):
    """Further arguments of the claims' command: the worlds that the plan's world is `like`; quoted for the shell."""
    others = plan.world["lineage"][1:]
    return shlex.join(["--like", *others]) if others else ""


def _shares_file(plan: Plan, name, kind):
    """The file of people's preferences that a figure uses as quality, or None."""
    asked = "answers" in kinds()[kind].reads and answers_file(plan, name)
    return f"{preference_table(plan, name)}.csv" if asked else None


def study_inputs(plan: Plan):
    """The observations whose pictures people compare."""
    return [row.observation for row in study_spec(plan).rows]
