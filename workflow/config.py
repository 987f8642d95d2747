"""The configuration: config.yaml, a preset and the command line, merged, checked, refused clearly.

Every mistake becomes one ConfigError sentence: the value or key, where it stands, what is allowed.
No torch and no Snakemake here; the Snakefile and the tests call `load`.
"""

import contextlib
import difflib
import json
from copy import deepcopy
from pathlib import Path

import jsonschema
import yaml

from nada.atomic import sha256
from nada.errors import UserError

APPENDIX = ("workflow", "appendix.yaml")  # beneath config.yaml, from the root
SCHEMAS = Path(__file__).parent / "schemas"


class ConfigError(UserError):
    """A mistake in the configuration, as one sentence for its author."""


# ---- reading and merging ----------------------------------------------------------------------


def read_yaml(path):
    """Read a YAML mapping; raise ConfigError when it is missing, broken or not a mapping."""
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file.") from None
    except yaml.YAMLError as error:
        line = error.problem_mark.line + 1 if getattr(error, "problem_mark", None) else "?"
        problem = getattr(error, "problem", None) or "unreadable"
        raise ConfigError(f"{path}, line {line}: not valid YAML ({problem}).") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: a mapping of keys to values is wanted.")
    return content


def merge(base, override):
    """Return `base` with `override` laid over it: mappings key by key, everything else replaced."""
    if not (isinstance(base, dict) and isinstance(override, dict)):
        return deepcopy(override)
    merged = deepcopy(base)
    for key, value in override.items():
        merged[key] = merge(merged.get(key), value)
    return merged


def nearest(name, allowed):
    """Say which allowed name is meant, or list them: the end of an error sentence."""
    allowed = [str(a) for a in allowed]
    close = difflib.get_close_matches(str(name), allowed, n=1, cutoff=0.5)
    if close:
        return f"did you mean '{close[0]}'?"
    return f"known: {', '.join(allowed)}." if allowed else "none is defined."


# ---- checking against a schema ------------------------------------------------------------------


def schema(name):
    return read_yaml(SCHEMAS / f"{name}.schema.yaml")


def coerce(value, rules):
    """Turn the strings of a command line into the numbers and booleans that a schema asks for.

    Snakemake hands on `seeds=[0,1]` as ['0', '1']. A string that does not read as the wanted type
    stays a string, so that validation can name it.
    """
    if isinstance(value, dict):
        known, other = rules.get("properties", {}), rules.get("additionalProperties")
        other = other if isinstance(other, dict) else {}
        return {key: coerce(item, known.get(key, other)) for key, item in value.items()}
    if isinstance(value, list):
        return [coerce(item, rules.get("items", {})) for item in value]
    if not isinstance(value, str):
        return value
    wanted = rules.get("type", [])
    for kind in [wanted] if isinstance(wanted, str) else wanted:
        with contextlib.suppress(ValueError, KeyError):
            return READERS[kind](value.strip())
    return value


READERS = {
    "integer": int,
    "number": float,
    "boolean": lambda text: {"true": True, "false": False}[text.lower()],
    "null": lambda text: {"null": None}[text.lower()],
}


KINDS = {
    "integer": "a whole number",
    "number": "a number",
    "string": "a text",
    "array": "a list, like [0, 1],",
    "object": "a mapping of keys to values",
    "boolean": "true or false",
    "null": "null",
}


def dotted(path):
    return "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in path).lstrip(".")


def sentence(error):
    """Say in one sentence what a jsonschema error means."""
    where, value, rule = dotted(error.absolute_path), error.instance, error.validator_value
    at = f"'{where}'" if where else "the top level"
    shown = json.dumps(value, default=str)
    if error.validator == "additionalProperties":
        unknown = [key for key in value if key not in error.schema.get("properties", {})]
        known = error.schema.get("properties", {})
        return f"unknown key '{unknown[0]}' in {at}; {nearest(unknown[0], known)}"
    if error.validator == "required":
        missing = [key for key in rule if key not in value]
        return f"{at} lacks the key '{missing[0]}'."
    if error.validator == "type":
        kinds = [rule] if isinstance(rule, str) else rule
        return f"{at} is {shown}; {' or '.join(KINDS[kind] for kind in kinds)} is wanted."
    if error.validator == "enum":
        return f"{at} is {shown}; one of {', '.join(map(str, rule))} is wanted."
    limits = {
        "minimum": f"at least {rule}",
        "maximum": f"at most {rule}",
        "exclusiveMinimum": f"more than {rule}",
        "exclusiveMaximum": f"less than {rule}",
        "minItems": f"at least {rule} value",
        "maxItems": f"at most {rule} values",
        "minProperties": "at least one entry",
        "uniqueItems": "a list without repetition",
        "minLength": "a text that is not empty",
        "pattern": "a text that is not blank" if rule == r"\S" else f"a text like {rule}",
    }
    if error.validator in limits:
        at = at if where else "a name"
        return f"{at} is {shown}; {limits[error.validator]} is wanted."
    return f"{at}: {error.message}."


