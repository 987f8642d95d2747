"""Other people's checkpoints as plain data: a pickle reader in which nothing can be called.

A pickle is a program for a stack machine, and Python's own machine imports what the program names
and calls it. The machine here knows no import: a global is text, looked up in a table of a few
builders of this file (tensors, arrays, dictionaries) or of names that become inert `Record`s, and
refused by name where it is in neither. Parsing is left to the standard library's
`pickletools.genops`, which yields opcodes and executes none. That is safer than a subclass of
`pickle.Unpickler`, whose BUILD sets any attribute of what `find_class` returned and whose memo
allocates whatever index the file asks for.

Formats: torch.save since 1.6 (zip), torch.save before it, TorchScript archives (their tensors; the
code in them is not looked at), plain pickles.
"""

import io
import os
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from pickletools import genops

import numpy as np
import torch
from torch import Tensor

from nada.errors import UserError

ZIP_MAGIC = b"PK\x03\x04"
# torch.save before 1.6 writes this number and this protocol as pickles of their own.
LEGACY_MAGIC, LEGACY_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
VIEW_FACTOR = 4  # tensors of a file may share storages, but not show more than this many times it
SLACK = 1 << 20  # bytes that small files may show beyond that
MAX_LINE = 1 << 20  # bytes of a line of text in a pickle
MAX_ARCHIVES_IN_ARCHIVES = 3  # a plain pickle, and in it the storages of its tensors
MAX_AXES = 16
ITEM_BYTES = 64  # about what an item of a set or dictionary takes; counted where one is copied
MAX_KEY = 1 << 53  # larger whole numbers can be chosen to collide in a dictionary

# What the file may ask for ------------------------------------------------------------------------

STORAGES = {
    f"{module}.{name}": dtype
    for module in ("torch", "torch.cuda")
    for name, dtype in {
        "FloatStorage": torch.float32,
        "DoubleStorage": torch.float64,
        "HalfStorage": torch.float16,
        "BFloat16Storage": torch.bfloat16,
        "LongStorage": torch.int64,
        "IntStorage": torch.int32,
        "ShortStorage": torch.int16,
        "CharStorage": torch.int8,
        "ByteStorage": torch.uint8,
        "BoolStorage": torch.bool,
    }.items()
} | {"torch.storage.UntypedStorage": torch.uint8}

# Names that stand for themselves: data types in arguments, the class argument of an array.
WORDS = {
    "numpy.ndarray",
    *(f"torch.{name}" for name in ("float16", "float32", "float64", "bfloat16", "int64", "int32")),
    *(f"torch.{name}" for name in ("int16", "int8", "uint8", "bool")),
}

# Classes that become records: their name and state, no behaviour.
NETWORK = "dnnlib.tflib.network.Network"
RECORDS = {NETWORK, "argparse.Namespace", "torch.device"}
TORCHSCRIPT = "__torch__."
PERSISTENT = "torch_utils.persistence._reconstruct_persistent_obj"

NUMBERS = {f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)} | {"b1", "f2", "f4", "f8"}


@dataclass(frozen=True)
class Limits:
    """Bounds on work and nesting; what any published checkpoint needs is a tenth of them or less.

    opcodes: steps of the machine, archives within included. depth: containers within containers.
    nodes: values of the tree, shared ones counted as often as they are shown.
    """

    opcodes: int = 2_000_000
    depth: int = 64
    nodes: int = 2_000_000


LIMITS = Limits()


@dataclass(eq=False)
class Record:
    """What an object of a class was: `origin`, the global that made it; `name`; its `state`."""

    origin: str
    name: str
    state: object = None


@dataclass(frozen=True)
class Word:
    """A global that the file may name, as text."""

    name: str


@dataclass(eq=False)
class _Storage:
    """Numbers in a row, [N], and the bytes that they are a view on."""

    data: Tensor
    content: bytearray


@dataclass(eq=False)
class _Dtype:
    code: str
    order: str = "<"


@dataclass(eq=False)
class _Array:
    """An array that a BUILD still has to fill, and its places in the memo."""

    memo_keys: list[int] = field(default_factory=list)


class _Broken(Exception):
    """The file does not follow its format; the text says where."""


