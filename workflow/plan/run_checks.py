"""Check runs before anything starts: shots, parents, lengths, weight files. Needs no torch.

Some checks depend on the method's name, or on whether it trains adversarially. The validators of its
hyperparameters repeat some of them, for jobs that are started by hand.
"""

from pathlib import Path

from baselines.adversarial.scaling import scaled
from nada.run.run_id import DEFAULT_WARM_START
from workflow.plan.checking import ConfigError, nearest
from workflow.plan.weight_files import described, networks, resolution

PAIR = "finetune_gd"  # the method whose parent's images are its data
FINETUNED = "nada_finetuned_gd"  # the warm start that takes over a parent's D
MOST_KIMG = 100_000  # half-life of an average (nada/stylegan2/adversarial.py)


def check_runs(plan, root) -> None:
    """Raise ConfigError for the first condition whose runs could not be made. plan: workflow.plan.plan.Plan."""
    found = {task: networks(Path(root, plan.source(task)["weights"])) for task in tasks_of(plan)}
    for task in found:
        check_size(plan, task, root)
    for condition in plan.conditions_of(plan.used):
        hparams = plan.hyperparameters(condition, defaults=True)
        who = f"config: variant '{condition.variant}' of method '{condition.method}'"
        check_warm_start(plan, condition, who)
        check_shots(plan, condition, hparams, who)
        check_snapshots(hparams, who)
        if condition.method == "nada":
            check_mapper(plan, condition, hparams, who)
        if plan.described[condition.method]["adversarial"]:
            check_start(plan, condition, who)
            check_lengths(condition, hparams, who)
            check_source(plan, condition, found[condition.task], who)
        if condition.method == "freezed":
            check_frozen(plan, condition, hparams, who)
        if condition.method == "checkpoint":
            check_checkpoint(hparams, root, who)


def tasks_of(plan) -> list[str]:
    """The tasks of the used conditions, each once."""
    return list(dict.fromkeys(condition.task for condition in plan.conditions_of(plan.used)))


def check_warm_start(plan, condition, who) -> None:
    """Refuse a warm start or a parent for a method that does not start from another run's model."""
    method = plan.methods[condition.method]
    alone = method.supervision == "none" or method.generator != "source"
    parent = plan.parent(condition)
    if condition.warm_start == DEFAULT_WARM_START:
        if alone and parent is not None and condition.method != PAIR:
            raise ConfigError(
                f"{who} does not go on from another run, but has the parent '{parent.name}'; remove the parent."
            )
        return
    if alone:
        raise ConfigError(
            f"{who} does not start from another run's model, but {asked_by(plan, condition)} gives it the warm "
            f"start '{condition.warm_start}'; set it to '{DEFAULT_WARM_START}'."
        )


def check_shots(plan, condition, hparams, who) -> None:
    """Refuse shots: 0 for methods or directions that learn from images, and shots for other methods."""
    supervision = plan.methods[condition.method].supervision
    from_images = hparams.get("direction") == "image"
    blind = supervision == "none" or (condition.method == "nada" and not from_images)
    if condition.shots and blind and any(condition in plan.members(g) for g in plan.used):
        raise ConfigError(
            f"{who} uses no images, but {asked_by(plan, condition)} gives it {condition.shots} (shots); "
            "set 'shots' to 0."
        )
    if condition.shots or not (from_images or supervision == "images"):
        return
    why = "a direction from images" if from_images else "images"
    raise ConfigError(
        f"{who} learns from {why}, but {asked_by(plan, condition)} gives it none (shots: 0); set 'shots' "
        "to 1 or more, or leave it out."
    )


def asked_by(plan, condition, key="") -> str:
    """What uses a condition: a group (with a key of it), or a run that has it as parent."""
    for group in plan.used:
        if condition in plan.members(group):
            return f"'groups.{group}{key}'"
    child = next(s for s in plan.conditions_of(plan.used) if plan.parent(s) == condition)
    return f"'{child.name}', which has it as parent,"


def check_snapshots(hparams, who) -> None:
    """Refuse snapshots at steps that a run does not have; a mapper's run has the mapper's iterations."""
    mapper, steps = hparams.get("mapper"), hparams.get("snapshots")
    last = (mapper or hparams).get("iterations")
    if not isinstance(steps, list) or last is None:
        return
    for step in steps:
        if step > last:
            raise ConfigError(
                f"{who}: snapshots names step {step}, but its runs have {last} iterations; list steps "
                f"from 0 to {last}, or give a number of models."
            )


