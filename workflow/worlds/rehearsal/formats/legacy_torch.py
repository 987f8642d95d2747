"""The format of torch.save before release 1.6.

torch can still write it, but names each storage by its address, which differs from run to run.
"""

import io
import pickle
import struct
from collections import OrderedDict

import torch
from torch import Tensor, nn

LEGACY_HEAD = (
    0x1950A86A20F9469CFC6C,
    1001,
    {
        "protocol_version": 1001,
        "little_endian": True,
        "type_sizes": {"short": 2, "int": 4, "long": 4},
    },
)


class _Storage:
    """The flat values of one tensor."""

    def __init__(self, tensor: Tensor):
        if tensor.dtype != torch.float32:
            raise TypeError(f"tensors must be float32, got {tensor.dtype}")
        self.numbers = tensor.flatten()


class Pickler(pickle.Pickler):
    """Pickles tensors and parameters as torch does, each with its own storage."""

    def reducer_override(self, value):
        if isinstance(value, nn.Parameter):
            return torch._utils._rebuild_parameter, (value.data, True, OrderedDict())
        if isinstance(value, Tensor):
            value = value.detach().contiguous()
            size, stride = tuple(value.shape), value.stride()
            made_of = (_Storage(value), 0, size, stride, False, OrderedDict())
            return torch._utils._rebuild_tensor_v2, made_of
        if isinstance(value, _Storage):  # in a plain pickle
            content = io.BytesIO()
            write_legacy(content, value)
            return torch.storage._load_from_bytes, (content.getvalue(),)
        return NotImplemented


class _LegacyPickler(Pickler):
    """Writes storages as references; their values follow later in the file."""

    def __init__(self, file):
        super().__init__(file, protocol=2)
        self.storages: list[_Storage] = []

    def persistent_id(self, value):
        if not isinstance(value, _Storage):
            return None
        self.storages.append(value)
        key, count = str(len(self.storages) - 1), value.numbers.numel()
        return ("storage", torch.FloatStorage, key, "cpu", count, None)


def write_legacy(file, value) -> None:
    """Write a value that contains tensors to a binary file, as torch.save did before 1.6."""
    for part in LEGACY_HEAD:
        pickle.dump(part, file, protocol=2)
    pickler = _LegacyPickler(file)
    pickler.dump(value)
    pickle.dump([str(i) for i in range(len(pickler.storages))], file, protocol=2)
    for storage in pickler.storages:
        file.write(struct.pack("<q", storage.numbers.numel()))
        file.write(storage.numbers.numpy().astype("<f4", copy=False).tobytes())
