"""Read YAML and check it against a schema; every mistake raises ConfigError with one sentence.

The sentence has the value or key, its place, and what is allowed. Needs neither torch nor Snakemake.
"""

import contextlib
import difflib
import functools
import json
import math
import re
from copy import deepcopy
from pathlib import Path

import jsonschema
import yaml

from nada.run.errors import UserError

SCHEMAS = Path(__file__).parents[1] / "schemas"


class ConfigError(UserError):
    """A mistake in the configuration, as one sentence for its author."""


# ---- reading and merging ----------------------------------------------------------------------


class _Loader(yaml.SafeLoader):
    """Safe YAML, stricter than PyYAML.

    A duplicate key and a key that is not a text (`no` is read as false) are errors. 1e-4 and 5e8 are
    numbers, as in YAML 1.2.
    """

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            problem = None
            if key.tag == "tag:yaml.org,2002:merge":
                continue
            if not isinstance(key, yaml.ScalarNode):
                problem = "a key is a list or a mapping; it must be a text"
            elif key.tag != "tag:yaml.org,2002:str":
                problem = f"the key {short(key.value)} is read as {self.construct_object(key)!r}; quote it"
            elif key.value in seen:
                problem = f"the key '{short(key.value)}' occurs twice"
            if problem:
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), [*"-+.0123456789"]
)


def read_yaml(path):
    """Read a YAML mapping. Raises ConfigError if the file is missing, invalid or not a mapping."""
    try:
        content = yaml.load(Path(path).read_text(encoding="utf-8"), _Loader)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file.") from None
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not text in UTF-8"
        raise ConfigError(f"{path}: cannot be read: {why}.") from None
    except ValueError as error:  # a date with month 13, a number of 5000 digits
        raise ConfigError(f"{path}: not valid YAML ({error}).") from None
    except RecursionError:
        raise ConfigError(f"{path}: not valid YAML (too deep).") from None
    except yaml.YAMLError as error:
        line = error.problem_mark.line + 1 if getattr(error, "problem_mark", None) else "?"
        problem = getattr(error, "problem", None) or "unreadable"
        raise ConfigError(f"{path}, line {line}: not valid YAML ({problem}).") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: the file must be a mapping of keys to values.")
    return content


def merge(base, override):
    """Return `base` with the values of `override`: mappings are merged key by key, others replaced."""
    if not (isinstance(base, dict) and isinstance(override, dict)):
        return deepcopy(override)
    merged = deepcopy(base)
    for key, value in override.items():
        merged[key] = merge(merged.get(key), value)
    return merged


LISTED = 24  # most names that a sentence lists
LONGEST = 120  # most characters of a value in a sentence


def short(text):
    """A text for a sentence: on one line, and cut if it is long."""
    text = text if text.isprintable() else repr(text)[1:-1]
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def nearest(name, allowed):
    """The end of an error sentence: the nearest allowed name, or a list of all."""
    allowed = [str(a) for a in allowed]
    close = difflib.get_close_matches(str(name), allowed, n=1, cutoff=0.5)
    if close:
        return f"did you mean '{close[0]}'?"
    more = f" and {len(allowed) - LISTED} more" if len(allowed) > LISTED else ""
    return f"known: {', '.join(allowed[:LISTED])}{more}." if allowed else "none is defined."


# ---- checking against a schema ------------------------------------------------------------------


def schema(name):
    """The schema of that name, without `$schema`, which would change the types that parts are checked by."""
    return deepcopy(_schema(name))


@functools.cache
def _schema(name):
    rules = read_yaml(SCHEMAS / f"{name}.schema.yaml")
    rules.pop("$schema", None)
    return rules


def coerce(value, rules):
    """Convert strings of a command line to the numbers and booleans that a schema requires.

    Snakemake passes `seeds=[0,1]` as ['0', '1']. A string that is not of the required type stays a
    string; validation then reports it.
    """
    return converted(value, rules, _read_text)


def whole_numbers(value, rules):
    """Convert 240.0 to 240 where a schema requires an integer: some programs write YAML in this way.

    Other numbers stay unchanged; validation then reports them.
    """
    return converted(value, rules, _without_point)


def converted(value, rules, convert):
    """`value` with every scalar replaced by convert(scalar, the types that its schema allows)."""
    if isinstance(value, dict):
        known, other = rules.get("properties", {}), rules.get("additionalProperties")
        other = other if isinstance(other, dict) else {}
        return {
            key: converted(item, known.get(key, other), convert) for key, item in value.items()
        }
    if isinstance(value, list):
        first, rest = rules.get("prefixItems", []), rules.get("items", {})
        return [
            converted(item, first[i] if i < len(first) else rest, convert) for i, item in enumerate(value)
        ]
    return convert(value, kinds_of(rules))


def kinds_of(rules):
    """The types that a schema allows, in any of its alternatives."""
    wanted = rules.get("type", [])
    alternatives = [kind for part in rules.get("anyOf", []) for kind in kinds_of(part)]
    return [*([wanted] if isinstance(wanted, str) else wanted), *alternatives]


def _read_text(value, kinds):
    for kind in kinds if isinstance(value, str) else ():
        with contextlib.suppress(ValueError, KeyError):
            return READERS[kind](value.strip())
    return value


def _without_point(value, kinds):
    whole = "integer" in kinds and "number" not in kinds
    return int(value) if whole and isinstance(value, float) and value.is_integer() else value


