"""Read checkpoints of other projects as plain data: a pickle reader that calls nothing.

A pickle is a program for a stack machine. Python's machine imports the names in the program and calls
them. The machine here (unpickle_machine.py) imports nothing. A global is text; a table maps it to one
of a few builders or to an inert `Record` (unpickle_globals.py), and any other name is refused. This is
safer than a subclass of `pickle.Unpickler`: its BUILD sets any attribute of what `find_class` returned,
and its memo allocates any index in the file. unpickle_limits.py bounds memory and work.

Formats: torch.save since 1.6 (zip), torch.save before it, TorchScript archives (only their tensors),
plain pickles.
"""

import io
import os
import struct
import zipfile
from collections.abc import Callable

import torch
from torch import Tensor

from nada.run.errors import UserError
from nada.run.manifest import existing
from nada.run.messages import shown
from nada.stylegan2.readers.unpickle_globals import STORAGES, TORCHSCRIPT
from nada.stylegan2.readers.unpickle_limits import LIMITS, Bounded, Broken, Budget, Limits
from nada.stylegan2.readers.unpickle_machine import Machine
from nada.stylegan2.readers.unpickle_values import Record, Storage, check_tree, expect

ZIP_MAGIC = b"PK\x03\x04"
# torch.save before 1.6 writes this number and this protocol as separate pickles.
LEGACY_MAGIC, LEGACY_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
# Errors of operations on ill-typed values, and of torch.
UNEXPECTED = (TypeError, ValueError, LookupError, AttributeError, RuntimeError)
MAX_NAMES, MAX_NAME = 1 << 16, 400  # of a TorchScript archive; CLIP's largest have some 1,200
MAX_ARCHIVES_IN_ARCHIVES = 3  # a plain pickle, and in it the storages of its tensors


def read_pickle(source, limits: Limits = LIMITS, name: str | None = None):
    """The tree of a plain pickle: `source` is a path, a binary file that can seek, or bytes.

    The tree holds None, bools, numbers, text, bytes, lists, tuples, sets, dictionaries, tensors,
    NumPy arrays (read-only) and Records. Raises UserError if the file uses a global that no checkpoint
    needs, is damaged, declares more than it holds, or exceeds `limits`.
    """
    return _read(source, limits, name, _read_plain)


def read_torch(source, limits: Limits = LIMITS, name: str | None = None):
    """The tree of a torch.save file of any age or of a TorchScript archive (see read_pickle)."""
    return _read(source, limits, name, _read_torch)


def read_checkpoint(source, limits: Limits = LIMITS, name: str | None = None):
    """The tree of a torch.save file or of a plain pickle, told apart by their content."""
    return _read(source, limits, name, _read_any)


