"""Globals of foreign files: what would run is refused by name, what is rebuilt stays in bounds."""

import builtins
import os
import pickle
import subprocess

import numpy as np
import pytest
import torch

from nada.stylegan2.readers.unpickle import read_checkpoint, read_torch
from tests.nada.stylegan2.readers.hostile import OLD, Call, rebuilt, refusal, torch_file, zipped


def payloads(canary):
    touch, plant = f"touch {canary}", f"open({str(canary)!r}, 'w')"
    return {
        f"{os.system.__module__}.system": Call(os.system, touch),
        "builtins.eval": Call(eval, plant),
        "builtins.exec": Call(exec, plant),
        "builtins.getattr": Call(getattr, "text", "upper"),
        "builtins.open": Call(open, str(canary), "w"),
        "builtins.__import__": Call(builtins.__import__, "antigravity"),
        "subprocess.Popen": Call(subprocess.Popen, ["touch", str(canary)]),
        "subprocess.check_output": Call(subprocess.check_output, ["touch", str(canary)]),
        "torch.hub.load": Call(torch.hub.load, "a/b", "c"),
        "torch.serialization.load": Call(torch.load, str(canary)),
    }


NAMES = sorted(payloads("unused"))


def test_the_payloads_would_work_where_files_are_unpickled_as_usual(tmp_path):
    for name in (f"{os.system.__module__}.system", "builtins.eval", "subprocess.check_output"):
        planted = tmp_path / name
        pickle.loads(pickle.dumps(payloads(planted)[name]))
        assert planted.exists()


@pytest.mark.parametrize("form", ["zip", "before 1.6", "plain pickle", "protocol 0"])
@pytest.mark.parametrize("name", NAMES)
def test_a_global_that_no_checkpoint_needs_is_refused_by_name(canary, name, form):
    value = {"g_ema": payloads(canary)[name]}
    if form == "plain pickle":
        content = pickle.dumps(value)
    elif form == "protocol 0":
        content = pickle.dumps(value, protocol=0)
    else:
        content = torch_file(value, **(OLD if form == "before 1.6" else {}))
    # up to protocol 2, Python writes some modules by the name that they had in Python 2; `open` is
    # io's in Python 3.11 and _io's in 3.12
    before = {"builtins": "__builtin__", "subprocess": "commands"}
    module, _, attribute = name.rpartition(".")
    names = {name, f"{before.get(module, module)}.{attribute}", f"{open.__module__}.{attribute}"}
    sentence = refusal(content)
    assert any(f"refused: it asks for the global '{n}'" in sentence for n in names), sentence


@pytest.mark.parametrize(
    "name",
    [
        *("os.system", "posix.system", "nt.system", "sys.modules", "runpy.run_path", "pty.spawn"),
        *(
            "copyreg._reconstructor",
            "copyreg.__newobj__",
            "functools.partial",
            "types.FunctionType",
        ),
        *(
            "operator.attrgetter",
            "operator.methodcaller",
            "importlib.import_module",
            "marshal.loads",
        ),
        *("numpy.load", "numpy.testing._private.utils.runstring", "pickle.loads", "torch.load"),
        *("torch._utils._rebuild_wrapper_subclass", "torch.nn.modules.linear.Linear"),
        *("torch_utils.persistence.exec", "collections.Counter", "builtins.object"),
    ],
)
def test_naming_a_global_is_enough_to_be_refused(name):
    module, _, attribute = name.rpartition(".")
    for content in (
        f"c{module}\n{attribute}\n.".encode(),
        b"\x80\x04"
        + b"".join(b"\x8c" + bytes([len(t)]) + t.encode() for t in (module, attribute))
        + b"\x93.",
    ):
        assert f"it asks for the global '{name}'" in refusal(content)


def test_a_nested_file_goes_through_the_same_reader(canary):
    inner = torch_file(Call(os.system, f"touch {canary}"), **OLD)
    nested = Call(torch.storage._load_from_bytes, inner)
    assert ".system'" in refusal(pickle.dumps({"x": nested}))
    plain = Call(torch.storage._load_from_bytes, pickle.dumps(Call(os.system, f"touch {canary}")))
    assert ".system'" in refusal(pickle.dumps({"x": plain}))