def check_mapper(plan, condition, hparams, who) -> None:
    """Refuse a parent that a variant of NADA cannot use, and a mapper without a parent."""
    parent, mapper = plan.parent(condition), hparams.get("mapper")
    if mapper is None:
        if parent is not None and condition.warm_start != DEFAULT_WARM_START:
            raise ConfigError(
                f"{who} has no mapper to train on another run's model, but {asked_by(plan, condition, '.rows')} "
                f"gives it the warm start '{condition.warm_start}'; set it to '{DEFAULT_WARM_START}', or add "
                "hyperparameters.mapper."
            )
        if parent is not None:
            raise ConfigError(
                f"{who} has a parent but no mapper to train on it; add hyperparameters.mapper, or remove the "
                "parent."
            )
        return
    if mapper["base"] == "source" and parent is not None:
        raise ConfigError(
            f"{who}: mapper.base is 'source', but the variant has a parent; remove the parent, or set "
            "mapper.base to 'parent'."
        )
    if mapper["base"] == "parent" and parent is None:
        raise ConfigError(
            f"{who} trains a mapper on another run's model, but has no parent; give it one, or set "
            "mapper.base to 'source'."
        )
    if 0 < mapper["code_pool"] < mapper["batch"]:
        raise ConfigError(
            f"{who}: mapper.code_pool is {mapper['code_pool']}, less than a batch of "
            f"{mapper['batch']}; set it to {mapper['batch']} or more, or to 0 for fresh codes."
        )
    if parent is not None and has_latent_map(plan, parent):
        raise ConfigError(
            f"{who} trains a mapper on '{parent.variant}' of method '{parent.method}', whose model has "
            "a latent map already; name another parent."
        )


def has_latent_map(plan, condition) -> bool:
    """Whether the model of a condition moves its codes: a mapper of NADA, or MineGAN's miner."""
    mapped = condition.method == "nada" and plan.hyperparameters(condition).get("mapper")
    return bool(mapped) or condition.method == "minegan"


def check_start(plan, condition, who) -> None:
    """Refuse a parent that an adversarial method cannot start from."""
    parent = plan.parent(condition)
    if condition.method == PAIR:
        if parent is None:
            raise ConfigError(
                f"{who} trains on images of another run's model, but has no parent; give it one."
            )
        return
    if parent is not None and parent.method == "replay":
        raise ConfigError(
            f"{who} starts from '{parent.name}', which has no generator; name another parent."
        )
    if condition.warm_start == FINETUNED and parent.method != PAIR:
        raise ConfigError(
            f"config: 'warm_starts.{FINETUNED}' names '{parent.name}', which keeps no "
            f"discriminator; name a variant of {PAIR}."
        )
    if condition.warm_start == "source" and parent is not None:
        raise ConfigError(
            f"{who} has a parent, but its warm start is 'source'; remove the parent, or choose another "
            "warm start."
        )


def check_lengths(condition, hparams, who) -> None:
    """Refuse a catch-up that leaves no step for G, and a half-life longer than the trainer allows."""
    if condition.warm_start == "nada_catchup":
        alone = scaled(hparams, "catchup_steps")
        if alone >= hparams["iterations"]:
            raise ConfigError(
                f"{who}: D catches up for {alone} steps, but its runs have only "
                f"{hparams['iterations']} iterations; raise iterations."
            )
    if scaled(hparams, "ema_kimg") > MOST_KIMG:
        raise ConfigError(
            f"{who}: ema_kimg is {scaled(hparams, 'ema_kimg')} at this length; it must be at most {MOST_KIMG}."
        )


def check_frozen(plan, condition, hparams, who) -> None:
    """Refuse more frozen blocks than D has: one for each halving from the image's size to 4 px."""
    size = plan.resolution(condition.task)
    blocks = size.bit_length() - 3
    frozen = hparams["frozen_blocks"]
    if isinstance(frozen, int) and frozen > blocks:
        raise ConfigError(
            f"{who}: frozen_blocks is {frozen}, but a discriminator of {size}x{size} "
            f"images has {blocks} residual blocks; set it to 0..{blocks}."
        )


def check_checkpoint(hparams, root, who) -> None:
    """Refuse empty `weights`, and a folder that is not a run's."""
    weights = hparams.get("weights")
    if not weights:
        raise ConfigError(f"{who}: hyperparameters.weights is empty; set it to the checkpoint's file.")
    folder = Path(root, weights)
    if folder.is_dir() and not (folder / "model.safetensors").is_file():
        raise ConfigError(
            f"{who}: the folder {weights} holds no model.safetensors; name a run's folder, or a file."
        )


# ---- metadata of weight files ---------------------------------------------------------------------


def check_size(plan, task, root) -> None:
    """Refuse a source model whose images have another size than its world says."""
    wanted, source = plan.resolution(task), plan.source(task)
    found = resolution(Path(root, source["weights"]))
    if found is not None and found != wanted:
        raise ConfigError(
            f"{source['weights']}: makes {found}x{found} images, but the world '{plan.world['name']}' "
            f"says {wanted} of its source '{source['domain']}'; correct the 'resolution' in world.yaml."
        )


def check_source(plan, condition, found, who) -> None:
    """Refuse adversarial training where the source model's file has no discriminator."""
    if found and "D" not in found and condition.warm_start != FINETUNED:
        raise ConfigError(
            f"{who} needs a discriminator, but {plan.source(condition.task)['weights']} holds none; "
            "choose another source for its tasks."
        )


def check_targets(plan, root) -> None:
    """Refuse a target that the judge does not know, if its file lists classes and styles."""
    if "judge" not in plan.world:
        return
    judge = described(Path(root, plan.world["judge"])).get("config")
    for task in tasks_of(plan):
        for key, name in plan.target(task).items():
            known = (judge or {}).get({"target_class": "classes", "target_style": "styles"}[key])
            if known and name not in known:
                raise ConfigError(
                    f"config: 'tasks.{task}.{key}' is '{name}', which the judge does not know; "
                    f"{nearest(name, known)}"
                )
