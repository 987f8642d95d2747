"""Describe methods: their declarations as JSON for the plan, and their hyperparameters as a table.

python -m baselines.describe NAME... prints {name: description}; python -m baselines.describe --table
prints docs/hyperparameters.md. Both import the methods, which import torch. The plan caches the
descriptions (workflow/plan/methods.py) and does not import the methods.
"""

import argparse
import inspect
import json
import sys
from pathlib import Path

from pydantic import ValidationError
from pydantic.dataclasses import is_pydantic_dataclass

from baselines import registry
from nada.run.errors import UserError, command
from nada.run.hyperparameters import allowed_range, json_schema, kinds, listed, resolved, sentence

SAID = ("description", "source", "unit")  # texts for people, which the plan does not need


def describe(name: str) -> dict:
    """A method's declaration and hyperparameters as JSON-able values.

    schema: the JSON schema of its class, with all defaults and without the texts for people. lengths:
    names of the hyperparameters that shrink with shorter runs. adversarial: whether the method trains
    a discriminator, from a warm start. Raises UserError, with the file, if it cannot be imported or
    its class does not declare hyperparameters.
    """
    method = declared(name)
    schema = json_schema(method.hyperparameters)
    return {
        "schema": without_texts(schema),
        "lengths": [key for key, rules in schema["properties"].items() if "shortened" in rules],
        "adversarial": bool(getattr(method.hyperparameters, "adversarial", False)),
    }


def declared(name: str) -> registry.Method:
    """METHOD of a method's file, imported; its class and `adapt` are checked. Raises UserError, with the
    file, or for an unknown name."""
    file = f"baselines/{registry.file_of(name).name}"
    try:
        module = registry.load(name)
        method = module.METHOD
    except Exception as error:  # whatever a file may raise while it is imported
        raise UserError(f"{file} cannot be imported: {said(error)}") from error
    if not callable(getattr(module, "adapt", None)):
        raise UserError(f"{file}: adapt is missing; add the function adapt(job).")
    cls = method.hyperparameters
    if not (inspect.isclass(cls) and is_pydantic_dataclass(cls)):
        raise UserError(
            f"{file}: METHOD's hyperparameters is {getattr(cls, '__name__', repr(cls))}; it must be a "
            "class under @hyperparameters (nada/run/hyperparameters.py)."
        )
    for key, field in cls.__pydantic_fields__.items():
        if field.is_required():
            raise UserError(f"{file}: {cls.__name__}.{key} has no default; give it one.")
    try:
        json.dumps(resolved(cls()))
    except ValidationError as error:
        raise UserError(f"{file}: the default of {sentence(error, cls, {}, cls.__name__)}") from None
    except TypeError as error:
        raise UserError(f"{file}: a default of {cls.__name__} is no JSON ({error}).") from None
    return method


def said(error: Exception) -> str:
    """An exception in one line: its type, its message, and the last line of this project in its traceback."""
    line, trace = "", error.__traceback__
    while trace is not None:
        path = Path(trace.tb_frame.f_code.co_filename)
        if path.is_relative_to(registry.FOLDER.parent) and path != Path(__file__):
            line = f" ({path.relative_to(registry.FOLDER.parent)}, line {trace.tb_lineno})"
        trace = trace.tb_next
    text = " ".join(str(error).split()).rstrip(".")
    return f"{type(error).__name__}: {text}{line}."


def without_texts(rules):
    """A schema without the texts for people."""
    if isinstance(rules, list):
        return [without_texts(item) for item in rules]
    if not isinstance(rules, dict):
        return rules
    own = {k: v for k, v in rules.items() if k not in SAID or not isinstance(v, str)}
    return {key: value if key == "default" else without_texts(value) for key, value in own.items()}


# The table -----------------------------------------------------------------------------------------

HEAD = """\
# Hyperparameters

Each method's hyperparameters, as its file in `baselines/` declares them; `python -m baselines.describe
--table > docs/hyperparameters.md` writes this page. (s): the rule of
[`scaling.py`](../baselines/adversarial/scaling.py) shortens this length with the run. "ours": neither
the paper nor its public code; [departures.md](departures.md) compares the three.
[choosing-hyperparameters.md](choosing-hyperparameters.md) says how the values of `config.yaml` were chosen.
"""
COLUMNS = ("name", "type", "range", "default", "unit", "description", "source")


def page() -> str:
    """docs/hyperparameters.md: a table for each method; shared adversarial hyperparameters are listed once."""
    methods = {name: declared(name) for name in registry.methods()}
    schemas = {name: json_schema(method.hyperparameters) for name, method in methods.items()}
    shared = {name for name in methods if getattr(methods[name].hyperparameters, "adversarial", False)}
    base = schemas["tgan"]["properties"]
    parts = [HEAD]
    for name, schema in schemas.items():
        paper = methods[name].paper
        parts.append(f"## {name}\n\n{paper[0].upper()}{paper[1:]}.\n")
        rules = schema["properties"]
        if name in shared and name != "tgan":
            rules = {key: rule for key, rule in rules.items() if base.get(key) != rule}
            parts.append("Those of [tgan](#tgan), and:\n")
        parts.append(table(rules) if rules else "None.\n")
    return "\n".join(parts)


def table(properties: dict) -> str:
    """The hyperparameters of a schema, nested ones by dotted names, as a table in Markdown."""
    lines = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    lines += [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows(properties)]
    return "\n".join(lines) + "\n"


def rows(properties: dict, above: str = "") -> list[tuple[str, ...]]:
    """The cells of each hyperparameter and of its nested hyperparameters."""
    found = []
    for name, rules in properties.items():
        inner = rules.get("properties", {})
        default = json.dumps(rules["default"]) if "default" in rules else ""
        mark = " (s)" if "shortened" in rules else ""
        unit, text, source = (rules.get(key, "") for key in ("unit", "description", "source"))
        found.append(
            (f"`{above}{name}`{mark}", type_of(rules), range_of(rules), default, unit, text, source)
        )
        found += rows(inner, f"{above}{name}.")
    return found


def type_of(rules: dict) -> str:
    """The types of a hyperparameter: 'integer', 'list of numbers', the texts of a choice."""
    choices = rules.get("enum") or listed(rules)
    words = [f"`{choice}`" for choice in choices]
    for kind in kinds(rules):
        if kind == "array":
            words.append(f"list of {type_of(rules.get('items', {})) or 'value'}s")
        elif kind == "object":
            words.append("mapping")
        elif kind != "string" or not choices:
            words.append("text" if kind == "string" else kind)
    return ", ".join(words)


def range_of(rules: dict) -> str:
    """The range of a hyperparameter, or of the items of a list."""
    return allowed_range(rules) or allowed_range(rules.get("items", {}))


@command
def main(argv=None) -> None:
    parser = argparse.ArgumentParser(prog="python -m baselines.describe", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="methods to describe")
    parser.add_argument("--table", action="store_true", help="print docs/hyperparameters.md")
    arguments = parser.parse_args(argv)
    if arguments.table:
        print(page(), end="")
    else:
        print(json.dumps({name: describe(name) for name in arguments.names}))


if __name__ == "__main__":
    sys.exit(main())