def read_state_dict(path: str | os.PathLike, limits: Limits = LIMITS) -> dict[str, Tensor]:
    """Tensors by name from a safetensors file, a torch.save file or a TorchScript archive.

    In a torch.save file they are the dictionary itself or its entry 'state_dict'; in a TorchScript
    archive they are all tensors of all modules, named as in its state_dict(). Data types are kept.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = existing(path)
    with open(path, "rb") as file:
        head = file.read(16)
    if is_safetensors(head, path.stat().st_size):
        try:
            return load_file(path)
        # a header may name shapes and types that torch does not have
        except (
            SafetensorError,
            OSError,
            TypeError,
            ValueError,
            LookupError,
            RuntimeError,
        ) as error:
            raise UserError(
                f"{path}: not a readable safetensors file ({shown(error, 200)}); get it again"
            ) from None
    tree = read_torch(path, limits)
    if isinstance(tree, Record) and tree.origin.startswith(TORCHSCRIPT):
        return _scripted_tensors(tree, str(path))
    if isinstance(tree, dict) and isinstance(tree.get("state_dict"), dict):
        tree = tree["state_dict"]
    named = isinstance(tree, dict) and all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in tree.items()
    )
    if not named:
        raise UserError(
            f"{path}: not a state dict: tensors by name expected, or an entry 'state_dict' of them"
        )
    return dict(tree)


def is_safetensors(head: bytes, size: int) -> bool:
    """Whether the first bytes of a file of `size` bytes are those of a safetensors file."""
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size - 8


def tell_format(path: str | os.PathLike) -> str:
    """'safetensors', 'torch zip', 'pickle', or 'unknown', by the first bytes of the file."""
    path = existing(path)
    with open(path, "rb") as file:
        head = file.read(16)
    if is_safetensors(head, path.stat().st_size):
        return "safetensors"
    if head.startswith(ZIP_MAGIC):
        return "torch zip"
    if head[:1] == b"\x80" and head[1:2] in (b"\2", b"\3", b"\4", b"\5"):
        return "pickle"
    return "unknown"


def _scripted_tensors(record: Record, where: str) -> dict[str, Tensor]:
    """Every tensor below a TorchScript module, in the order of the file."""
    found: dict[str, Tensor] = {}
    waiting = [("", record)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, Tensor):
            found[path] = value
        elif isinstance(value, Record) and isinstance(value.state, dict):
            names = [f"{path}.{name}" if path else f"{name}" for name in value.state]
            waiting.extend(reversed(list(zip(names, value.state.values()))))
        # shared modules and long names could need any amount of memory
        if len(found) > MAX_NAMES or len(path) > MAX_NAME:
            raise UserError(
                f"{where}: refused: it names more than {MAX_NAMES} tensors, or one by more than "
                f"{MAX_NAME} characters; get the file from its author again"
            )
    return found


# The readers of the formats -----------------------------------------------------------------------


def _read(source, limits: Limits, name: str | None, reader: Callable):
    """Open, read and check the tree; every kind of damage raises UserError with one sentence."""
    if isinstance(source, bytes | bytearray):
        return _read(io.BytesIO(source), limits, name or "the pickle", reader)
    if isinstance(source, str | os.PathLike):
        with open(existing(source), "rb") as file:
            return _read(file, limits, name or str(source), reader)
    where = name or str(getattr(source, "name", "the pickle"))
    try:
        bounded = Bounded(source)
        budget = Budget(bounded.size, limits, where)
        tree = reader(bounded, budget)
        check_tree(tree, budget)
        return tree
    except (Broken, zipfile.BadZipFile, EOFError, OSError, struct.error) as error:
        reason = shown(error)
    except UNEXPECTED as error:
        reason = shown(f"{type(error).__name__}: {error}")
    except (OverflowError, MemoryError, NotImplementedError) as error:
        reason = type(error).__name__
    raise UserError(f"{where}: damaged or not a checkpoint ({reason}); get the file again")


def _read_any(file: Bounded, budget: Budget):
    if file.peek(4) == ZIP_MAGIC:
        return _read_zip(file, budget)
    first = _machine(file, budget).run()
    if type(first) is int and first == LEGACY_MAGIC:
        return _read_legacy(file, budget)
    return first


def _read_torch(file: Bounded, budget: Budget):
    if file.peek(4) == ZIP_MAGIC:
        return _read_zip(file, budget)
    if _machine(file, budget).run() != LEGACY_MAGIC:
        raise Broken("neither a zip archive of torch.save nor its older form")
    return _read_legacy(file, budget)


def _read_plain(file: Bounded, budget: Budget):
    return _machine(file, budget).run()


def _machine(file: Bounded, budget: Budget, storage: Callable | None = None) -> Machine:
    """A machine for a pickle of the file, which reads archives within it on the same budget."""

    def archive(content: bytes):
        budget.archives += 1
        if budget.archives > MAX_ARCHIVES_IN_ARCHIVES:
            budget.refuse("archives are nested in archives")
        value = _read_torch(Bounded(io.BytesIO(content)), budget)
        budget.archives -= 1
        return value

    return Machine(file, budget, archive, storage)


def _read_zip(file: Bounded, budget: Budget):
    """A zip archive of torch: data.pkl and one file per storage. Nothing is unpacked to disk."""
    archive = _Archive(file, budget)
    if archive.read_if_there("byteorder") not in (None, b"little"):
        raise UserError(f"{budget.where}: its numbers are big-endian; save it again on a common PC")
    storages: dict[str, Storage] = {}

    def storage(kind: str, key: str, count: int) -> Storage:
        if key not in storages:
            dtype = STORAGES[kind]
            content = archive.read(f"data/{key}", count * dtype.itemsize)
            storages[key] = Storage(_numbers(content, dtype, count), content)
        if storages[key].data.dtype != STORAGES[kind] or len(storages[key].data) != count:
            raise Broken(f"storage {shown(key)} is declared in two ways")
        return storages[key]

    program = Bounded(io.BytesIO(archive.read("data.pkl")))
    return _machine(program, budget, storage).run()


def _read_legacy(file: Bounded, budget: Budget):
    """torch.save before 1.6, after its magic number: consecutive pickles, then the storages' bytes."""
    protocol = _machine(file, budget).run()
    system = _machine(file, budget).run()
    if protocol != LEGACY_PROTOCOL or not isinstance(system, dict):
        raise Broken("another version of the older form of torch.save")
    if system.get("little_endian") is not True:
        raise UserError(f"{budget.where}: its numbers are big-endian; save it again on a common PC")
    storages: dict[str, Storage] = {}

    def storage(kind: str, key: str, count: int) -> Storage:
        # The bytes come later in the file: the tensors view memory that is filled then.
        dtype = STORAGES[kind]
        if key not in storages:
            budget.store(count * dtype.itemsize)
            content = bytearray(count * dtype.itemsize)
            storages[key] = Storage(_numbers(content, dtype, count), content)
        if storages[key].data.dtype != dtype or len(storages[key].data) != count:
            raise Broken(f"storage {shown(key)} is declared in two ways")
        return storages[key]

    tree = _machine(file, budget, storage).run()
    keys = _machine(file, budget).run()
    keys = [expect(key, str) for key in expect(keys, list)]
    if sorted(storages) != sorted(keys):
        raise Broken("the list of storages differs from that of the tensors")
    for key in keys:
        if int.from_bytes(file.read(8), "little", signed=True) != len(storages[key].data):
            raise Broken(f"storage {shown(key)} has another length than declared")
        storages[key].content[:] = file.read(len(storages[key].content))
    return tree


