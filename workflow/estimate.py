"""Estimate a plan's time from the measured seconds in world.yaml."""

from nada.run.spec.base import REAL
from workflow.plan.layout import shown
from workflow.plan.plan import Plan, counted


def core_seconds(plan: Plan, groups: list[str] | None = None) -> dict[str, float]:
    """Seconds of one core by stage (train, observe, show), for a plan without results.

    groups: the requested groups; default: every group. Empty for a world without measured seconds.
    """
    known = plan.world.get("seconds")
    if known is None:
        return {}
    start, groups = known["start"], plan.shown if groups is None else groups
    train = sum(start + training_seconds(plan, run.condition) for run in plan.runs_of(groups))
    thousands = plan.config["evaluation"]["fid_images"] / 1000
    seeds = len(plan.config["seeds"])
    conditions = {condition for group in groups for condition in plan.members(group)}
    observing = len(conditions) * (start + seeds * thousands * known["observation"])
    observing += len({condition.task for condition in conditions}) * (start + thousands * known["observation"])
    files = {path.rsplit(".", 1)[0] for path in shown(plan, *groups)}
    return {"train": train, "observe": observing, "show": (len(files) + len(groups)) * start}


def training_seconds(plan: Plan, condition) -> float:
    """Seconds of one run's steps; a mapper has its own number of steps, and controls have none."""
    known = plan.world["seconds"]["step"]
    hparams = plan.hyperparameters(condition, defaults=True)
    if mapper := hparams.get("mapper"):
        return mapper["iterations"] * known["mapper"]
    steps = hparams.get("iterations", 0)
    return steps * known.get(condition.method, known["other"])


def forecast(plan: Plan, rule: str, wildcards: dict) -> tuple[str, float | None]:
    """(kind, forecast seconds of one core) of a job; jobs of one kind have the same speed.

    wildcards: as Snakemake reads them from the job's files. Seconds are None for a world without
    measured seconds.
    """
    if rule.endswith("_spec"):  # a copy
        return rule, 0.0
    known = plan.world.get("seconds")
    if rule == "adapt":
        condition = plan.conditions[wildcards["task"], wildcards["condition"]]
        mapper = plan.hyperparameters(condition, defaults=True).get("mapper")
        kind = f"adapt {condition.method}{' mapper' if mapper else ''}"
        return kind, known and known["start"] + training_seconds(plan, condition)
    if rule == "observe":
        passes = 1 if wildcards["condition"] == REAL else len(plan.config["seeds"])
        images = passes * plan.config["evaluation"]["fid_images"]
        return rule, known and known["start"] + images / 1000 * known["observation"]
    kind = f"figure {wildcards['kind']}" if rule == "figure" else rule
    return kind, known and known["start"]


def sentence(plan: Plan, cores: int, what: str = "all", groups: list[str] | None = None) -> str:
    """One line of text with the estimate, or with the reason why there is none.

    what: the requested targets; groups: the groups that they need, [] if they need no runs.
    """
    if groups == []:
        return f"estimate: none, since no group of runs is requested by name ({what})"
    stages = core_seconds(plan, groups)
    if not stages:
        return f"estimate: none, world '{plan.world['name']}' names no seconds"
    total = sum(stages.values())
    shares = ", ".join(f"{stage} {seconds / total:.0%}" for stage, seconds in stages.items())
    return (
        f"estimate of {what}, if nothing of it is made yet: {minutes(total)} of one core ({shares}),"
        f" about {minutes(total / max(1, cores))} on {counted(cores, 'core')}"
    )


def minutes(seconds: float) -> str:
    """A duration as text: `12 minutes`, or hours from two hours on."""
    value = seconds / 60
    if value >= 120:
        return f"{value / 60:.1f} hours"
    whole = max(1, round(value))
    return f"{whole} minute{'s' * (whole > 1)}"
