"""Check names that only a preset or the command line has: refuse misspelled ones, accept new entries of presets."""

from workflow.plan.checking import ConfigError, nearest, short
from workflow.plan.config_checks import REQUIRED

#: Mappings of config.yaml from a name to an entry; methods hold another one, their variants.
ENTRIES = ("tasks", "methods", "warm_starts", "groups")
#: Keys that a new entry must have; a group with `like` takes them from the other group.
NEEDED = {"tasks": ("source", "text"), "methods": ("variants", "hyperparameters"), "groups": REQUIRED}


def new_entries(change, base):
    """The entries that a change adds: (dotted place, name, entry, names already defined there)."""
    found = []
    places = [(key, change.get(key), base.get(key)) for key in ENTRIES]
    for name, entry in mapping(change.get("methods")).items():
        known = mapping(mapping(base.get("methods")).get(name))
        if known:
            places.append((f"methods.{name}.variants", mapping(entry).get("variants"), known.get("variants")))
    for place, entries, known in places:
        known = mapping(known)
        found += [(place, name, entry, known) for name, entry in mapping(entries).items() if name not in known]
    return found


def check_typed_names(typed, base):
    """Refuse --config that adds an entry: the name is misspelled, or the entry belongs in a file.

    typed: the mapping from --config. base: the configuration of all files.
    """
    for place, name, _, known in new_entries(typed, base):
        raise ConfigError(f"config: no file defines '{place}.{short(str(name))}'; {nearest(name, known)}")


def check_preset(preset, base, whole, file):
    """Refuse a preset that adds a part of an entry, or a variant that no group names.

    base: the configuration below the preset. whole: with all changes. file: the preset's path for errors.
    """
    for place, name, entry, known in new_entries(preset, base):
        kind, entry = place.split(".")[0], mapping(entry)
        missing = [key for key in NEEDED.get(kind, ()) if key not in entry]
        if place.endswith(".variants"):
            if names_variant(whole, name):
                continue
            what = f"the variant '{name}' of {place.split('.')[1]}, but no group names it"
        elif missing and not (kind == "groups" and "like" in entry):
            what = f"the {kind.removesuffix('s')} '{name}', but without '{missing[0]}'"
        else:
            continue
        raise ConfigError(f"{file} adds {what}; {nearest(name, known)}")


def names_variant(config, name):
    """Whether a group, a task, a warm start, or another variant (`like`, `parent`) names a variant."""
    variants = [mapping(mapping(m).get("variants")) for m in mapping(config.get("methods")).values()]
    links = [[mapping(v).get("like"), mapping(v).get("parent")] for of in variants for v in of.values()]
    return name in texts([*links, *(config.get(key) for key in ("groups", "tasks", "warm_starts"))])


def texts(value):
    """Every text among the values of nested mappings and lists."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return {text for item in value for text in texts(item)}
    return {value} if isinstance(value, str) else set()


def mapping(value):
    """The value if it is a mapping, else {}: the schema check refuses it later."""
    return value if isinstance(value, dict) else {}
