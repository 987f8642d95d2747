"""What each job is told, as the content of its hyperparameters file: a run, an observation, a group.

A job is told the files that it opens and no other. `workflow.plan.inputs` makes its rule wait for these
files, and `nada.run.job` and `eval.observe` list them in their records.
`nada/run/spec.py` documents the keys of looks and groups, `nada/run/job.py` reads those of a run.
"""

import hashlib
import json
from pathlib import Path

from nada.run.atomic import atomic_path
from workflow.plan.layout import MODEL, few_shot_file, observation_file, reference_file, run_folder
from workflow.plan.plan import Plan
from workflow.plan.runs import REAL, Condition, Run, latent_seed
from workflow.plan.world import convolutions, referee

#: Where hyperparameters files are kept by their hash, as paths that rules copy.
STAGED = ".snakemake/specs"
# The networks that measure, as world.yaml has them.
REFEREE = ("perceptual", "inception", "vgg", "judge")


def as_json(value):
    """The text of a hyperparameters file; equal values give equal text."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def staged(text):
    """Keep the text of a hyperparameters file under its hash in Snakemake's own folder; return the path.

    Called while the rules are planned, also by a dry run. A rule copies the file: its text may be
    longer than Linux allows an argument to be (128 KiB), while the path is short and changes with the
    text, so that the rule runs again.
    """
    path = Path(STAGED, hashlib.sha256(text.encode()).hexdigest()[:32])
    if not path.is_file():
        with atomic_path(path) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")
    return path.as_posix()


def run_spec(plan: Plan, run: Run):
    """The content of spec.json: everything a run is, and the files that it reads."""
    return {
        **_surroundings(plan, run.condition.task),
        **_labels(run.condition),
        "seed": run.seed,
        "parent": run.parent_id,
        **_learns_from(plan, run.condition),
        "hyperparameters": plan.hyperparameters(run.condition, defaults=True),
    }


def run_files(told):
    """{role: files that a run opens} of the content of its run spec; its parent's are not among them."""
    files = {"source": [told["source"]["weights"]]} if "source" in told else {}
    if "clips" in told:
        clips = [clip[key] for clip in told["clips"] for key in ("config", "weights")]
        files["clips"] = [*clips, told["templates"]]
    if images := [told[key]["images"] for key in ("few_shot", "references") if key in told]:
        files["references"] = images
    if weights := told["hyperparameters"].get("weights"):  # a model made elsewhere: a file, or a run's folder
        folder = Path(weights).is_dir()
        files["weights"] = [f"{weights}/{MODEL}" if folder else weights]
    return files


def observation_spec(plan: Plan, task, name):
    """What one observe job is told: the artifacts of a condition, one per seed, or the reals."""
    look = {
        **_surroundings(plan, task),
        "condition": name,
        **plan.target(task),
        **{key: plan.world[key] for key in (*REFEREE, "made_here") if key in plan.world},
        "references": _images(plan, task, "references"),
        "evaluation": plan.config["evaluation"],
    }
    if look["references"]:
        look["references"]["count"] = plan.config["tasks"][task]["references"]["count"]
    if name == REAL:
        return {**look, "method": REAL, "runs": []}
    condition = plan.conditions[task, name]
    look["source"] = plan.source(task)
    if _sees_images(plan, condition) and (few_shot := _images(plan, task, "few_shot")):
        look["few_shot"] = few_shot
    runs = [
        {
            "id": run.id,
            "seed": run.seed,
            "folder": run_folder(plan, run.id),
            "latent_seed": latent_seed(task, run.seed),
        }
        for run in plan.seeds_of(condition)
    ]
    return {**look, **_labels(condition), "runs": runs}


def observation_files(told):
    """{role: files that an observe job opens} of the content of its observation spec."""
    files = {"referee": referee(told)}
    if told["references"]:
        files["references"] = [told["references"]["images"]]
    if "few_shot" in told:
        files["references"].append(told["few_shot"]["images"])
    if "source" in told:
        files["source"] = [told["source"]["weights"]]
    if told["runs"]:
        files["models"] = [f"{run['folder']}/{MODEL}" for run in told["runs"]]
    return files