def _read_whole(text):
    """Read an integer written as 1000, 1000.0 or 1e3."""
    with contextlib.suppress(ValueError):
        return int(text)
    number = float(text)
    if not number.is_integer():
        raise ValueError(text)
    return int(number)


READERS = {
    "integer": _read_whole,
    "number": float,
    "boolean": lambda text: {"true": True, "false": False}[text.lower()],
    "null": lambda text: {"null": None}[text.lower()],
}


KINDS = {
    "integer": "a whole number",
    "number": "a number",
    "string": "a text",
    "array": "a list, like [0, 1]",
    "object": "a mapping of keys to values",
    "boolean": "true or false",
    "null": "null",
}


# JSON's exact whole numbers (RFC 8259, section 6); records are JSON
LARGEST_WHOLE = 2**53 - 1
# Jobs compute in float32, whose largest number is 3.4e38; torch refuses larger values in an optimiser.
LARGEST = 1e30


def _is_finite(_, value):
    """Whether a value is a number of JSON Schema; YAML's .inf and .nan are not, as JSON has neither."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and abs(value) <= LARGEST


def _is_whole(_, value):
    whole = isinstance(value, int) and not isinstance(value, bool)
    return whole and abs(value) <= LARGEST_WHOLE


def _pattern(validator, pattern, value, _):
    """The keyword `pattern` with "$" as the end of the text; Python's also matches before a last newline."""
    if validator.is_type(value, "string") and not re.search(re.sub(r"\$$", r"\\Z", pattern), value):
        yield jsonschema.ValidationError(f"{value!r} does not match {pattern!r}")


Validator = jsonschema.validators.extend(
    jsonschema.Draft202012Validator,
    {"pattern": _pattern},
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine_many(
        {"number": _is_finite, "integer": _is_whole}
    ),
)


def wanted_kinds(kinds, value):
    """The types that a schema allows, in words, for a value of another type."""
    words = dict(KINDS)
    if isinstance(value, float) and not math.isfinite(value):
        words["number"] = "a finite number"
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        words["number"] = f"a number of at most {LARGEST:g}"
    if isinstance(value, int) and not isinstance(value, bool):
        words["integer"] = f"a whole number of at most {LARGEST_WHOLE}"
    return " or ".join(words[kind] for kind in kinds)


def dotted(path):
    return "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in path).lstrip(".")


def sentence(error):
    """A jsonschema error as one sentence."""
    where, value, rule = dotted(error.absolute_path), error.instance, error.validator_value
    at = f"'{where}'" if where else "the top level"
    shown = short(json.dumps(value, default=str, ensure_ascii=False))
    if error.validator == "additionalProperties":
        unknown = [key for key in value if key not in error.schema.get("properties", {})]
        known = error.schema.get("properties", {})
        return f"unknown key '{unknown[0]}' in {at}; {nearest(unknown[0], known)}"
    if error.validator == "required":
        missing = [key for key in rule if key not in value]
        return f"{at} lacks the key '{missing[0]}'."
    if "propertyNames" in error.absolute_schema_path:
        at = f"a name in {at}"
    if error.validator == "type":
        kinds = [rule] if isinstance(rule, str) else rule
        return f"{at} is {shown}; it must be {wanted_kinds(kinds, value)}."
    if error.validator == "anyOf":
        # the error is that of the alternative whose type fits; if none fits, the message lists all types
        fitting = [e for e in error.context if e.validator != "type" or len(e.path) > 0]
        if fitting:
            return sentence(max(fitting, key=lambda e: len(e.path)))
        kinds = dict.fromkeys(kinds_of(error.schema))
        return f"{at} is {shown}; it must be {wanted_kinds(kinds, value)}."
    if error.validator == "oneOf":
        choices = (" and ".join(f"'{key}'" for key in choice["required"]) for choice in rule)
        return f"{at} needs either {' or '.join(choices)}, not both."
    listed = re.fullmatch(r"\^\(([\w|]+)\)\$", rule) if error.validator == "pattern" else None
    if error.validator == "enum" or listed:
        allowed = listed.group(1).split("|") if listed else map(str, rule)
        return f"{at} is {shown}; it must be one of {', '.join(allowed)}."
    limits = {
        "minimum": f"be at least {rule}",
        "maximum": f"be at most {rule}",
        "exclusiveMinimum": f"be more than {rule}",
        "exclusiveMaximum": f"be less than {rule}",
        "minItems": f"have at least {rule} value",
        "maxItems": f"have at most {rule} values",
        "minProperties": "have at least one entry",
        "uniqueItems": "be a list without repetition",
        "minLength": "be a text that is not empty",
        "pattern": "be a text that is not blank" if rule == r"\S" else f"be a text like {rule}",
    }
    if error.validator in limits:
        return f"{at} is {shown}; it must {limits[error.validator]}."
    return f"{at}: {error.message}."


def validate(value, rules, source):
    """Raise ConfigError with the first mistake in `value` (unknown keys first); `source` names it."""
    errors = list(Validator(rules).iter_errors(value))
    if errors:
        first = min(
            errors, key=lambda e: (e.validator != "additionalProperties", dotted(e.absolute_path))
        )
        raise ConfigError(f"{source}: {sentence(first)}")


def known_name(name, allowed, where):
    if name not in allowed:
        raise ConfigError(f"config: {where} names '{short(str(name))}'; {nearest(name, allowed)}")