def read_pickle(source, limits: Limits = LIMITS, name: str | None = None):
    """The tree of a plain pickle: `source` is a path, a binary file that can seek, or bytes.

    The tree holds None, bools, numbers, text, bytes, lists, tuples, sets, dictionaries, tensors,
    NumPy arrays (read-only) and Records. Raises UserError where the file asks for a global that no
    checkpoint needs, is damaged, declares more than it holds, or exceeds `limits`.
    """
    return _read(source, limits, name, _read_plain)


def read_torch(source, limits: Limits = LIMITS, name: str | None = None):
    """The tree of a torch.save file of any age or of a TorchScript archive (see read_pickle)."""
    return _read(source, limits, name, _read_torch)


def read_checkpoint(source, limits: Limits = LIMITS, name: str | None = None):
    """The tree of a torch.save file or of a plain pickle, whichever the content says it is."""
    return _read(source, limits, name, _read_any)


def read_state_dict(path: str | os.PathLike, limits: Limits = LIMITS) -> dict[str, Tensor]:
    """Tensors by name from a safetensors file, a torch.save file or a TorchScript archive.

    In a torch.save file they are the dictionary itself or its entry 'state_dict'; in a TorchScript
    archive every tensor of every module, named like in its state_dict(). Data types stay.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = _existing(path)
    with open(path, "rb") as file:
        head = file.read(16)
    if is_safetensors(head, path.stat().st_size):
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise UserError(
                f"{path}: no readable safetensors file ({error}); get it again"
            ) from None
    tree = read_torch(path, limits)
    if isinstance(tree, Record) and tree.origin.startswith(TORCHSCRIPT):
        return _scripted_tensors(tree)
    if isinstance(tree, dict) and isinstance(tree.get("state_dict"), dict):
        tree = tree["state_dict"]
    if not isinstance(tree, dict) or not all(isinstance(t, Tensor) for t in tree.values()):
        raise UserError(
            f"{path}: not a state dict: tensors by name expected, or an entry 'state_dict' of them"
        )
    return dict(tree)


def is_safetensors(head: bytes, size: int) -> bool:
    """Whether the first bytes of a file of `size` bytes are those of a safetensors file."""
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size - 8


def tell_format(path: str | os.PathLike) -> str:
    """'safetensors', 'torch zip', 'pickle', or 'unknown', by the first bytes of the file."""
    path = _existing(path)
    with open(path, "rb") as file:
        head = file.read(16)
    if is_safetensors(head, path.stat().st_size):
        return "safetensors"
    if head.startswith(ZIP_MAGIC):
        return "torch zip"
    if head[:1] == b"\x80" and 2 <= head[1] <= 5:
        return "pickle"
    return "unknown"


def _scripted_tensors(record: Record, prefix: str = "") -> dict[str, Tensor]:
    """Every tensor below a TorchScript module; the depth of the tree is bounded already."""
    found: dict[str, Tensor] = {}
    for name, value in (record.state if isinstance(record.state, dict) else {}).items():
        if isinstance(value, Tensor):
            found[f"{prefix}{name}"] = value
        elif isinstance(value, Record):
            found |= _scripted_tensors(value, f"{prefix}{name}.")
    return found


# The readers of the formats -----------------------------------------------------------------------


def _existing(path) -> Path:
    path = Path(path)
    if not path.is_file():
        raise UserError(f"the weight file {path} is missing; restore it, or correct the path.")
    return path


def _read(source, limits: Limits, name: str | None, reader: Callable):
    """Open, read and check the tree; every kind of damage becomes one sentence."""
    if isinstance(source, bytes | bytearray):
        return _read(io.BytesIO(source), limits, name or "the pickle", reader)
    if isinstance(source, str | os.PathLike):
        with open(_existing(source), "rb") as file:
            return _read(file, limits, name or str(source), reader)
    where = name or str(getattr(source, "name", "the pickle"))
    try:
        bounded = _Bounded(source)
        budget = _Budget(bounded.size, limits, where)
        tree = reader(bounded, budget)
        _check_tree(tree, budget)
        return tree
    except (_Broken, zipfile.BadZipFile, EOFError, OSError, struct.error) as error:
        reason = _shown(error)
    # what operations on ill-typed values and torch itself raise
    except (TypeError, ValueError, LookupError, AttributeError, RuntimeError) as error:
        reason = _shown(f"{type(error).__name__}: {error}")
    except (OverflowError, MemoryError, NotImplementedError) as error:
        reason = type(error).__name__
    raise UserError(f"{where}: damaged or no checkpoint ({reason}); get the file again")


def _read_any(file: "_Bounded", budget: "_Budget"):
    if file.peek(4) == ZIP_MAGIC:
        return _read_zip(file, budget)
    first = _Machine(file, budget).run()
    if type(first) is int and first == LEGACY_MAGIC:
        return _read_legacy(file, budget)
    return first


def _read_torch(file: "_Bounded", budget: "_Budget"):
    if file.peek(4) == ZIP_MAGIC:
        return _read_zip(file, budget)
    if _Machine(file, budget).run() != LEGACY_MAGIC:
        raise _Broken("neither a zip archive of torch.save nor its older form")
    return _read_legacy(file, budget)


def _read_plain(file: "_Bounded", budget: "_Budget"):
    return _Machine(file, budget).run()


def _read_zip(file: "_Bounded", budget: "_Budget"):
    """A zip archive of torch: data.pkl and one file per storage. Nothing is unpacked to disk."""
    archive = _Archive(file, budget)
    if archive.read_if_there("byteorder") not in (None, b"little"):
        raise UserError(f"{budget.where}: its numbers are big-endian; save it again on a common PC")
    storages: dict[str, _Storage] = {}

    def storage(kind: str, key: str, count: int) -> _Storage:
        if key not in storages:
            dtype = STORAGES[kind]
            content = archive.read(f"data/{key}", count * dtype.itemsize)
            storages[key] = _Storage(_numbers(content, dtype, count), content)
        if storages[key].data.dtype != STORAGES[kind] or len(storages[key].data) != count:
            raise _Broken(f"storage {_shown(key)} is declared in two ways")
        return storages[key]

    program = _Bounded(io.BytesIO(archive.read("data.pkl")))
    return _Machine(program, budget, storage).run()


def _read_legacy(file: "_Bounded", budget: "_Budget"):
    """torch.save before 1.6, after its magic number: pickles in a row, then the storages' bytes."""
    protocol = _Machine(file, budget).run()
    system = _Machine(file, budget).run()
    if protocol != LEGACY_PROTOCOL or not isinstance(system, dict):
        raise _Broken("another version of the older form of torch.save")
    if system.get("little_endian") is not True:
        raise UserError(f"{budget.where}: its numbers are big-endian; save it again on a common PC")
    storages: dict[str, _Storage] = {}

    def storage(kind: str, key: str, count: int) -> _Storage:
        # The bytes come later in the file: the tensors view memory that is filled then.
        dtype = STORAGES[kind]
        if key not in storages:
            budget.store(count * dtype.itemsize)
            content = bytearray(count * dtype.itemsize)
            storages[key] = _Storage(_numbers(content, dtype, count), content)
        if storages[key].data.dtype != dtype or len(storages[key].data) != count:
            raise _Broken(f"storage {_shown(key)} is declared in two ways")
        return storages[key]

    tree = _Machine(file, budget, storage).run()
    keys = _Machine(file, budget).run()
    if not isinstance(keys, list) or sorted(storages) != sorted(map(str, keys)):
        raise _Broken("the list of storages is another than the tensors'")
    for key in map(str, keys):
        if int.from_bytes(file.read(8), "little", signed=True) != len(storages[key].data):
            raise _Broken(f"storage {_shown(key)} has another length than declared")
        storages[key].content[:] = file.read(len(storages[key].content))
    return tree


