"""The configuration: config.yaml, the world's own, a preset and the command line, merged and checked.

No torch and no Snakemake here; the Snakefile and the tests call `load`.
"""

import json
from copy import deepcopy
from pathlib import Path

from nada.run.run_id import DEFAULT_SHOTS, DEFAULT_WARM_START
from workflow.plan.checking import (
    ConfigError,
    coerce,
    known_name,
    merge,
    nearest,
    read_yaml,
    schema,
    validate,
    whole_numbers,
)
from workflow.plan.methods import descriptions
from workflow.plan.world import convolutions, lineage, load_world

APPENDIX = ("workflow", "appendix.yaml")  # beneath config.yaml, from the root
NO_IMAGES = {"count": 0, "domain": "no domain"}  # of a task that has only a text
OWN = "config.yaml"  # what a world changes in the published configuration
ROW = ("method", "variants", "shots", "warm_starts")  # a group's keys where it has no `rows`
POOL_UNIT = 32  # as nada/mapper.py has it, which is not imported here since it needs torch

# ---- the whole ----------------------------------------------------------------------------------


def with_defaults(hparams, rules):
    """Hyperparameters over all the defaults of their schema; those of a mapping within are filled in too.

    rules: the schema of the method's class, {} of a method without one.
    """
    filled = {}
    for name, rule in rules.get("properties", {}).items():
        if "default" in rule or "properties" in rule:
            filled[name] = rule.get("default", {})
    rules = rules.get("properties", {})
    return {
        name: with_defaults(value, rules.get(name, {})) if isinstance(value, dict) else value
        for name, value in (filled | hparams).items()
    }


def full_schema(methods):
    """The schema of config.yaml with the hyperparameters of the given methods filled in."""
    rules = schema("config")
    entry = rules["properties"]["methods"]["additionalProperties"]
    rules["properties"]["methods"]["properties"] = {}
    for method, description in descriptions(methods).items():
        filled = deepcopy(entry)
        filled["properties"]["hyperparameters"] = description["schema"]
        variant = filled["properties"]["variants"]["additionalProperties"]
        variant["properties"]["hyperparameters"] = description["schema"]
        rules["properties"]["methods"]["properties"][method] = filled
    return rules


def read_config(root):
    """config.yaml over workflow/appendix.yaml, whose variants and groups come last."""
    own = read_yaml(Path(root, "config.yaml"))
    return merge(own, merge(read_yaml(Path(root, *APPENDIX)), own))


def inherit(entries, where):
    """Lay each entry over the one that its key `like` names, and drop the key.

    What an entry sets to null it does not take over. Raises ConfigError for a name that does not
    exist, or a circle.
    """

    def whole(name, seen):
        entry = entries[name]
        if "like" not in entry:
            return entry
        known_name(entry["like"], entries, f"{where[:-1]}.{name}.like'")
        if entry["like"] in seen:
            way = " -> ".join([*seen, entry["like"]])
            raise ConfigError(f"config: {where[:-1]}.{name}.like' makes a circle: {way}.")
        own = {key: value for key, value in entry.items() if key != "like"}
        merged = merge(whole(entry["like"], [*seen, entry["like"]]), own)
        return {key: value for key, value in merged.items() if value is not None}

    return {name: whole(name, [name]) for name in entries}


def load(root=".", overrides=None):
    """Return (config, world): appendix.yaml < config.yaml < world < preset < overrides, all checked.

    root: the folder of config.yaml and workflow/. overrides: a nested dict, as Snakemake makes it
    from --config and --configfile; its strings are read as the schema's types.
    """
    base = read_config(root)
    overrides = overrides or {}
    if world := overrides.get("world", base.get("world")):
        for own in own_configs(str(world), root):
            base = merge(base, own)
    preset = overrides.get("preset", base.get("preset", "default"))
    presets = Path(root, "workflow", "presets")
    known = ["default", *sorted(path.stem for path in presets.glob("*.yaml"))]
    if preset not in known:
        raise ConfigError(f"config: 'preset' is {json.dumps(preset)}; {nearest(preset, known)}")
    if preset != "default":
        changes = read_yaml(presets / f"{preset}.yaml")
        base = merge(base, without_left_out(changes, base))
    methods = merge(base, overrides).get("methods")
    rules = full_schema(methods if isinstance(methods, dict) else {})
    config = whole_numbers(merge(base, coerce(overrides, rules)), rules)
    for key in ("tasks", "groups"):
        config[key] = kept(config.get(key))
    for method in config["methods"].values() if isinstance(config["methods"], dict) else ():
        if isinstance(method, dict):
            method["variants"] = kept(method.get("variants"))
    validate(config, rules, "config")
    config["groups"] = inherit(config["groups"], "'groups'")
    for name, method in config["methods"].items():
        method["variants"] = inherit(method["variants"], f"'methods.{name}.variants'")
    world = load_world(config["world"], root)
    check(config, world, root)
    return config, world


