"""A GPU on any machine: it computes on the CPU, but what lies on it is kept apart as on a card.

What would stop a run on a card stops it here: an operation on tensors of two devices, a random
stream of the wrong device, numpy on a tensor of the card. Numbers are real, so that results can be
compared with the CPU's. What it cannot show: kernels, their rounding, time and memory.
"""

import contextlib
from typing import ClassVar

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

CARD, HOST = torch.device("cuda", 0), torch.device("cpu")
#: Operations that may read one device and write, or index with, the other.
CROSS = {"copy_", "_to_copy", "set_", "index", "index_put", "index_put_", "_index_put_impl_"}


class Stream(torch.Generator):
    """A random stream that knows for which device it was asked; it lies on the CPU in any case."""

    def __new__(cls, device="cpu"):
        stream = super().__new__(cls)
        stream.asked = torch.device(device)
        return stream

    @property
    def device(self):
        return self.asked


class FakeCard:
    """Which storages lie on the card, and the two modes that follow them while it is entered."""

    # Of all cards: tensors that the code keeps for a device outlive a test. The weak references
    # free the numbers and keep the addresses, so that no other storage is taken for one of these.
    storages: ClassVar[dict[int, StorageWeakRef]] = {}
    # Zeros that the backward pass makes beside its tensors: on a card they would lie there.
    beside: ClassVar[dict[int, StorageWeakRef]] = {}

    def __init__(self):
        self.modes = contextlib.ExitStack()
        self.called = False  # whether Python called what is done, not the backward pass

    def __enter__(self):
        self.modes.enter_context(_Operations(self))
        self.modes.enter_context(_Calls(self))
        return self

    def __exit__(self, *error):
        self.modes.close()

    def holds(self, tensor: torch.Tensor) -> bool:
        return tensor.untyped_storage()._cdata in self.storages

    def take(self, values, into: dict | None = None):
        """Put all tensors among values on the card; returns them."""
        into = self.storages if into is None else into
        for x in tree_leaves(values):
            if isinstance(x, torch.Tensor):
                into[x.untyped_storage()._cdata] = StorageWeakRef(x.untyped_storage())
        return values

    def beside_others(self, tensor: torch.Tensor) -> bool:
        return tensor.untyped_storage()._cdata in self.beside


class _Calls(TorchFunctionMode):
    """Calls as the code makes them, with the devices that it names."""

    def __init__(self, card: FakeCard):
        super().__init__()
        self.card = card

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = getattr(function, "__name__", "")
        if name == "_parse_to" or function is torch.device:  # a device's name alone
            return function(*args, **kwargs)
        first = args[0] if args and isinstance(args[0], torch.Tensor) else None
        with torch._C.DisableTorchFunction():
            there = first is not None and self.card.holds(first)
            if function == torch.Tensor.device.__get__:
                return CARD if there else HOST
            if function == torch.Tensor.is_cuda.__get__:
                return there
            if name in ("numpy", "__array__") and there:
                raise TypeError("can't convert a tensor on cuda:0 to numpy; copy it to the CPU")
            if name == "pin_memory":  # of the host, which holds no other memory here
                return first
            if name in ("cpu", "cuda") and first is not None:
                return self._moved(function, args, {}, CARD if name == "cuda" else HOST)
            named = _device_named(args, kwargs)
            if name == "to" and first is not None:
                to = next((x for x in args[1:] if isinstance(x, torch.Tensor)), None)
                if to is not None:  # as another tensor is
                    named = CARD if self.card.holds(to) else HOST
                    args = (first, to.dtype, *args[2:])
                return self._moved(function, args, kwargs, named)
            stream = kwargs.get("generator")
            where = named or (CARD if there else HOST)
            if isinstance(stream, Stream) and stream.asked.type != where.type:
                raise RuntimeError(
                    f"a random stream of {stream.asked.type} for a tensor on {where}"
                )
            before, self.card.called = self.card.called, name != "backward"
            try:
                result = function(*_on_host(args), **_on_host(kwargs))
            finally:
                self.card.called = before
            if named is not None and named.type == "cuda":
                self.card.take(result)
            return result

    def _moved(self, function, args, kwargs, where):
        """A copy on that device; the tensor itself where it is there already."""
        there = self.card.holds(args[0])
        result = args[0]
        if function.__name__ == "to":
            result = function(*_on_host(args), **_on_host(kwargs))
        if where is None or (where.type == "cuda") == there:
            if there:
                self.card.take(result)
            return result
        copy = result.clone() if result is args[0] else result
        if where.type == "cuda":
            self.card.take(copy)
        else:
            self.card.storages.pop(copy.untyped_storage()._cdata, None)
        return copy


class _Operations(TorchDispatchMode):
    """Operations as they are done: on tensors of one device, and their results lie there too."""

    def __init__(self, card: FakeCard):
        super().__init__()
        self.card = card

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = function.overloadpacket.__name__
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
        with torch._C.DisableTorchFunction():
            tensors = [x for x in tensors if not self.card.beside_others(x)]
            there = [self.card.holds(x) for x in tensors]
            arrays = {on for x, on in zip(tensors, there, strict=True) if x.dim() > 0}
            mixed = len(arrays) > 1 or (any(there) and arrays == {False})
            if mixed and name not in CROSS:
                shapes = [
                    f"{list(x.shape)} on {'cuda' if on else 'cpu'}"
                    for x, on in zip(tensors, there, strict=True)
                ]
                raise RuntimeError(f"{name}: tensors of two devices: {', '.join(shapes)}")
            result = function(*args, **kwargs)
            if any(there) and not (name in CROSS and not there[0]):
                self.card.take(result)
            elif not tensors and not self.card.called:
                self.card.take(result, into=self.card.beside)
        return result


def _device_named(args, kwargs) -> torch.device | None:
    """The device that a call names, if any."""
    for x in (*args, kwargs.get("device")):
        if isinstance(x, torch.device):
            return x
        if isinstance(x, str) and x.split(":")[0] in ("cuda", "cpu"):
            return torch.device(x)
    return None


def _on_host(values):
    """The same arguments, but a device among them is the CPU."""

    def host(x):
        cuda = isinstance(x, torch.device) or (isinstance(x, str) and x.split(":")[0] == "cuda")
        return HOST if cuda else x

    return tree_map(host, values)


def install(monkeypatch) -> FakeCard:
    """A fake card where torch would look for one; enter it around what shall run on it."""
    for name, value in {
        "is_available": lambda: True,
        "get_device_name": lambda *_: "a fake card",
        "max_memory_allocated": lambda *_: 0,
        "get_rng_state": lambda *_: torch.zeros(16, dtype=torch.uint8),
        "set_rng_state": lambda *_: None,
        "mem_get_info": lambda *_: (8 << 30, 8 << 30),
        "empty_cache": lambda: None,
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    for check in ("_accelerator_graph_capture_health_check", "_cuda_graph_capture_health_check"):
        monkeypatch.setattr(torch.optim.Optimizer, check, lambda _: None, raising=False)
    monkeypatch.setattr(torch, "Generator", Stream)
    return FakeCard()
