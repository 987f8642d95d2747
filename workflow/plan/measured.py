"""Which measurements a task allows, and the reasons against the others. Needs no torch.

A measurement may need a judge, a held-out CLIP, real images, or real images that are new to a run. If the
task or the world lacks them, the table leaves it out and its footer gives the reason
(eval/analysis/left_out.py).
"""

ZERO_SHOT = "zero_shot_share"  # the metric that a held-out CLIP measures (eval/metrics/zero_shot.py)
LEAST_REAL = 100  # real images that FID needs: 50 in each half (eval/metrics/fid.py)
LEAST_FRESH = 20  # new real images that measure what is memorised (eval/metrics/memorisation.py)


def real_images(plan, task):
    """The references of a task that are measured, {domain, count}; None if it has too few or none."""
    references = plan.config["tasks"][task].get("references")
    return references if references and references["count"] >= LEAST_REAL else None


def judged(plan, task) -> bool:
    """Whether the world's judge classifies a task's images: the world has one, and the task has a target."""
    return "judge" in plan.world and bool(plan.target(task))


def fresh_images(plan, condition) -> int:
    """References of a condition's task that its runs are not trained on; 0 if they see no image."""
    trained = plan.training_images(condition)
    references = plan.config["tasks"][condition.task].get("references")
    if not (condition.shots and trained and references):
        return 0
    if references["domain"] != trained["domain"]:
        return references["count"]
    asked = [
        entry[key]["count"]
        for entry in plan.config["tasks"].values()
        for key in ("references", "few_shot")
        if entry.get(key) and entry[key]["domain"] == trained["domain"]
    ]
    return max(asked) - condition.shots


def compares_with_new(plan, condition) -> bool:
    """Whether a condition's memorisation is measured: enough real images are new to its runs."""
    return fresh_images(plan, condition) >= LEAST_FRESH


def not_measured(plan, name, task) -> dict[str, str]:
    """{what is missing: why} of a task of a group: `judge`, `references`, `new_images`, `held_out_clip`.

    The last only if the table of the group shows what it measures.
    """
    reasons = {}
    if "judge" not in plan.world:
        reasons["judge"] = "the world has no judge of classes"
    elif not judged(plan, task):
        reasons["judge"] = "the task names no 'target_class' or 'target_style' for the judge to look for"
    if ZERO_SHOT in plan.groups[name]["table"] and not plan.zero_shot(task):
        reasons["held_out_clip"] = "the task names no two texts ('zero_shot') for a held-out CLIP"
    references = plan.config["tasks"][task].get("references")
    if not references:
        reasons["references"] = "the task names no real images ('references')"
    elif real_images(plan, task) is None:
        reasons["references"] = (
            f"the task has {references['count']} real images, and {LEAST_REAL} are needed, "
            f"{LEAST_REAL // 2} in each half"
        )
    members = [condition for condition in plan.members(name) if condition.task == task]
    trained = [condition for condition in members if plan.training_images(condition) and condition.shots]
    short = [condition for condition in trained if not compares_with_new(plan, condition)]
    if not trained:
        reasons["new_images"] = "no model of the task is trained on images"
    elif short:
        shots = max(condition.shots for condition in short)
        new = max(fresh_images(plan, condition) for condition in short)
        reasons["new_images"] = (
            f"with {shots} shots {new} real images are new to the model, and {LEAST_FRESH} are needed"
        )
    return reasons


def left_out(plan, names) -> list[str]:
    """Sentences for the summary: what the groups of a world's own tasks leave out because images are missing."""
    own = plan.world.get("tasks", {})
    tasks = dict.fromkeys(task for name in names for task in plan.groups[name]["tasks"] if task in own)
    bare = [
        task
        for task in tasks
        if not any(plan.config["tasks"][task].get(key) for key in ("references", "few_shot"))
    ]
    return [f"left out: few-shot methods on {', '.join(bare)}, for want of images to train on"] if bare else []