def own_configs(name, root):
    """What a world changes in the configuration, after what the worlds that it is `like` change."""
    paths = [Path(root, "workflow", "worlds", world, OWN) for world in lineage(name, root)]
    return [read_yaml(path) for path in reversed(paths) if path.is_file()]


def without_left_out(changes, base):
    """A preset without what it changes of entries that the world leaves out (that are null there).

    A preset changes the published benchmark; in a world that has no such group, task or variant there
    is nothing to change, and the change alone is no entry.
    """
    if not (isinstance(changes, dict) and isinstance(base, dict)):
        return changes
    left_out = {name for name, entry in base.items() if entry is None}
    return {
        name: without_left_out(entry, base.get(name))
        for name, entry in changes.items()
        if name not in left_out or not isinstance(entry, dict)
    }


def kept(entries):
    """Entries that no preset and no world leaves out by setting them to null."""
    if not isinstance(entries, dict):
        return entries
    return {name: entry for name, entry in entries.items() if entry is not None}


def check(config, world, root):
    """Raise ConfigError for what involves more than one key: names, counts, parents, layers."""
    domains = world["references"]["domains"]
    for name, task in config["tasks"].items():
        known_name(task["source"], world["sources"], f"'tasks.{name}.source'")
        if task.get("few_shot") and not task.get("references"):
            raise ConfigError(
                f"config: 'tasks.{name}.few_shot' names images to train on, but the task has no "
                "references to be measured against; give it some, or leave 'few_shot' out."
            )
        for key in ("references", "few_shot"):
            if not task.get(key):
                continue
            domain, where = task[key]["domain"], f"'tasks.{name}.{key}.domain'"
            known_name(domain, domains, where)
            size = world["sources"][task["source"]]["resolution"]
            if domains[domain]["resolution"] != size:
                raise ConfigError(
                    f"config: {where} is '{domain}' of {domains[domain]['resolution']} px, but the "
                    f"source '{task['source']}' makes {size} px; give the domain that size."
                )
            most = world["references"].get("draws", {}).get("most")
            if most and "source" not in domains[domain] and task[key]["count"] > most:
                raise ConfigError(
                    f"config: 'tasks.{name}.{key}.count' is {task[key]['count']}, but "
                    f"{domains[domain]['module']} draws at most {most} images of a domain."
                )
        if "judge" in world and ("target_class" in task) == ("target_style" in task):
            raise ConfigError(
                f"config: 'tasks.{name}' must say what the judge is to see: give either the key "
                "'target_class' or the key 'target_style'."
            )
    for method, entry in config["methods"].items():
        for variant, change in entry["variants"].items():
            parent = change.get("parent")
            where = f"'methods.{method}.variants.{variant}.parent'"
            if isinstance(parent, dict):
                check_parent(parent, config["methods"], where)
            elif parent is not None:
                known_name(parent, entry["variants"], where)
            check_ancestry(method, variant, config["methods"], where)
            hparams = merge(entry["hyperparameters"], change.get("hyperparameters", {}))
            who = f"variant '{variant}' of method '{method}'"
            if hparams.get("weights") and not Path(root, hparams["weights"]).exists():
                raise ConfigError(
                    f"config: 'methods.{method}.variants.{variant}': the checkpoint "
                    f"{hparams['weights']} is missing; correct the path, or put it there."
                )
            size = smallest_source(method, variant, config, world)
            check_layers(hparams, size, who)
            check_clip_input(hparams, size, who)
    for name, parent in config["warm_starts"].items():
        check_parent(parent, config["methods"], f"'warm_starts.{name}'")
        for task, variant in parent.get("tasks", {}).items():
            known_name(task, config["tasks"], f"'warm_starts.{name}.tasks'")
            known_name(
                variant,
                config["methods"][parent["method"]]["variants"],
                f"'warm_starts.{name}.tasks.{task}'",
            )
    for name, group in config["groups"].items():
        check_group(name, group, config)
    evaluation = config["evaluation"]
    if evaluation["k_medoids"] >= evaluation["diversity_images"]:
        raise ConfigError(
            f"config: 'evaluation.k_medoids' is {evaluation['k_medoids']}, too many clusters for the "
            f"{evaluation['diversity_images']} images of 'evaluation.diversity_images': a cluster of "
            "one image has no diversity."
        )
    for name, task in config["tasks"].items():
        half = task["references"]["count"] // 2 if task.get("references") else None
        if half is not None and evaluation["k_medoids"] >= half:
            raise ConfigError(
                f"config: 'evaluation.k_medoids' is {evaluation['k_medoids']}, too many clusters for "
                f"the {half} images that are half of 'tasks.{name}.references'."
            )
    for key in ("diversity_images", "gallery_images", "snapshot_images"):
        if evaluation[key] > evaluation["fid_images"]:
            raise ConfigError(
                f"config: 'evaluation.{key}' is {evaluation[key]}, more than the "
                f"{evaluation['fid_images']} images of 'evaluation.fid_images'."
            )