def _numbers(content: bytearray, dtype: torch.dtype, count: int) -> Tensor:
    """The bytes as `count` numbers, [count]; not copied."""
    if count == 0:  # frombuffer refuses it
        return torch.empty(0, dtype=dtype)
    return torch.frombuffer(content, dtype=dtype, count=count)


class _Archive:
    """The stored files of a zip archive of torch, by their name without the archive's folder."""

    def __init__(self, file: "_Bounded", budget: "_Budget"):
        self.budget = budget
        self.zip = zipfile.ZipFile(file.file)
        entries = self.zip.infolist()
        self.entries = {entry.filename: entry for entry in entries}
        if len(self.entries) != len(entries):
            raise UserError(f"{budget.where}: refused: two files of the archive share a name")
        for name in self.entries:
            if name.startswith("/") or "\\" in name or ":" in name or ".." in name.split("/"):
                raise UserError(
                    f"{budget.where}: refused: the archive names {_shown(name)}, a place outside it"
                )
        roots = [
            n.split("/")[0] for n in self.entries if n.endswith("/data.pkl") and n.count("/") == 1
        ]
        if len(roots) != 1:
            raise _Broken("a zip archive without the data.pkl of torch.save")
        self.root = roots[0]

    def read(self, name: str, size: int | None = None) -> bytearray:
        """The content of a stored file, which must have `size` bytes; its checksum is verified."""
        entry = self.entries.get(f"{self.root}/{name}")
        if entry is None:
            raise _Broken(f"the archive has no {_shown(name)}")
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
            raise UserError(
                f"{self.budget.where}: refused: {_shown(name)} is compressed, as no tensors of "
                f"torch.save are, and could unpack to any size"
            )
        if size is not None and size != entry.file_size:
            raise _Broken(
                f"{_shown(name)} has {entry.file_size} bytes, {_shown(size)} are declared"
            )
        self.budget.store(entry.file_size)
        return bytearray(self.zip.read(entry))

    def read_if_there(self, name: str) -> bytes | None:
        return bytes(self.read(name)) if f"{self.root}/{name}" in self.entries else None


