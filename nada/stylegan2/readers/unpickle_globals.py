"""The globals that a foreign file may name, and the builders of their values.

A global is text. The table below maps it to a builder or to an inert Record. A file with any other
global is refused with its name. Nothing is imported or called.
"""

from collections import OrderedDict
from collections.abc import Callable
from math import prod

import numpy as np
import torch
from torch import Tensor

from nada.run.messages import shown
from nada.stylegan2.readers.unpickle_limits import ITEM_BYTES, Broken
from nada.stylegan2.readers.unpickle_values import (
    Array,
    Dtype,
    Record,
    Storage,
    Word,
    as_key,
    expect,
    sizes,
    whole,
)

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

# Names that are used as values: data types in arguments, the class argument of an array.
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


def is_known(name: str) -> bool:
    """Whether a checkpoint may name a global."""
    known = name in BUILDERS or name in STORAGES or name in WORDS or name in RECORDS
    return known or name.startswith(TORCHSCRIPT)


def is_record(name: str) -> bool:
    """Whether an object of a class is kept as an inert Record."""
    return name in RECORDS or name.startswith(TORCHSCRIPT)


# The builders: (machine, the arguments of the call in the file) -> the value -----------------------


def _tensor(machine, storage, offset, size, stride, *_) -> Tensor:
    """A view on a storage; it must lie inside the storage, and the budget counts its size."""
    data = expect(storage, Storage).data
    offset, size, stride = whole(offset), sizes(size), sizes(stride)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    count = prod(size)
    if count > len(data) or (count and last >= len(data)) or offset > len(data):
        machine.budget.refuse("a tensor reaches outside its storage")
    machine.budget.view(count * data.element_size())
    return torch.as_strided(data, size, stride, offset)


def _parameter(_machine, data, *_) -> Tensor:
    return expect(data, Tensor)


def _nested(machine, content):
    """A storage that a plain pickle contains as a torch.save file."""
    return machine.archive(expect(content, bytes))


def _ordered(machine, pairs=()) -> OrderedDict:
    machine.budget.view(ITEM_BYTES * len(expect(pairs, list | tuple)))
    return OrderedDict((as_key(key), value) for key, value in pairs)


def _easy_dict(_machine, *_) -> dict:
    return {}


def _set(machine, items=()) -> set:
    machine.budget.view(ITEM_BYTES * len(expect(items, list | tuple)))
    return set(map(as_key, items))


def _size(_machine, dims) -> tuple:
    return tuple(sizes(dims))


def _encoded(machine, text, encoding) -> bytes:
    """Bytes as protocol 2 writes them: text of latin-1."""
    if encoding not in ("latin1", "latin-1"):
        raise Broken("bytes in another encoding than latin-1")
    machine.budget.view(len(expect(text, str)))
    return text.encode("latin-1")


def _bytes(_machine, *items) -> bytes:
    if items:
        raise Broken("bytes made of a list")
    return b""


def _persistent_object(_machine, meta) -> Record:
    """An object of NVlabs' `persistence`: class name and state; its source text is dropped."""
    meta = expect(meta, dict)
    name, state = expect(meta.get("class_name"), str), expect(meta.get("state"), dict)
    return Record(PERSISTENT, name, state)


def _tagged(_machine, value, *_):
    """A list or value that TorchScript pickles with its type."""
    return value


def _dtype(machine, code, *_) -> Dtype:
    if expect(code, str) not in NUMBERS:  # hashing nested tuples can take endless time
        machine.budget.refuse(f"an array of type {shown(code)}; plain numbers alone are read")
    return Dtype(code)


def byte_order(state) -> str:
    """The byte order in the state of a NumPy data type: (version, order, no parts …)."""
    order, parts = expect(state, tuple)[1], state[2:5]
    if order not in ("<", ">", "|", "=") or any(part is not None for part in parts):
        raise Broken("an array of a data type with parts")
    return order


def _numpy_array(machine, content, dtype, shape, order="C") -> np.ndarray:
    content = expect(content, bytes | bytearray)
    dtype = np.dtype(expect(dtype, Dtype).order + dtype.code)
    shape = sizes(shape)
    if order not in ("C", "F") or prod(shape) * dtype.itemsize != len(content):
        raise Broken("an array whose shape does not fit its content")
    machine.budget.view(len(content))
    array = np.frombuffer(content, dtype).reshape(shape, order=order)
    array.flags.writeable = False
    return array


def filled(machine, _version, shape, dtype, fortran, content) -> np.ndarray:
    content = content.encode("latin-1") if isinstance(content, str) else content
    return _numpy_array(machine, content, dtype, shape, "F" if fortran else "C")


def _empty_array(_machine, kind, *_) -> Array:
    if expect(kind, Word).name != "numpy.ndarray":
        raise Broken("an array of an unknown class")
    return Array()


def _scalar(machine, dtype, content) -> int | float | bool:
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
