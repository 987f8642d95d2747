"""A method's hyperparameters: declare a class with pydantic, write its JSON schema, read values into it."""

import dataclasses
import difflib
import json
import re
from typing import Annotated, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
)
from pydantic.dataclasses import dataclass

from nada.run.errors import UserError

# Types ---------------------------------------------------------------------------------------------


def _without_point(value):
    """Read 240.0 as 240: some programs write whole numbers with a point."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _without_repetition(items: list) -> list:
    if len({repr(item) for item in items}) < len(items):
        raise ValueError("it must be a list without repetition")
    return items


T = TypeVar("T")
Whole = Annotated[int, BeforeValidator(_without_point)]
Natural = Annotated[int, Field(ge=0), BeforeValidator(_without_point)]  # 0, 1, 2, …
Decay = Annotated[float, Field(ge=0, lt=1)]  # of a running average
Betas = tuple[Decay, Decay]
Unique = Annotated[
    list[T], AfterValidator(_without_repetition), Field(json_schema_extra={"uniqueItems": True})
]

# Declaration ---------------------------------------------------------------------------------------

STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, validate_default=True)


def hyperparameters(cls):
    """Make a class of annotated fields a pydantic dataclass: strict types, finite numbers, no unknown keys.

    Values are checked when an object is made, also by the class's own validators
    (`pydantic.model_validator`). true and "3" are not numbers; 3 is valid for a float, 3.0 for an integer.
    """
    return dataclass(cls, config=STRICT)


def hyperparameter(default, description: str, *, source="", unit="", shortened=None, **limits):
    """Declare a field: its default (or the class of its default), its description and its limits.

    source: where the default is from, and which values are the public code's or ours. shortened: the
    `Length` of baselines/adversarial/scaling.py, for a length that shrinks with shorter runs. limits:
    those of pydantic.Field: ge, gt, le, lt, min_length, max_length. Editing description, source or unit
    re-runs nothing: workflow/plan/code_digest.py ignores them.
    """
    said = {"source": source, "unit": unit, "shortened": shortened and shortened._asdict()}
    extra = {key: value for key, value in said.items() if value}
    if isinstance(default, type):
        return Field(default_factory=default, description=description, json_schema_extra=extra, **limits)
    return Field(default, description=description, json_schema_extra=extra, **limits)


# Reading -------------------------------------------------------------------------------------------


def read_hyperparameters(cls, values: dict, run: str, section: str = "hyperparameters"):
    """An object of the class `cls` with a run spec's `values`; missing keys keep their defaults.

    run: the start of every message; section: the place in the file. Raises UserError for the first
    mistake: an unknown key (with the nearest name), a wrong type, a value out of its range, a number
    that is not finite, or a value that a validator of the class refuses.
    """
    if not isinstance(values, dict):
        raise UserError(f"{run}: {section} is {values!r}; it must be an object of hyperparameters.")
    try:
        return TypeAdapter(cls).validate_json(json.dumps(values))  # strict JSON: a tuple is a list there
    except ValidationError as error:
        raise UserError(f"{run}: {sentence(error, cls, values, section)}") from None


def resolved(hparams) -> dict:
    """The hyperparameters with their defaults, as in a run record."""
    return dataclasses.asdict(hparams)


def sentence(error: ValidationError, cls, values: dict, section: str) -> str:
    """The first error of pydantic as one sentence: the key, its value, and what is allowed."""
    first = error.errors(include_url=False)[0]
    rules, where = json_schema(cls), section
    for part in first["loc"]:  # pydantic adds a part for the branch of a union
        if part in rules.get("properties", {}):
            inner = values.get(part) if isinstance(values, dict) else None
            rules, values, where = rules["properties"][part], inner, f"{where}.{part}"
        elif isinstance(part, int) and isinstance(values, list) and part < len(values):
            items = [*rules.get("prefixItems", ()), *[rules.get("items", {})] * len(values)]
            rules, values, where = items[part], values[part], f"{where}[{part}]"
    kind, value = first["type"], first["input"]
    if kind == "unexpected_keyword_argument":
        key, known = first["loc"][-1], rules.get("properties", {})
        near = difflib.get_close_matches(str(key), known, n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        return f"{where} has no key '{key}'; {hint}It knows: {', '.join(known)}."
    if kind in ("value_error", "assertion_error"):
        said = " ".join(str(first["ctx"]["error"]).split()).rstrip(".")
        return f"{where}: {said}." if isinstance(value, dict) else f"{where} is {value!r}; {said}."
    if kind == "finite_number":
        return f"{where} is {value!r}; it must be a finite number."
    if kind in ("too_short", "string_too_short") and first["ctx"]["min_length"] == 1:
        return f"{where} is {value!r}; it must not be empty."
    if kind.startswith(("greater_than", "less_than")) and allowed_range(rules):
        return f"{where} is {value!r}; set it to {allowed_range(rules)}."
    if kind.endswith("_type") or kind in ("literal_error", "missing", "too_short", "too_long"):
        return f"{where} is {value!r}; it must be {wanted(rules)}."
    return f"{where} is {value!r}; {first['msg'][:1].lower()}{first['msg'][1:]}."


def allowed_range(rules: dict) -> str:
    """A schema's range in words, such as '0..1' or 'more than 0'; '' if it has none."""
    if "minimum" in rules and "maximum" in rules:
        return f"{rules['minimum']:,g}..{rules['maximum']:,g}"
    ends = {
        "minimum": "{:g} or more", "exclusiveMinimum": "more than {:g}",
        "maximum": "{:g} or less", "exclusiveMaximum": "less than {:g}",
    }  # fmt: skip
    return " and ".join(text.format(rules[end]) for end, text in ends.items() if end in rules)