def group_spec(plan: Plan, name):
    """What the score, table and grid jobs of a group are told."""
    group = plan.groups[name]
    return {
        "group": name,
        "title": group["title"],
        "world": plan.world["name"],
        "preset": plan.config["preset"],
        "device": plan.device,
        "convolutions": max(convolutions(plan.resolution(task)) for task in group["tasks"]),
        "tasks": {task: _group_task(plan, task) for task in group["tasks"]},
        "observations": [_group_observation(plan, condition) for condition in plan.members(name)],
        "evaluation": plan.config["evaluation"],
        "table": group["table"],
        "oracle": group.get("oracle", []),
        "raw": group.get("raw", []),
        "against": group.get("against", []),
        "sweep": group.get("sweep", []),
        "preference": _preferred(group),
        "paper": group.get("paper"),
        "grid": group["grid"],
    }


def _surroundings(plan: Plan, task):
    """What every job on a task is told about it and the world."""
    return {
        "world": plan.world["name"],
        "task": task,
        "device": plan.device,
        "resolution": plan.resolution(task),
    }


def _learns_from(plan: Plan, condition: Condition):
    """The models, texts and images that a run is given, by what its method declares.

    `generator`: whether it starts from the source model. `supervision`: text brings the task's texts,
    the prompt templates and the CLIPs, and with shots target images as well; images bring the target
    images alone; none brings nothing.
    """
    method, task = plan.methods[condition.method], condition.task
    told = {"source": plan.source(task)} if method.generator == "source" else {}
    if method.supervision == "text":
        told["text"] = plan.config["tasks"][task]["text"]
        told["templates"] = plan.world["templates"]
        told["clips"] = _clips(plan, condition)
    if _sees_images(plan, condition):
        key = "few_shot" if few_shot_file(plan, task) else "references"
        told[key] = _images(plan, task, key)
    return told


def _sees_images(plan: Plan, condition: Condition):
    """Whether a run trains on target images, or shows them."""
    supervision = plan.methods[condition.method].supervision
    return supervision == "images" or (supervision == "text" and condition.shots > 0)


def _clips(plan: Plan, condition: Condition):
    """The world's CLIPs that a condition names: all of them unless it has a list `clips`."""
    world, names = plan.world["clips"], plan.hyperparameters(condition).get("clips")
    known = {clip["name"] for clip in world}
    if names is None or not set(names) <= known:  # the job says which name is wrong
        return world
    return [clip for clip in world if clip["name"] in names]


def _images(plan: Plan, task, key):
    """{domain, images} of a task's `references` or `few_shot`; None where it has none."""
    file = {"references": reference_file, "few_shot": few_shot_file}[key](plan, task)
    return file and {"domain": plan.config["tasks"][task][key]["domain"], "images": file}


def _labels(condition: Condition):
    """The columns of a table that name a condition."""
    return {
        "method": condition.method,
        "variant": condition.variant,
        "shots": condition.shots,
        "warm_start": condition.warm_start,
    }


def _group_task(plan: Plan, task):
    """One task of a group: what it adapts, and where its real images and their observation lie."""
    entry, references = plan.config["tasks"][task], reference_file(plan, task)
    return {
        "role": entry["role"],
        "source": entry["source"],
        "text": entry["text"],
        **plan.target(task),
        "real": observation_file(plan, task, REAL) if references else None,
        "references": references,
        **({"few_shot": few_shot} if (few_shot := few_shot_file(plan, task)) else {}),
    }


def _group_observation(plan: Plan, condition: Condition):
    """One condition of a group: what it is, and where its runs and their observation lie."""
    return {
        "task": condition.task,
        "condition": condition.name,
        **_labels(condition),
        "layers": plan.trained_layers(condition),
        "chooses_layers": plan.chooses_layers(condition),
        "runs": [
            {
                "seed": run.seed,
                "curves": f"{run_folder(plan, run.id)}/curves.csv",
                "costs": [f"{run_folder(plan, i)}/cost.json" for i in plan.lineage(run)],
            }
            for run in plan.seeds_of(condition)
        ],
        "file": observation_file(plan, condition.task, condition.name),
    }


def _preferred(group):
    """The model that a group's others are compared with image by image, or None."""
    if "preference" not in group:
        return None
    model = group["preference"]
    return _labels(Condition("", model["method"], model["variant"], model.get("shots", 0)))
