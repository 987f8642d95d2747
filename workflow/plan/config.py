"""Load the configuration: config.yaml, the world's, a preset and the command line, merged and checked.

Needs neither torch nor Snakemake; the Snakefile and the tests call `load`.
"""

import json
from copy import deepcopy
from pathlib import Path

from workflow.plan.added import check_preset, check_typed_names
from workflow.plan.checking import (
    ConfigError,
    coerce,
    merge,
    nearest,
    read_yaml,
    schema,
    validate,
    whole_numbers,
)
from workflow.plan.config_checks import check_names, check_values
from workflow.plan.groups import groups_named, written_out
from workflow.plan.like import resolved
from workflow.plan.methods import descriptions
from workflow.plan.own_tasks import brought, completed, with_own_tasks
from workflow.plan.world import WORLD, lineage, load_world

CONFIG = "config.yaml"  # the project's, and a world's file of changes to it

# ---- the whole ----------------------------------------------------------------------------------


def with_defaults(hparams, rules):
    """Hyperparameters with all defaults of their schema, also within nested mappings.

    rules: the schema of the method's class, or {}.
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


def load(root=".", overrides=None, asked=(), typed=None):
    """Return (config, world): config.yaml < the world's < the preset's < overrides, all checked.

    root: the folder of config.yaml and workflow/. overrides: a nested dict, as Snakemake makes it
    from --config and --configfile; its strings are read as the schema's types. asked: the targets of
    the command line; a group that is neither in `show` nor among them need not fit the world. typed: what
    --config alone says, laid over the overrides; it changes entries of the files and adds none.

    `config` is fully resolved: `like` is replaced by the complete entry, and rows have every key and
    no `own`.
    """
    files, typed = overrides or {}, typed or {}
    overrides = merge(files, typed)
    base = read_files(root, overrides)
    check_typed_names(typed, merge(base, files))
    methods = merge(base, overrides).get("methods")
    rules = full_schema(methods if isinstance(methods, dict) else {})
    config = whole_numbers(merge(base, coerce(overrides, rules)), rules)
    validate(config, rules, "config")
    config["groups"] = resolved(config["groups"], "groups")
    for name, method in config["methods"].items():
        method["variants"] = resolved(method["variants"], f"methods.{name}.variants")
    world = load_world(config["world"], root)
    config["tasks"] = completed(config["tasks"], config["evaluation"], world, root)
    config["groups"] = with_own_tasks(config, world)
    check_names(config)
    tasks = config["tasks"]
    config["groups"] = {name: written_out(group, tasks) for name, group in config["groups"].items()}
    check_values(config, world, root, used(config, asked))
    return config, world


def read_files(root, overrides):
    """The configuration without the command line's changes: config.yaml < the world's < the preset's.

    A world that is `like` another changes what that one's config.yaml says. The tasks of a world.yaml
    are laid over config.yaml too, and shown in place of its groups.
    """
    base = read_yaml(Path(root, CONFIG))
    if world := overrides.get("world", base.get("world")):
        taken = base.get("tasks", ())
        for name in reversed(lineage(str(world), root)):
            folder = Path(root, "workflow", "worlds", name)
            base = merge(base, brought(world, read_yaml(folder / WORLD), folder / WORLD, taken))
            base = merge(base, read_yaml(folder / CONFIG)) if (folder / CONFIG).is_file() else base
    preset = overrides.get("preset", base.get("preset", "default"))
    presets = Path(root, "workflow", "presets")
    known = ["default", *sorted(path.stem for path in presets.glob("*.yaml"))]
    if preset not in known:
        raise ConfigError(f"config: 'preset' is {json.dumps(preset)}; {nearest(preset, known)}")
    if preset == "default":
        return base
    change = _preset(presets / f"{preset}.yaml", world, root)
    whole = merge(base, change)
    check_preset(change, base, merge(whole, overrides), f"workflow/presets/{preset}.yaml")
    return whole


def _preset(file, world, root):
    """The changes of a preset. Raises ConfigError if its key `worlds` names neither the world nor one
    that the world is `like`."""
    changes = read_yaml(file)
    worlds = changes.pop("worlds", None)
    if worlds is None:
        return changes
    if not (isinstance(worlds, list) and worlds and all(isinstance(name, str) for name in worlds)):
        raise ConfigError(f"{file}: 'worlds' must be a list of worlds, like [mini].")
    if not {*worlds} & {*lineage(str(world), root)}:
        kind = "worlds" if len(worlds) > 1 else "world"
        raise ConfigError(
            f"config: preset '{file.stem}' is for the {kind} {', '.join(worlds)}, not for '{world}'; "
            "choose another preset or world."
        )
    return changes


def shown(config):
    """Names of the groups that `all` makes."""
    return [name for name in config["show"] if name not in config.get("skip", [])]


def used(config, asked=()):
    """Names of the groups that are shown, and of the other groups among the targets."""
    return list(dict.fromkeys([*shown(config), *groups_named(asked, config["groups"], config.get("study"))]))