def _numbers(content: bytearray, dtype: torch.dtype, count: int) -> Tensor:
    """The bytes as `count` numbers, [count]; not copied."""
    if count == 0:  # frombuffer refuses it
        return torch.empty(0, dtype=dtype)
    return torch.frombuffer(content, dtype=dtype, count=count)


class _Archive:
    """The stored files of a zip archive of torch, by their name without the archive's folder."""

    def __init__(self, file: Bounded, budget: Budget):
        self.budget = budget
        self.zip = zipfile.ZipFile(file.file)
        entries = self.zip.infolist()
        self.entries = {entry.filename: entry for entry in entries}
        if len(self.entries) != len(entries):
            raise UserError(f"{budget.where}: refused: two files of the archive share a name")
        for name in self.entries:
            if name.startswith("/") or "\\" in name or ":" in name or ".." in name.split("/"):
                raise UserError(
                    f"{budget.where}: refused: the archive names {shown(name)}, a place outside it"
                )
        roots = [
            n.split("/")[0] for n in self.entries if n.endswith("/data.pkl") and n.count("/") == 1
        ]
        if len(roots) != 1:
            raise Broken("a zip archive without the data.pkl of torch.save")
        self.root = roots[0]

    def read(self, name: str, size: int | None = None) -> bytearray:
        """The content of a stored file, which must have `size` bytes; its checksum is verified."""
        entry = self.entries.get(f"{self.root}/{name}")
        if entry is None:
            raise Broken(f"the archive has no {shown(name)}")
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
            raise UserError(
                f"{self.budget.where}: refused: {shown(name)} is compressed, as no tensors of "
                f"torch.save are, and could unpack to any size"
            )
        if size is not None and size != entry.file_size:
            raise Broken(f"{shown(name)} has {entry.file_size} bytes, {shown(size)} are declared")
        self.budget.store(entry.file_size)
        return bytearray(self.zip.read(entry))

    def read_if_there(self, name: str) -> bytes | None:
        return bytes(self.read(name)) if f"{self.root}/{name}" in self.entries else None