class _Bounded:
    """A file that answers no request beyond its end, so that a false length allocates nothing."""

    def __init__(self, file):
        self.file = file
        start = file.tell()
        self.size = file.seek(0, os.SEEK_END)
        file.seek(start)

    def tell(self) -> int:
        return self.file.tell()

    def peek(self, count: int) -> bytes:
        start = self.file.tell()
        head = self.file.read(count)
        self.file.seek(start)
        return head

    def read(self, count: int) -> bytes:
        if count > self.size - self.file.tell():
            raise _Broken(f"{count} bytes are declared where the file ends; it may be truncated")
        return self.file.read(count)

    def readline(self) -> bytes:
        return self.file.readline(MAX_LINE)


class _Budget:
    """What one file may still cost; archives within it draw on the same budget."""

    def __init__(self, size: int, limits: Limits, where: str):
        self.where, self.limits = where, limits
        self.stored = size
        self.viewed = VIEW_FACTOR * size + SLACK
        self.opcodes = limits.opcodes
        self.archives = 0  # archives within archives that are open

    def store(self, count: int) -> None:
        """Take `count` bytes of storage: all together, no more than the file has."""
        self.stored -= count
        if self.stored < 0:
            self.refuse("its storages are declared larger than the file")

    def view(self, count: int) -> None:
        """Take `count` bytes that a tensor, an array or a text shows."""
        self.viewed -= count
        if self.viewed < 0:
            self.refuse(f"its tensors show more than {VIEW_FACTOR} times the file's bytes")

    def step(self) -> None:
        self.opcodes -= 1
        if self.opcodes < 0:
            self.refuse(f"its pickle has more than {self.limits.opcodes} steps")

    def refuse(self, reason: str):
        raise UserError(f"{self.where}: refused: {reason}; get the file from its author again")


def _check_tree(tree, budget: _Budget) -> None:
    """Bound the depth of the tree and the number of its values as they are shown, cycles included."""
    waiting, nodes = [(tree, 0)], 0
    while waiting:
        value, depth = waiting.pop()
        if isinstance(value, _Array):
            raise _Broken("an array without content")
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


def _shown(text) -> str:
    """Text of the file for a message: one line, printable, not long."""
    clean = "".join(c if c.isprintable() else " " for c in str(text)[:400])
    clean = " ".join(clean.split())
    return clean if len(clean) <= 80 else clean[:77] + "..."


# The machine --------------------------------------------------------------------------------------