def test_arrays_of_objects_are_refused():
    objects = np.empty(2, dtype=object)
    objects[:] = [Call(os.getcwd), 1]
    assert "array of type O8" in refusal(pickle.dumps({"x": objects[1:]}))
    parts = np.zeros(2, dtype=[("a", "f4"), ("b", "O")])
    assert "array of type V" in refusal(pickle.dumps(parts))
    assert "array of type U" in refusal(pickle.dumps(np.array(["text"])))


def test_an_array_of_a_class_of_its_own_is_refused():
    assert "numpy" in refusal(pickle.dumps(np.ma.zeros(3)))


def test_a_tensor_inside_its_storage_is_read():
    assert read_torch(rebuilt(offset=1, size=(3,))).tolist() == [1, 2, 3]
    assert read_torch(rebuilt(size=(2, 2), stride=(1, 2))).tolist() == [[0, 2], [1, 3]]


@pytest.mark.parametrize(
    "view",
    [
        {"size": (5,)},
        {"offset": 1},
        {"offset": 1 << 61, "size": (0,)},
        {"size": (2, 2), "stride": (4, 1)},
        {"size": (2,), "stride": (1 << 61,)},
        {"size": (1 << 40, 1 << 40), "stride": (0, 0)},
        {"size": (100, 4), "stride": (0, 1)},
    ],
)
def test_a_tensor_that_reaches_outside_its_storage_is_refused(view):
    assert "outside its storage" in refusal(rebuilt(**view))


@pytest.mark.parametrize(
    "view",
    [
        {"offset": -1},
        {"stride": (-1,)},
        {"size": (-4,)},
        {"size": (4,), "stride": (1, 1)},
        {"size": 4},
        {"offset": 1.0},
        {"size": ("a",)},
    ],
)
def test_sizes_that_are_none_are_damage(view):
    assert "damaged" in refusal(rebuilt(**view))


def test_a_shape_of_many_axes_is_damage():
    many = tuple([1] * 5000)
    assert "a shape of 5000 axes" in refusal(rebuilt(size=many, stride=many))


def laughs(opcode: bytes) -> bytes:
    """Steps that leave a container of containers of …, 10^40 values, at place 40 of the memo."""
    steps = b"K\x01q\x00"
    for place in range(40):
        steps += b"(" + b"h" + bytes([place]) + (b"h" + bytes([place])) * 9
        steps += opcode + b"q" + bytes([place + 1])
    return steps


def test_what_takes_forever_to_hash_or_to_print_is_named_by_its_type():
    dtype = b"cnumpy\ndtype\n(h\x28tR."
    assert "str expected, tuple found" in refusal(laughs(b"t") + dtype)
    size = b"ctorch\nSize\n(h\x28tR."
    assert "a size of type" in refusal(laughs(b"l") + size)


def test_a_long_name_of_a_class_is_not_copied_into_every_object_of_it():
    name = b"c__torch__\n" + b"a" * 200_000 + b"\nq\x00"
    records = read_checkpoint(name + b"(" + b"h\x00)R" * 500 + b"l.")
    assert len({id(record.name) for record in records}) == 1
    texts = b"X\x0a\x00\x00\x00__torch__.q\x00V" + b"a" * 400_000 + b"\nq\x01"
    assert "show more than" in refusal(b"\x80\x04" + texts + b"h\x00h\x01\x93" * 500 + b".")


@pytest.mark.parametrize("make", [b"\x8f", b"(\x91", b"}", b"]", b"(l", b"(d", b"h\x00)R"])
def test_small_objects_count_with_what_they_take_in_memory(make):
    name = b"ccollections\nOrderedDict\nq\x00"
    assert "show more than" in refusal(b"\x80\x04" + name + b"(" + make * 90_000 + b"l.")


def test_tensors_without_numbers_count_with_what_they_take_in_memory():
    again = b"0ctorch._utils\n_rebuild_tensor_v2\nq\x30(h\x31K\x00))\x89Ntq\x32"
    program = (
        b"\x80\x02((X\x07\x00\x00\x00storagectorch\nFloatStorage\nV0\nVcpu\nK\x01tQq\x31" + again
    )
    content = zipped({"data.pkl": program + b"h\x30h\x32R" * 30_000 + b"l.", "data/0": bytes(4)})
    assert "show more than" in refusal(content)
