"""What each job is told, as the content of its settings file: a run, a look, a group.

`eval/settings.py` documents the keys of looks and groups, `nada/job.py` reads those of a run.
"""

import json

from workflow.layout import few_shot_file, observation_file, reference_file, run_folder
from workflow.plan import Plan
from workflow.runs import REAL, Run, Setting, latent_seed
from workflow.world import convolutions

# The networks that measure, as world.yaml has them.
REFEREE = ("perceptual", "inception", "vgg", "judge")


def as_json(value):
    """The text of a settings file; equal values give equal text."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def run_file(plan: Plan, run: Run):
    """The content of settings.json: everything a run is."""
    return {
        **_surroundings(plan, run.setting.task),
        **_labels(run.setting),
        "seed": run.seed,
        "parent": run.parent_id,
        "settings": plan.method_settings(run.setting),
    }


def look_file(plan: Plan, task, name):
    """What one observe job is told: the artifacts of a setting, one per seed, or the reals."""
    look = {
        **_surroundings(plan, task),
        "setting": name,
        **plan.target(task),
        **{key: plan.world[key] for key in (*REFEREE, "made_here") if key in plan.world},
        "evaluation": plan.config["evaluation"],
    }
    if look["references"]:
        look["references"]["count"] = plan.config["tasks"][task]["references"]["count"]
    if name == REAL:
        return {**look, "method": REAL, "runs": []}
    setting = plan.settings[task, name]
    runs = [
        {
            "id": run.id,
            "seed": run.seed,
            "folder": run_folder(plan, run.id),
            "latent_seed": latent_seed(task, run.seed),
        }
        for run in plan.seeds_of(setting)
    ]
    return {**look, **_labels(setting), "runs": runs}


def group_file(plan: Plan, name):
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
        "observations": [_group_observation(plan, setting) for setting in plan.members(name)],
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
        "source": plan.source(task),
        "text": plan.config["tasks"][task]["text"],
        "templates": plan.world["templates"],
        "clips": plan.world["clips"],
        **_images(plan, task),
    }


def _images(plan: Plan, task):
    """Which images a task's jobs may ask for: its references (None: it has none), and `few_shot`
    where its runs are trained on others."""
    files = {"references": reference_file(plan, task), "few_shot": few_shot_file(plan, task)}
    entry = plan.config["tasks"][task]
    found = {key: {"domain": entry[key]["domain"], "images": f} for key, f in files.items() if f}
    return {"references": None, **found}


def _labels(setting: Setting):
    """The columns of a table that name a setting."""
    return {
        "method": setting.method,
        "variant": setting.variant,
        "shots": setting.shots,
        "warm_start": setting.warm_start,
    }


def _group_task(plan: Plan, task):
    """One task of a group: what it adapts, and where its real images and their look lie."""
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


def _group_observation(plan: Plan, setting: Setting):
    """One setting of a group: what it is, and where its runs and their look lie."""
    return {
        "task": setting.task,
        "setting": setting.name,
        **_labels(setting),
        "layers": plan.trained_layers(setting),
        "chooses_layers": plan.chooses_layers(setting),
        "runs": [
            {
                "seed": run.seed,
                "curves": f"{run_folder(plan, run.id)}/curves.csv",
                "costs": [f"{run_folder(plan, i)}/cost.json" for i in plan.lineage(run)],
            }
            for run in plan.seeds_of(setting)
        ],
        "file": observation_file(plan, setting.task, setting.name),
    }


def _preferred(group):
    """The model that a group's others are compared with image by image, or None."""
    if "preference" not in group:
        return None
    model = group["preference"]
    return _labels(Setting("", model["method"], model["variant"], model.get("shots", 0)))
