"""Check that the tables and figures of groups can be made: grids, sweeps, comparisons, oracles. No torch."""

from pathlib import Path

from nada.run.run_id import DEFAULT_SHOTS
from workflow.plan.checking import ConfigError, known_name
from workflow.plan.figure_kinds import FOLDER, kinds
from workflow.plan.measured import LEAST_REAL, real_images

ANSWERS = (  # columns of people's answers, as eval.study.answers exports them
    *("rater", "booklet", "position", "pair", "kind", "task", "method", "variant", "shots", "warm_start"),
    *("seed", "latent", "rival", "choice", "won", "milliseconds"),
)
GALLERY_PSI = 0.7  # the truncation of an observation's gallery (eval/observation.py)


def check_groups(plan, best, root) -> None:
    """Raise ConfigError for a grid, sweep, comparison, paper table or oracle that cannot be made.

    plan: workflow.plan.plan.Plan. best: {metric: True, False or None}, whether higher is better.
    """
    check_preferences(plan)
    kinds()  # refuses a wrong declaration of a figure, also where no group lists it
    for name in plan.used:
        group = plan.groups[name]
        check_grid(name, group, plan.config["evaluation"]["truncation_psi"])
        needs_images = [key for key in ("sweep", "preference") if group.get(key)]
        for task in group["tasks"] if needs_images else ():
            if not real_images(plan, task):
                references = plan.config["tasks"][task].get("references")
                has = f"{references['count']} of {LEAST_REAL}" if references else "no"
                raise ConfigError(
                    f"config: 'groups.{name}.{needs_images[0]}' needs real images of every task, but "
                    f"'{task}' has {has} references; leave the key out, or the task."
                )
        if group.get("sweep"):
            check_sweep(name, plan)
        for kind in group.get("figures", ()):
            if kind not in kinds() and (FOLDER / f"{kind}.py").is_file():
                raise ConfigError(f"eval/figures/{kind}.py has no FIGURE = Figure(…); add it.")
            known_name(kind, kinds(), f"'groups.{name}.figures'")
        if group.get("paper") is not None:
            tables = sorted(path.stem for path in Path(root, "eval", "paper").glob("table*.csv"))
            known_name(group["paper"], tables, f"'groups.{name}.paper'")
        check_answers(name, group.get("preference", {}).get("answers"), root)
        for column in group.get("oracle", []):
            if best.get(column, True) is None:
                raise ConfigError(
                    f"config: 'groups.{name}.oracle' names '{column}', for which neither higher nor lower "
                    "is better, so no snapshot is the best; leave it out."
                )
        for key in ("oracle", "raw"):
            for column in group.get(key, []):
                if column not in group["table"]:
                    raise ConfigError(
                        f"config: 'groups.{name}.{key}' names '{column}', which is no column of "
                        f"'groups.{name}.table'; add it there, or leave it out."
                    )


def check_preferences(plan) -> None:
    """Refuse two groups that compare a model with two different ones: its share of wins would be ambiguous."""
    compared = {}  # condition -> (group, the model that it is compared with)
    for name in plan.used:
        group = plan.groups[name]
        if not group.get("preference"):
            continue
        preferred = group["preference"]
        model = preferred["method"], preferred["variant"], preferred.get("shots", DEFAULT_SHOTS)
        for condition in plan.members(name):
            if (condition.method, condition.variant, condition.shots) == model:
                continue
            other, known = compared.setdefault(condition, (name, model))
            if known != model:
                raise ConfigError(
                    f"config: 'groups.{other}.preference' and 'groups.{name}.preference' compare "
                    f"'{condition.name}' of task '{condition.task}' with {' '.join(known[:2])} and with "
                    f"{' '.join(model[:2])}; prefer the same model in both."
                )


def check_grid(name, group, measured) -> None:
    """Refuse a truncation of the grid at which observations keep no images."""
    psi = group["grid"]["truncation_psi"]
    kept = sorted({GALLERY_PSI, float(measured)})
    if psi not in kept:
        raise ConfigError(
            f"config: 'groups.{name}.grid.truncation_psi' is {psi}, but images are kept at "
            f"{' and '.join(map(str, kept))} (that of 'evaluation'); choose one of them."
        )


def check_answers(name, answers, root) -> None:
    """Refuse a file of people's answers that is missing or has other columns."""
    if answers is None:
        return
    where = f"config: 'groups.{name}.preference.answers' is '{answers}', which is"
    if not Path(root, answers).is_file():
        raise ConfigError(
            f"{where} missing; python -m eval.study export makes it, or leave it out for the automatic judge."
        )
    with Path(root, answers).open(encoding="utf-8", errors="replace") as file:
        columns = file.readline().strip().split(",")
    if columns != list(ANSWERS):
        raise ConfigError(
            f"{where} not the answers of a study: its columns must be {', '.join(ANSWERS)}."
        )


def check_sweep(name, plan) -> None:
    """Refuse a sweep over fewer than two numbers of layers."""
    numbers = {plan.trained_layers(condition) for condition in plan.members(name)} - {None}
    if len(numbers) < 2:
        raise ConfigError(
            f"config: 'groups.{name}.sweep' draws metrics against k, but the group's variants train "
            f"{'one number' if numbers else 'no chosen number'} of layers; list two or more."
        )
