"""The types in the tree of a foreign file besides plain values, and checks of its parts."""

from dataclasses import dataclass, field

from torch import Tensor

from nada.stylegan2.readers.unpickle_limits import Broken, Budget

MAX_AXES = 16
MAX_KEY = 1 << 53  # larger whole numbers can be chosen to collide in a dictionary


@dataclass(eq=False)
class Record:
    """An inert object: `origin`, the global that made it; `name`; its `state`."""

    origin: str
    name: str
    state: object = None


@dataclass(frozen=True)
class Word:
    """A global that the file may name, as text; `last` is its name without the module."""

    name: str
    last: str


@dataclass(eq=False)
class Storage:
    """A vector of numbers [N], and the bytes that it is a view on."""

    data: Tensor
    content: bytearray


@dataclass(eq=False)
class Dtype:
    code: str
    order: str = "<"


@dataclass(eq=False)
class Array:
    """An array that a later BUILD fills, and its places in the memo."""

    memo_keys: list[int] = field(default_factory=list)


def expect(value, kind):
    """Return the value if it has the type, or one of several types (list | tuple)."""
    if not isinstance(value, kind):
        wanted = getattr(kind, "__name__", str(kind))
        raise Broken(f"{wanted} expected, {type(value).__name__} found")
    return value


def whole(value) -> int:
    if type(value) is not int or not 0 <= value < 1 << 62:
        raise Broken(f"a size of type {type(value).__name__}, or out of range")
    return value


def sizes(value) -> list[int]:
    """Sizes or strides, few enough for a tensor."""
    if len(expect(value, tuple | list)) > MAX_AXES:
        raise Broken(f"a shape of {len(value)} axes")
    return [whole(size) for size in value]


def as_key(value):
    """Check a key of a dictionary or set: text, bytes or an integer; others can be made to collide."""
    if not isinstance(value, str | bytes | int | None):
        raise Broken(f"a key of type {type(value).__name__}")
    if isinstance(value, int) and abs(value) >= MAX_KEY:
        raise Broken("a key that is too large a number")
    return value


def check_tree(tree, budget: Budget) -> None:
    """Check the depth of the tree and the number of its values; shared values count at every place."""
    waiting, nodes = [(tree, 0)], 0
    while waiting:
        value, depth = waiting.pop()
        if isinstance(value, Array):
            raise Broken("an array without content")
        if isinstance(value, dict):
            children = value.values()
        elif isinstance(value, list | tuple | set | frozenset):
            children = value
        elif isinstance(value, Record):
            children = (value.state,)
        else:
            continue
        nodes += len(children)
        if nodes > budget.limits.nodes:
            budget.refuse(f"it shows more than {budget.limits.nodes} values")
        if depth >= budget.limits.depth:
            budget.refuse(f"its values are nested more than {budget.limits.depth} deep")
        waiting.extend((child, depth + 1) for child in children)
