"""A method's hyperparameters: a documented dataclass with every default, filled from a run spec."""

import dataclasses
import difflib
import math
import operator
import types
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from nada.run.errors import UserError

#: What each end of a range asks of a value.
ALLOWED = {"minimum": operator.ge, "above": operator.gt, "maximum": operator.le, "below": operator.lt}


def setting(default, minimum=None, maximum=None, *, above=None, below=None):
    """A dataclass field with a default and an allowed range.

    minimum, maximum: the least and the greatest value. above, below: limits that are not allowed
    themselves. Infinity and NaN are refused in any range. The limits hold for each number of a list.
    """
    limits = {"minimum": minimum, "maximum": maximum, "above": above, "below": below}
    if isinstance(default, (list, dict)) or dataclasses.is_dataclass(default):
        return dataclasses.field(default_factory=lambda: default, metadata=limits)
    return dataclasses.field(default=default, metadata=limits)


def read_hyperparameters(cls, values: dict, run: str, section: str = "hyperparameters"):
    """Build the dataclass `cls` from a run spec's `values`; what is left out keeps its default.

    `run` opens every message, `section` says where in the file. Nested dataclasses are nested
    objects. Raises UserError for an unknown key (with the nearest name), a wrong type, a value out of
    its range, or a number that is not finite.
    """
    if not isinstance(values, dict):
        raise UserError(f"{run}: {section} is {values!r}; it must be an object of hyperparameters.")
    fields = {field.name: field for field in dataclasses.fields(cls)}
    hints = get_type_hints(cls)
    filled = {}
    for key, value in values.items():
        if key not in fields:
            near = difflib.get_close_matches(str(key), fields, n=1)
            hint = f"did you mean '{near[0]}'? " if near else ""
            known = ", ".join(fields)
            raise UserError(f"{run}: {section} has no key '{key}'; {hint}It knows: {known}.")
        name = f"{section}.{key}"
        try:
            filled[key] = _convert(value, hints[key], run, name)
        except TypeError:
            wanted = _describe(hints[key])
            raise UserError(f"{run}: {name} is {value!r}; it must be {wanted}.") from None
        _check_range(filled[key], fields[key].metadata, run, name)
    return cls(**filled)


def resolved(hparams) -> dict:
    """The hyperparameters, defaults included, as a run record keeps them."""
    return dataclasses.asdict(hparams)


def _convert(value, hint, run: str, name: str) -> Any:
    """`value` as the annotated type; TypeError where it is another."""
    origin, arguments = get_origin(hint), get_args(hint)
    if dataclasses.is_dataclass(hint):
        return read_hyperparameters(hint, value, run, name)
    if origin in (Union, types.UnionType):
        return _convert_union(value, arguments, run, name)
    if origin is Literal:
        if isinstance(value, str) and value in arguments:
            return value
    elif origin is list:
        if isinstance(value, list):
            return [_convert(item, arguments[0], run, name) for item in value]
    elif origin is tuple:
        if isinstance(value, (list, tuple)) and len(value) == len(arguments):
            pairs = zip(value, arguments, strict=True)
            return tuple(_convert(item, argument, run, name) for item, argument in pairs)
    elif hint is float:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
    elif hint is int:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    elif isinstance(value, hint):
        return value
    raise TypeError(name)


def _convert_union(value, arguments, run: str, name: str):
    if value is None and type(None) in arguments:
        return None
    for argument in arguments:
        if argument is type(None):
            continue
        try:
            return _convert(value, argument, run, name)
        except TypeError:
            continue
    raise TypeError(name)


def _check_range(value, limits, run: str, name: str) -> None:
    for item in value if isinstance(value, (list, tuple)) else [value]:
        if not isinstance(item, (int, float)) or isinstance(item, bool):
            continue
        if not math.isfinite(item):
            raise UserError(f"{run}: {name} is {item!r}; it must be a finite number.")
        if not all(ALLOWED[end](item, limit) for end, limit in limits.items() if limit is not None):
            raise UserError(f"{run}: {name} is {item!r}; set it to {_range(limits)}.")


def _range(limits) -> str:
    """A range in words, such as '0..1' or 'more than 0'."""
    low, high, above, below = (limits[end] for end in ("minimum", "maximum", "above", "below"))
    if low is not None and high is not None:
        return f"{low}..{high}"
    ends = {"{} or more": low, "more than {}": above, "{} or less": high, "less than {}": below}
    return " and ".join(text.format(end) for text, end in ends.items() if end is not None)


def _describe(hint) -> str:
    origin, arguments = get_origin(hint), get_args(hint)
    if dataclasses.is_dataclass(hint):
        return "an object of hyperparameters"
    if origin in (Union, types.UnionType):
        return " or ".join(_describe(argument) for argument in arguments)
    if origin is Literal:
        return "one of " + ", ".join(repr(argument) for argument in arguments)
    if origin is list:
        return f"a list of items that are each {_describe(arguments[0])}"
    if origin is tuple:
        return f"a list of {len(arguments)} items, each {_describe(arguments[0])}"
    names = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    return names.get(hint, "null")
