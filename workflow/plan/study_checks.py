"""Check the configuration of the preference study, where its target is requested. No torch."""

from nada.run.run_id import DEFAULT_SHOTS
from workflow.plan.checking import ConfigError, known_name


def check_study(plan) -> None:
    """Raise ConfigError for a study that cannot be made. plan: workflow.plan.plan.Plan."""
    study = plan.config.get("study")
    if study is None:
        raise ConfigError("config: there is no 'study', so 'snakemake study' has nothing to prepare; add the section.")
    known_name(study["group"], plan.config["groups"], "'study.group'")
    group = plan.groups[study["group"]]
    preferred = study.get("preferred") or group.get("preference")
    if not preferred:
        raise ConfigError(
            f"config: 'study.preferred' is missing, and the group '{study['group']}' has no 'preference'; name the "
            "model that the others are compared with."
        )
    model = preferred["method"], preferred["variant"], preferred.get("shots", DEFAULT_SHOTS)
    members = plan.members(study["group"])
    shown = [condition for condition in members if (condition.method, condition.variant, condition.shots) == model]
    if not shown:
        raise ConfigError(
            f"config: 'study' prefers {' '.join(model[:2])}, {model[2]}-shot, a model that the group "
            f"'{study['group']}' does not show; name one of its models in 'study.preferred'."
        )
    if len(members) == len(shown):
        raise ConfigError(f"config: the group '{study['group']}' has no other model to compare; choose another.")
    if study["pairs"] % study["per_rater"]:
        raise ConfigError(
            f"config: 'study.pairs' is {study['pairs']}, no multiple of 'study.per_rater', {study['per_rater']}; "
            "every pair is in one booklet and its mirror image."
        )
    kept = plan.config["evaluation"]["gallery_images"]
    if study["pairs"] > kept:
        raise ConfigError(
            f"config: 'study.pairs' is {study['pairs']}, but {kept} pictures of each run are kept "
            "('evaluation.gallery_images'); lower the one, or raise the other."
        )