def validate(value, rules, source):
    """Raise ConfigError with the first mistake in `value` (unknown keys first); `source` names it."""
    errors = list(jsonschema.Draft202012Validator(rules).iter_errors(value))
    if errors:
        first = min(
            errors, key=lambda e: (e.validator != "additionalProperties", dotted(e.absolute_path))
        )
        raise ConfigError(f"{source}: {sentence(first)}")


# ---- the world ----------------------------------------------------------------------------------


def load_world(name, root):
    """Read and check a world; paths come back relative to `root`, as jobs see them.

    Returns the content of world.yaml with `name` added. Raises ConfigError for an unknown world.
    """
    worlds = Path(root, "workflow", "worlds")
    known = sorted(path.parent.name for path in worlds.glob("*/world.yaml"))
    if name not in known:
        raise ConfigError(f"config: 'world' is \"{name}\"; {nearest(name, known)}")
    folder = Path("workflow", "worlds", name)
    world = read_yaml(Path(root, folder, "world.yaml"))
    validate(world, schema("world"), folder / "world.yaml")

    def beside(path):
        return (folder / path).as_posix()

    for key in ("perceptual", "judge", "templates"):
        world[key] = beside(world[key])
    world["sources"] = {domain: beside(path) for domain, path in world["sources"].items()}
    for clip in world["clips"]:
        clip.update(config=beside(clip["config"]), weights=beside(clip["weights"]))
    return {"name": name, **world}


def check_files(world, root):
    """Raise ConfigError when a file of the world is missing or not the one its manifest names.

    manifest.json beside the weights gives their SHA-256; files without one (a user's own weights)
    are only checked for presence. Cost: one pass over the world's few tens of megabytes.
    """
    clips = [clip[key] for clip in world["clips"] for key in ("config", "weights")]
    files = [*world["sources"].values(), *clips]
    files += [world[key] for key in ("perceptual", "judge", "templates")]
    for path in files:
        if not Path(root, path).is_file():
            raise ConfigError(
                f"{path}: this file of the world '{world['name']}' is missing; restore it "
                f"(git checkout -- {path}) or change world.yaml."
            )
        manifest = Path(root, path).with_name("manifest.json")
        if not manifest.is_file():
            continue
        entry = json.loads(manifest.read_text(encoding="utf-8"))["files"].get(Path(path).name)
        if entry and entry["sha256"] != (found := sha256(Path(root, path))):
            raise ConfigError(
                f"{path}: damaged or replaced: its SHA-256 is {found[:12]}…, but manifest.json "
                f"names {entry['sha256'][:12]}…; restore it with git checkout -- {path}."
            )


# ---- the whole ----------------------------------------------------------------------------------


def method_schema(method):
    """The schema of a method's settings, or None where the method brings none.

    `extends: <name>` lays it over <name>.schema.yaml, for what several methods share.
    """
    path = SCHEMAS / f"{method}.schema.yaml"
    if not path.is_file():
        return None
    rules = read_yaml(path)
    shared = rules.pop("extends", None)
    return rules if shared is None else merge(schema(shared), rules)


def full_schema(methods):
    """The schema of config.yaml with the settings of the given methods filled in."""
    rules = schema("config")
    entry = rules["properties"]["methods"]["additionalProperties"]
    rules["properties"]["methods"]["properties"] = {}
    for method in methods:
        settings = method_schema(method)
        if settings is not None:
            filled = deepcopy(entry)
            filled["properties"]["settings"] = settings
            variant = filled["properties"]["variants"]["additionalProperties"]
            variant["properties"]["settings"] = settings
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
    """Return (config, world): appendix.yaml < config.yaml < preset < overrides, all checked.

    root: the folder of config.yaml and workflow/. overrides: a nested dict, as Snakemake makes it
    from --config and --configfile; its strings are read as the schema's types.
    """
    base = read_config(root)
    overrides = overrides or {}
    preset = overrides.get("preset", base.get("preset", "default"))
    presets = Path(root, "workflow", "presets")
    known = ["default", *sorted(path.stem for path in presets.glob("*.yaml"))]
    if preset not in known:
        raise ConfigError(f"config: 'preset' is {json.dumps(preset)}; {nearest(preset, known)}")
    if preset != "default":
        base = merge(base, read_yaml(presets / f"{preset}.yaml"))
    methods = base.get("methods")
    rules = full_schema(methods if isinstance(methods, dict) else {})
    config = merge(base, coerce(overrides, rules))
    if isinstance(groups := config.get("groups"), dict):  # null: a group that a preset leaves out
        config["groups"] = {name: group for name, group in groups.items() if group is not None}
    validate(config, rules, "config")
    config["groups"] = inherit(config["groups"], "'groups'")
    for name, method in config["methods"].items():
        method["variants"] = inherit(method["variants"], f"'methods.{name}.variants'")
    world = load_world(config["world"], root)
    check(config, world)
    return config, world