WORDS = {
    "integer": "a whole number", "number": "a number", "string": "text", "boolean": "true or false",
    "object": "an object of hyperparameters", "null": "null",
}  # fmt: skip


def wanted(rules: dict) -> str:
    """The values that a schema allows, in words."""
    choices = rules.get("enum") or listed(rules)
    words = []
    for kind in kinds(rules):
        if kind == "array":
            count, item = rules.get("maxItems"), wanted(rules.get("items", {}))
            same = count is not None and count == rules.get("minItems")
            words.append(f"a list of {count} items, each {item}" if same else f"a list, each item {item}")
        elif kind != "string" or not choices:
            words.append(WORDS[kind])
    if choices:
        words.append("one of " + ", ".join(map(repr, choices)))
    return " or ".join(words) or "of another type"


# The schema ----------------------------------------------------------------------------------------


def json_schema(cls) -> dict:
    """The JSON schema of a class of hyperparameters, written out: without references, and without
    `anyOf` where the alternatives are of different types (one `type` lists them then)."""
    rules = TypeAdapter(cls).json_schema()
    return _written_out(rules, rules.pop("$defs", {}))


def kinds(rules: dict) -> list[str]:
    """The types that a schema allows; a choice of texts has no type."""
    found = rules.get("type", "string" if "enum" in rules else [])
    return [found] if isinstance(found, str) else found


def listed(rules: dict) -> list[str]:
    """The texts in a union with other types, which `json_schema` writes as a pattern."""
    pattern = rules.get("pattern", "")
    if not (pattern.startswith("^(") and pattern.endswith(")$")):
        return []
    return [re.sub(r"\\(.)", r"\1", text) for text in pattern[2:-2].split("|")]


def _written_out(rules, definitions: dict):
    if isinstance(rules, list):
        return [_written_out(item, definitions) for item in rules]
    if not isinstance(rules, dict):
        return rules
    rules = {key: value for key, value in rules.items() if key != "title" or not isinstance(value, str)}
    if "$ref" in rules:
        rules = definitions[rules.pop("$ref").rpartition("/")[2]] | rules
        return _written_out(rules, definitions)
    rules = {k: v if k == "default" else _written_out(v, definitions) for k, v in rules.items()}
    if "const" in rules:
        rules["enum"] = [rules.pop("const")]
    items = rules.get("prefixItems")
    if items and all(item == items[0] for item in items):
        rules["items"] = rules.pop("prefixItems")[0]
    parts = rules.get("anyOf", ())
    types = [kind for part in parts for kind in kinds(part)]
    if types and len(set(types)) == len(types) and all(kinds(part) for part in parts):
        rules.pop("anyOf")
        for part in parts:
            own = {key: value for key, value in part.items() if key not in ("type", "description")}
            if own.get("enum") and kinds(part) == ["string"]:
                own["pattern"] = f"^({'|'.join(map(re.escape, own.pop('enum')))})$"
            rules = own | rules
        rules["type"] = types
    elif rules.get("type") == "string" and "enum" in rules:
        del rules["type"]  # for a wrong type, the message then lists the choices
    return rules