def check_parent(parent, methods, where):
    """Refuse a {method, variant} that does not exist."""
    known_name(parent["method"], methods, where)
    known_name(parent["variant"], methods[parent["method"]]["variants"], where)


def check_ancestry(method, variant, methods, where):
    """Refuse a variant that is its own parent, directly or not."""
    seen = [(method, variant)]
    while True:
        method, variant = seen[-1]
        parent = methods.get(method, {}).get("variants", {}).get(variant, {}).get("parent")
        if parent is None:
            return
        if isinstance(parent, dict):
            method, parent = parent["method"], parent["variant"]
        if (method, parent) in seen:
            way = " -> ".join([*(name for _, name in seen), parent])
            raise ConfigError(f"config: {where} makes a circle: {way}.")
        seen.append((method, parent))


def smallest_source(method, variant, config, world):
    """Pixels of the smallest source model that a group adapts with a variant; without one, the world's."""
    tasks = [
        task
        for group in config["groups"].values()
        if "tasks" in group and ("rows" in group or all(key in group for key in ROW))
        for row in rows_of(group)
        if row["method"] == method and variant in row["variants"]
        for task in row.get("tasks", group["tasks"])
        if task in config["tasks"]
    ]
    sizes = [world["sources"][config["tasks"][task]["source"]]["resolution"] for task in tasks]
    return min(sizes, default=world["resolution"])


def check_layers(hparams, size, who):
    """Refuse layers that a generator of this many pixels does not have; no layers, no question."""
    layers = hparams.get("layers")
    if not isinstance(layers, dict):
        return
    count = convolutions(size)
    has = f"but the {size}x{size} generator has {count}"
    # Table 3 counts W+ slots, of which there is one more: all layers either way
    if layers.get("policy") == "adaptive" and not 1 <= layers.get("k", 1) <= count + 1:
        raise ConfigError(
            f"config: {who}: k={layers['k']} layers asked, {has}; set layers.k to 1..{count}."
        )
    manual = layers.get("manual", [])
    if isinstance(manual, str) or layers.get("policy") != "manual":
        return
    if not manual:
        raise ConfigError(
            f"config: {who}: layers.manual is empty; list layers from 0 to {count - 1}."
        )
    for layer in manual:
        if layer >= count:
            raise ConfigError(
                f"config: {who}: layer {layer} asked, {has}; list layers from 0 to {count - 1}."
            )


def check_clip_input(hparams, size, who):
    """Refuse the public mapper's input of CLIP for a generator that it cannot pool."""
    mapper = hparams.get("mapper") or {}
    if mapper.get("clip_input") == "official" and size % POOL_UNIT:
        raise ConfigError(
            f"config: {who}: mapper.clip_input is 'official', which wants images of a multiple of "
            f"{POOL_UNIT} pixels, but the generator makes {size}x{size}; set it to 'clip'."
        )


def controls(group):
    """A group's controls: {method, shots, tasks (all if none)}; a bare name has no target images."""
    entries = group["controls"]
    return [e if isinstance(e, dict) else {"method": e, "shots": [0]} for e in entries]


def on_task(rows, task):
    """Those of a group's rows, or controls, that it shows of a task."""
    return [row for row in rows if task in row.get("tasks", [task])]


