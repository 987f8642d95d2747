"""What the tables and figures of a group need, checked before anything is trained for them. No torch."""

from workflow.checking import ConfigError

GALLERY_PSI = 0.7  # the truncation of the pictures that a look keeps for people (eval/observe.py)


def check_groups(plan, best) -> None:
    """Raise ConfigError for a grid, a sweep, a comparison or an oracle that could not be made.

    plan: workflow.plan.Plan. best: {metric: True, False or None}, whether more of it is better.
    """
    for name, group in plan.config["groups"].items():
        check_grid(name, group, plan.config["evaluation"]["truncation_psi"])
        needs_images = [key for key in ("sweep", "preference") if group.get(key)]
        for task in group["tasks"] if needs_images else ():
            if not plan.config["tasks"][task].get("references"):
                raise ConfigError(
                    f"config: 'groups.{name}.{needs_images[0]}' needs real images of every task, but "
                    f"'{task}' has no references; leave the key out, or the task."
                )
        if group.get("sweep"):
            check_sweep(name, plan)
        for column in group.get("oracle", []):
            if best.get(column, True) is None:
                raise ConfigError(
                    f"config: 'groups.{name}.oracle' names '{column}', of which neither more nor less "
                    "is better, so that no snapshot is the best by it; leave it out."
                )


def check_grid(name, group, measured) -> None:
    """Refuse a truncation at which no picture is kept."""
    psi = group["grid"]["truncation_psi"]
    kept = sorted({GALLERY_PSI, float(measured)})
    if psi not in kept:
        raise ConfigError(
            f"config: 'groups.{name}.grid.truncation_psi' is {psi}, but pictures are kept at "
            f"{' and '.join(map(str, kept))} (that of 'evaluation'); choose one of them."
        )


def check_sweep(name, plan) -> None:
    """Refuse a sweep over fewer than two numbers of layers."""
    numbers = {plan.trained_layers(setting) for setting in plan.members(name)} - {None}
    if len(numbers) < 2:
        raise ConfigError(
            f"config: 'groups.{name}.sweep' draws metrics against k, but the group's variants train "
            f"{'one number' if numbers else 'no chosen number'} of layers; list two or more."
        )