PUSHES = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE"),
    *("BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
EMPTY = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_SET": set, "EMPTY_TUPLE": tuple}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
PUTS = {"PUT", "BINPUT", "LONG_BINPUT"}
GETS = {"GET", "BINGET", "LONG_BINGET"}
IDLE = {"PROTO", "FRAME"}


class _Machine:
    """Runs one pickle of a file; `storage(kind, key, count)` answers its persistent ids."""

    def __init__(self, file: _Bounded, budget: _Budget, storage: Callable | None = None):
        self.file, self.budget, self.storage = file, budget, storage
        self.stack: list = []
        self.marks: list[int] = []
        self.memo: dict[int, object] = {}

    def run(self):
        """The value that the pickle leaves; the file then stands behind the pickle."""
        for opcode, argument, _ in genops(self.file):
            self.budget.step()
            name = opcode.name
            if name == "STOP":
                return self.pop()
            if name in PUSHES:
                self.stack.append(argument)
            elif name in CONSTANTS:
                self.stack.append(CONSTANTS[name])
            elif name in EMPTY:
                self.stack.append(EMPTY[name]())
            elif name in TUPLES:
                items = [self.pop() for _ in range(TUPLES[name])]
                self.stack.append(tuple(reversed(items)))
            elif name in PUTS:
                self.memoize(argument)
            elif name in GETS:
                self.stack.append(self.memo[argument])
            elif name not in IDLE:
                step = getattr(self, f"step_{name.lower()}", None)
                if step is None:
                    self.budget.refuse(f"its pickle uses {name}, which no checkpoint needs")
                step(argument)
        raise _Broken("a pickle without an end")

    # The stack ................................................................................

    def pop(self):
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise _Broken("a pickle that takes more than it has")
        return self.stack.pop()

    def top(self):
        value = self.pop()
        self.stack.append(value)
        return value

    def since_mark(self) -> list:
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def memoize(self, key: int) -> None:
        value = self.top()
        if isinstance(value, _Array):
            value.memo_keys.append(key)
        self.memo[key] = value

    def step_memoize(self, _) -> None:
        self.memoize(len(self.memo))

    def step_mark(self, _) -> None:
        self.marks.append(len(self.stack))

    def step_pop(self, _) -> None:
        if self.marks and self.marks[-1] == len(self.stack):
            self.marks.pop()
        else:
            self.pop()

    def step_pop_mark(self, _) -> None:
        self.since_mark()

    def step_dup(self, _) -> None:
        self.stack.append(self.top())

    # Containers ...............................................................................

    def step_list(self, _) -> None:
        self.stack.append(self.since_mark())

    def step_tuple(self, _) -> None:
        self.stack.append(tuple(self.since_mark()))

    def step_frozenset(self, _) -> None:
        self.stack.append(frozenset(map(_key, self.since_mark())))

    def step_dict(self, _) -> None:
        items = self.since_mark()
        self.stack.append({})
        self.set_items(items)

    def step_append(self, _) -> None:
        self.append_items([self.pop()])

    def step_appends(self, _) -> None:
        self.append_items(self.since_mark())

    def step_setitem(self, _) -> None:
        value = self.pop()
        self.set_items([self.pop(), value])

    def step_setitems(self, _) -> None:
        self.set_items(self.since_mark())

    def step_additems(self, _) -> None:
        items = self.since_mark()
        _expect(self.top(), set).update(map(_key, items))

    def append_items(self, items: list) -> None:
        _expect(self.top(), list).extend(items)

    def set_items(self, items: list) -> None:
        target = _expect(self.top(), dict)
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[_key(key)] = value

    # Globals and objects ......................................................................

    def step_global(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self.stack.append(self.word(module, name))

    def step_stack_global(self, _) -> None:
        name = _expect(self.pop(), str)
        self.stack.append(self.word(_expect(self.pop(), str), name))

    def word(self, module: str, name: str) -> Word:
        """A global as text, if it is one that checkpoints need."""
        asked = f"{module}.{name}"
        known = asked in BUILDERS or asked in STORAGES or asked in WORDS or asked in RECORDS
        if not known and not asked.startswith(TORCHSCRIPT):
            raise UserError(
                f"{self.budget.where}: refused: it asks for the global '{_shown(asked)}', which no "
                f"checkpoint needs; nothing of it was run: delete the file, or ask its author"
            )
        return Word(asked)

    def step_reduce(self, _) -> None:
        arguments = _expect(self.pop(), tuple)
        self.stack.append(self.make(_expect(self.pop(), Word).name, arguments))

    step_newobj = step_reduce

    def step_newobj_ex(self, _) -> None:
        if _expect(self.pop(), dict):
            raise _Broken("an object made with named arguments")
        self.step_reduce(None)

    def make(self, name: str, arguments: tuple):
        """What a call in the file makes: data by a builder of this file, or an inert record."""
        if name in BUILDERS:
            return BUILDERS[name](self, *arguments)
        if name in RECORDS or name.startswith(TORCHSCRIPT):
            return Record(name, name.rpartition(".")[2], arguments or None)
        raise _Broken(f"{_shown(name)} is used as if it were a function")

    def step_build(self, _) -> None:
        state = self.pop()
        target = self.pop()
        if isinstance(target, Record):
            target.state = state
        elif isinstance(target, _Dtype):
            target.order = _byte_order(state)
        elif isinstance(target, _Array):
            array = _filled(self, *_expect(state, tuple))
            for key in target.memo_keys:
                self.memo[key] = array
            target = array
        elif not isinstance(target, dict):  # of a state dict, it is notes on its modules' versions
            raise _Broken(f"a state for a value of type {type(target).__name__}")
        self.stack.append(target)

    def step_binpersid(self, _) -> None:
        self.persistent(self.pop())

    def persistent(self, mark) -> None:
        """('storage', type, key, device, count[, view]): the numbers of one or more tensors."""
        if self.storage is None:
            raise _Broken("a pickle that refers to storages outside it")
        what, kind, key, _, count, *view = _expect(mark, tuple)
        kind, key, count = _expect(kind, Word).name, _expect(key, str), _whole(count)
        if what != "storage" or kind not in STORAGES or any(v is not None for v in view):
            raise _Broken("a reference that is no storage")
        self.stack.append(self.storage(kind, key, count))


def _expect(value, kind):
    """The value, which must be of a type or of one of several (list | tuple)."""
    if not isinstance(value, kind):
        wanted = getattr(kind, "__name__", str(kind))
        raise _Broken(f"{wanted} expected, {type(value).__name__} found")
    return value


def _whole(value) -> int:
    if type(value) is not int or not 0 <= value < 1 << 62:
        raise _Broken(f"a size of {_shown(value) if type(value) is not int else 'no use'}")
    return value


def _sizes(value) -> list[int]:
    """Sizes or strides, few enough for a tensor."""
    if len(_expect(value, tuple | list)) > MAX_AXES:
        raise _Broken(f"a shape of {len(value)} axes")
    return [_whole(size) for size in value]


def _key(value):
    """A key of a dictionary or set: text, bytes, a whole number; others can be made to collide."""
    if not isinstance(value, str | bytes | int | None):
        raise _Broken(f"a key of type {type(value).__name__}")
    if isinstance(value, int) and abs(value) >= MAX_KEY:
        raise _Broken("a key that is too large a number")
    return value


# The builders -------------------------------------------------------------------------------------


def _tensor(machine: _Machine, storage, offset, size, stride, *_) -> Tensor:
    """A view on a storage that lies inside it and shows no value of it twice over."""
    data = _expect(storage, _Storage).data
    offset, size, stride = _whole(offset), _sizes(size), _sizes(stride)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    count = prod(size)
    if count > len(data) or (count and last >= len(data)) or offset > len(data):
        machine.budget.refuse("a tensor reaches outside its storage")
    machine.budget.view(count * data.element_size())
    return torch.as_strided(data, size, stride, offset)


def _parameter(_machine: _Machine, data, *_) -> Tensor:
    return _expect(data, Tensor)


def _nested(machine: _Machine, content):
    """A storage that a plain pickle carries as a torch.save file of its own."""
    budget = machine.budget
    budget.archives += 1
    if budget.archives > MAX_ARCHIVES_IN_ARCHIVES:
        budget.refuse("archives are nested in archives")
    value = _read_torch(_Bounded(io.BytesIO(_expect(content, bytes))), budget)
    budget.archives -= 1
    return value


def _ordered(machine: _Machine, pairs=()) -> OrderedDict:
    machine.budget.view(ITEM_BYTES * len(_expect(pairs, list | tuple)))
    return OrderedDict((_key(key), value) for key, value in pairs)


def _easy_dict(_machine: _Machine, *_) -> dict:
    return {}


def _set(machine: _Machine, items=()) -> set:
    machine.budget.view(ITEM_BYTES * len(_expect(items, list | tuple)))
    return set(map(_key, items))


def _size(_machine: _Machine, dims) -> tuple:
    return tuple(_sizes(dims))


def _encoded(machine: _Machine, text, encoding) -> bytes:
    """Bytes as protocol 2 writes them: text of latin-1."""
    if encoding not in ("latin1", "latin-1"):
        raise _Broken("bytes in another encoding than latin-1")
    machine.budget.view(len(_expect(text, str)))
    return text.encode("latin-1")


def _bytes(_machine: _Machine, *items) -> bytes:
    if items:
        raise _Broken("bytes made of a list")
    return b""


def _persistent_object(_machine: _Machine, meta) -> Record:
    """An object of NVlabs' `persistence`: class name and state; its source text is dropped."""
    meta = _expect(meta, dict)
    name, state = _expect(meta.get("class_name"), str), _expect(meta.get("state"), dict)
    return Record(PERSISTENT, name, state)


def _tagged(_machine: _Machine, value, *_):
    """A list or value that TorchScript pickles with a note on its type."""
    return value


def _dtype(machine: _Machine, code, *_) -> _Dtype:
    if code not in NUMBERS:
        machine.budget.refuse(f"an array of type {_shown(code)}; plain numbers alone are read")
    return _Dtype(code)


def _byte_order(state) -> str:
    """The byte order in the state of a NumPy data type: (version, order, no parts …)."""
    order, parts = _expect(state, tuple)[1], state[2:5]
    if order not in ("<", ">", "|", "=") or any(part is not None for part in parts):
        raise _Broken("an array of a data type with parts")
    return order


def _numpy_array(machine: _Machine, content, dtype, shape, order="C") -> np.ndarray:
    content = _expect(content, bytes | bytearray)
    dtype = np.dtype(_expect(dtype, _Dtype).order + dtype.code)
    shape = _sizes(shape)
    if order not in ("C", "F") or prod(shape) * dtype.itemsize != len(content):
        raise _Broken("an array whose shape is not that of its content")
    machine.budget.view(len(content))
    array = np.frombuffer(content, dtype).reshape(shape, order=order)
    array.flags.writeable = False
    return array


def _filled(machine: _Machine, _version, shape, dtype, fortran, content) -> np.ndarray:
    content = content.encode("latin-1") if isinstance(content, str) else content
    return _numpy_array(machine, content, dtype, shape, "F" if fortran else "C")


def _empty_array(_machine: _Machine, kind, *_) -> _Array:
    if _expect(kind, Word).name != "numpy.ndarray":
        raise _Broken("an array of a class of its own")
    return _Array()


def _scalar(machine: _Machine, dtype, content) -> int | float | bool:
    content = content.encode("latin-1") if isinstance(content, str) else content
    return _numpy_array(machine, content, dtype, ()).item()


BUILDERS: dict[str, Callable] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch.storage._load_from_bytes": _nested,
    "torch.Size": _size,
    "collections.OrderedDict": _ordered,
    "builtins.set": _set,
    "__builtin__.set": _set,
    "builtins.bytes": _bytes,
    "__builtin__.bytes": _bytes,
    "_codecs.encode": _encoded,
    "dnnlib.util.EasyDict": _easy_dict,
    PERSISTENT: _persistent_object,
    "numpy.dtype": _dtype,
    # The package moved in NumPy 2.
    **{f"numpy.{core}.multiarray._reconstruct": _empty_array for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": _scalar for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": _numpy_array for core in ("core", "_core")},
    **{
        f"torch.jit._pickle.{name}": _tagged
        for name in ("build_intlist", "build_doublelist", "build_boollist", "build_tensorlist")
    },
    "torch.jit._pickle.restore_type_tag": _tagged,
}