def rows_of(group):
    """A group's rows, one method each: {method, variants, shots, warm_starts, tasks (all if none)}."""
    if "rows" not in group:
        return [{key: group[key] for key in ROW}]
    return [
        {**{key: value for key, value in row.items() if key != "methods"}, "method": method}
        for row in group["rows"]
        for method in row["methods"]
    ]


def parts(group):
    """(name, rows) of a group's parts: its variants, or its methods where it compares several."""
    rows = rows_of(group)
    methods = list(dict.fromkeys(row["method"] for row in rows))
    if len(methods) > 1:
        return [(m, [as_written(row) for row in rows if row["method"] == m]) for m in methods]
    variants = dict.fromkeys(variant for row in rows for variant in row["variants"])
    return [
        (v, [as_written({**row, "variants": [v]}) for row in rows if v in row["variants"]])
        for v in variants
    ]


def as_written(row):
    """A row of `rows_of` as config.yaml has it."""
    return {**{k: v for k, v in row.items() if k != "method"}, "methods": [row["method"]]}


def check_pairs(pairs, rows, where):
    """Refuse an entry of `against` whose method or variants the rows do not show, or leave open."""
    shown = list(dict.fromkeys(row["method"] for row in rows))
    if "method" in pairs:
        known_name(pairs["method"], shown, where)
    elif len(shown) > 1:
        raise ConfigError(
            f"config: {where} compares with '{pairs['baseline']}', but the group shows variants of "
            f"{', '.join(shown)}; give the entry a 'method'."
        )
    method = pairs.get("method", shown[0])
    variants = [v for row in rows if row["method"] == method for v in row["variants"]]
    for variant in (pairs["baseline"], *pairs["variants"]):
        known_name(variant, variants, where)


def check_group(name, group, config):
    """Refuse names that do not exist and shots that the references cannot give."""
    methods = config["methods"]
    wanted = ["title", "tasks", "controls", "table", "grid"]
    wanted += [] if "rows" in group else ROW
    for key in wanted:
        if key not in group:
            raise ConfigError(f"config: 'groups.{name}' lacks the key '{key}'.")
    for task in group["tasks"]:
        known_name(task, config["tasks"], f"'groups.{name}.tasks'")
    prefix = f"'groups.{name}.rows." if "rows" in group else f"'groups.{name}."
    for row in rows_of(group):
        known_name(row["method"], methods, f"{prefix}method{'s' if 'rows' in group else ''}'")
        for variant in row["variants"]:
            known_name(variant, methods[row["method"]]["variants"], f"{prefix}variants'")
        for warm_start in row["warm_starts"]:
            known_name(warm_start, ["source", *config["warm_starts"]], f"{prefix}warm_starts'")
        for task in row.get("tasks", []):
            known_name(task, group["tasks"], f"{prefix}tasks'")
    for control in controls(group):
        known_name(control["method"], methods, f"'groups.{name}.controls'")
        for task in control.get("tasks", []):
            known_name(task, group["tasks"], f"'groups.{name}.controls.tasks'")
    for pairs in group.get("against", []):
        check_pairs(pairs, rows_of(group), f"'groups.{name}.against'")
    if "preference" in group:
        model, where = group["preference"], f"'groups.{name}.preference'"
        check_parent(model, methods, where)
        shows = {
            (row["method"], variant, shots)
            for row in rows_of(group)
            if DEFAULT_WARM_START in row["warm_starts"]
            for variant in row["variants"]
            for shots in row["shots"]
        }
        if (model["method"], model["variant"], model.get("shots", DEFAULT_SHOTS)) not in shows:
            raise ConfigError(f"config: {where} names a model that the group does not show.")
    for task in group["tasks"]:
        entry = config["tasks"][task]
        images = entry.get("few_shot") or entry.get("references") or NO_IMAGES
        shown = on_task([*rows_of(group), *controls(group)], task)
        most = max((shots for row in shown for shots in row["shots"]), default=0)
        if most > images["count"]:
            raise ConfigError(
                f"config: 'groups.{name}.shots' asks for {most} images, but task "
                f"'{task}' has {images['count']} of '{images['domain']}' to train on."
            )
    if group["grid"]["rows"] > config["evaluation"]["gallery_images"]:
        raise ConfigError(
            f"config: 'groups.{name}.grid.rows' is {group['grid']['rows']}, more than the "
            f"{config['evaluation']['gallery_images']} of 'evaluation.gallery_images'."
        )