def known_name(name, allowed, where):
    if name not in allowed:
        raise ConfigError(f"config: {where} names '{name}'; {nearest(name, allowed)}")


def check(config, world):
    """Raise ConfigError for what involves more than one key: names, counts, parents, layers."""
    domains = world["references"]["domains"]
    for name, task in config["tasks"].items():
        known_name(task["source"], world["sources"], f"'tasks.{name}.source'")
        known_name(task["references"]["domain"], domains, f"'tasks.{name}.references.domain'")
        if ("target_class" in task) == ("target_style" in task):
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
            settings = merge(entry["settings"], change.get("settings", {}))
            check_layers(settings, world, f"variant '{variant}' of method '{method}'")
    for name, parent in config["warm_starts"].items():
        check_parent(parent, config["methods"], f"'warm_starts.{name}'")
    for name, group in config["groups"].items():
        check_group(name, group, config)
    evaluation = config["evaluation"]
    if evaluation["k_medoids"] > evaluation["diversity_images"]:
        raise ConfigError(
            f"config: 'evaluation.k_medoids' is {evaluation['k_medoids']}, more clusters than the "
            f"{evaluation['diversity_images']} images of 'evaluation.diversity_images'."
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


def convolutions(resolution):
    """Number of styled convolutions of a StyleGAN2 generator: 2 log2(R) - 3 (9 at 64x64)."""
    return 2 * (resolution.bit_length() - 1) - 3


def check_layers(settings, world, who):
    """Refuse layers that the world's generator does not have; settings without layers pass."""
    layers, size = settings.get("layers"), world["resolution"]
    if not isinstance(layers, dict):
        return
    count = convolutions(size)
    has = f"but the {size}x{size} generator has {count}"
    if layers.get("policy") == "adaptive" and not 1 <= layers.get("k", 1) <= count:
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


def controls(group):
    """(method, shots) of a group's controls: a bare name is one without target images."""
    entries = group["controls"]
    return [(e["method"], e["shots"]) if isinstance(e, dict) else (e, [0]) for e in entries]


def rows_of(group):
    """A group's rows, one method each: {method, variants, shots, warm_starts, tasks (all if none)}."""
    if "rows" not in group:
        return [{key: group[key] for key in ("method", "variants", "shots", "warm_starts")}]
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


def check_group(name, group, config):
    """Refuse names that do not exist and shots that the references cannot give."""
    methods = config["methods"]
    wanted = ["title", "tasks", "controls", "table", "grid"]
    wanted += [] if "rows" in group else ["method", "variants", "shots", "warm_starts"]
    for key in wanted:
        if key not in group:
            raise ConfigError(f"config: 'groups.{name}' lacks the key '{key}'.")
    for task in group["tasks"]:
        known_name(task, config["tasks"], f"'groups.{name}.tasks'")
    prefix = f"'groups.{name}.rows." if "rows" in group else f"'groups.{name}."
    shown = []
    for row in rows_of(group):
        known_name(row["method"], methods, f"{prefix}method{'s' if 'rows' in group else ''}'")
        for variant in row["variants"]:
            known_name(variant, methods[row["method"]]["variants"], f"{prefix}variants'")
        for warm_start in row["warm_starts"]:
            known_name(warm_start, ["source", *config["warm_starts"]], f"{prefix}warm_starts'")
        for task in row.get("tasks", []):
            known_name(task, group["tasks"], f"{prefix}tasks'")
        shown += row["shots"]
    for control, shots in controls(group):
        known_name(control, methods, f"'groups.{name}.controls'")
        shown += shots
    for pairs in group.get("against", []):
        for variant in (pairs["baseline"], *pairs["variants"]):
            variants = [v for row in rows_of(group) for v in row["variants"]]
            known_name(variant, variants, f"'groups.{name}.against'")
    if "preference" in group:
        model, where = group["preference"], f"'groups.{name}.preference'"
        check_parent(model, methods, where)
        shows = {(row["method"], v) for row in rows_of(group) for v in row["variants"]}
        if (model["method"], model["variant"]) not in shows:
            raise ConfigError(f"config: {where} names a model that the group does not show.")
    for task in group["tasks"]:
        references = config["tasks"][task]["references"]
        if max(shown) > references["count"]:
            raise ConfigError(
                f"config: 'groups.{name}.shots' asks for {max(shown)} images, but task "
                f"'{task}' has {references['count']} references of '{references['domain']}'."
            )
    if group["grid"]["rows"] > config["evaluation"]["gallery_images"]:
        raise ConfigError(
            f"config: 'groups.{name}.grid.rows' is {group['grid']['rows']}, more than the "
            f"{config['evaluation']['gallery_images']} of 'evaluation.gallery_images'."
        )
