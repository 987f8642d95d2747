"""The restricted reader: what it gives back, and malicious files, each refused in one sentence."""

import argparse
import builtins
import io
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from collections import OrderedDict
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from nada.errors import UserError
from nada.stylegan2.checkpoints import main
from nada.stylegan2.unpickle import (
    Limits,
    Record,
    read_checkpoint,
    read_pickle,
    read_state_dict,
    read_torch,
    tell_format,
)

OLD = {"_use_new_zipfile_serialization": False}


def torch_file(value, **options) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, **options)
    return file.getvalue()


def same(a, b) -> bool:
    return a.dtype == b.dtype and torch.equal(a, b)


# What comes back ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def values():
    torch.manual_seed(0)
    matrix = torch.randn(3, 4)
    return {
        "matrix": matrix,
        "transposed": matrix.T,
        "strided": matrix[1:, ::2],
        "scalar": torch.tensor(2.5),
        "empty": torch.empty(0, 3),
        "half": matrix.half(),
        "bfloat16": matrix.bfloat16(),
        "double": matrix.double(),
        "long": torch.arange(5),
        "bool": torch.tensor([True, False]),
        "parameter": torch.nn.Linear(2, 3).weight,
        "state": torch.nn.Linear(2, 3).state_dict(),
    }


@pytest.mark.parametrize("form", ["zip", "before 1.6", "plain pickle"])
def test_tensors_of_every_kind_come_back(values, form):
    if form == "plain pickle":
        tree = read_pickle(pickle.dumps(values))
    else:
        tree = read_torch(torch_file(values, **(OLD if form == "before 1.6" else {})))
    assert tree.keys() == values.keys()
    for name, value in values.items():
        if name != "state":
            assert same(tree[name], value.detach()), name
    assert all(same(tree["state"][name], value) for name, value in values["state"].items())


@pytest.mark.parametrize("form", ["zip", "before 1.6"])
def test_views_of_one_storage_share_it_and_can_be_written_to(form):
    row = torch.arange(6.0)
    tree = read_torch(torch_file([row, row[2:4]], **(OLD if form == "before 1.6" else {})))
    tree[0][2] = 9
    assert tree[1].tolist() == [9, 3]


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_numbers_bytes_and_sets_come_back_from_every_protocol(protocol):
    arrays = [np.arange(6.0, dtype=np.float32).reshape(2, 3), np.asfortranarray(np.eye(3))]
    arrays += [np.arange(3, dtype=">i4"), np.array([True, False]), np.zeros((0, 2), np.float16)]
    value = {"arrays": arrays, "number": np.float64(2.5), "bytes": b"\0\xff", "set": {1, "a"}}
    tree = read_pickle(pickle.dumps(value, protocol))
    for found, array in zip(tree["arrays"], arrays, strict=True):
        assert found.dtype == array.dtype
        assert np.array_equal(found, array)
    assert (tree["number"], tree["bytes"], tree["set"]) == (2.5, b"\0\xff", {1, "a"})


def test_the_module_names_of_numpy_2_are_read_like_those_of_numpy_1():
    written = pickle.dumps([np.arange(3), np.float32(1.5)], protocol=2)
    here, other = b"numpy.core", b"numpy._core"
    if other in written:
        here, other = other, here
    for content in (written, written.replace(here, other)):
        array, number = read_pickle(content)
        assert array.tolist() == [0, 1, 2]
        assert number == 1.5
    assert written.replace(here, other) != written


def test_arguments_of_a_training_script_become_an_inert_record():
    tree = read_torch(torch_file({"args": argparse.Namespace(size=256, ckpt="a.pt")}))
    assert isinstance(tree["args"], Record)
    assert tree["args"].name == "Namespace"
    assert tree["args"].state == {"size": 256, "ckpt": "a.pt"}


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Linear(3, 2)
        self.register_buffer("counted", torch.arange(4))
        self.sizes = [1, 2]

    def forward(self, x):
        return self.inner(x) + self.counted.sum()


@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning")
def test_a_torchscript_archive_gives_its_state_dict_without_its_code(tmp_path):
    torch.manual_seed(0)
    model = torch.nn.Sequential(Block(), Block())
    torch.jit.trace(model[0], torch.zeros(1, 3)).save(tmp_path / "traced.pt")
    found = read_state_dict(tmp_path / "traced.pt")
    assert found.keys() == model[0].state_dict().keys()
    assert all(same(found[name], value) for name, value in model[0].state_dict().items())


@pytest.mark.parametrize("form", ["safetensors", "zip", "before 1.6", "under state_dict"])
def test_a_state_dict_is_read_from_every_kind_of_file(tmp_path, form):
    state = torch.nn.Linear(3, 2).half().state_dict()
    path = tmp_path / "file"
    if form == "safetensors":
        save_file(state, path)
    elif form == "before 1.6":
        torch.save(state, path, **OLD)
    else:
        torch.save({"state_dict": state} if form == "under state_dict" else state, path)
    found = read_state_dict(path)
    assert found.keys() == state.keys()
    assert all(same(found[name], value) for name, value in state.items())


def test_what_is_no_state_dict_is_said(tmp_path):
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(UserError, match="list.pt: not a state dict"):
        read_state_dict(tmp_path / "list.pt")
    with pytest.raises(UserError, match="none.pt is missing"):
        read_state_dict(tmp_path / "none.pt")


def test_the_format_of_a_file_is_told_by_its_content(tmp_path):
    contents = {
        "torch zip": torch_file(torch.zeros(2)),
        "pickle": torch_file(torch.zeros(2), **OLD),
        "unknown": b"hello",
    }
    for expected, content in contents.items():
        (tmp_path / "file").write_bytes(content)
        assert tell_format(tmp_path / "file") == expected
    save_file({"x": torch.zeros(2)}, tmp_path / "file")
    assert tell_format(tmp_path / "file") == "safetensors"


# Malicious files ----------------------------------------------------------------------------------


class Call:
    """Pickles as the call of `function` with `arguments`, then a state or items if any."""

    def __init__(self, function, *arguments, **rest):
        self.function, self.arguments, self.rest = function, arguments, rest

    def __reduce__(self):
        return (self.function, self.arguments, *self.rest.values())


@pytest.fixture
def canary(tmp_path):
    """A path that every payload would make; asserted absent at the end of each test."""
    path = tmp_path / "canary"
    yield path
    assert not path.exists()


def refusal(content: bytes, read=read_checkpoint, **options) -> str:
    """The one sentence that a file is refused with."""
    with pytest.raises(UserError) as caught:
        read(content, name="bad.pt", **options)
    sentence = str(caught.value)
    assert sentence.startswith("bad.pt: ")
    assert "\n" not in sentence
    assert len(sentence) < 300
    return sentence


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


def test_archives_within_archives_end_somewhere():
    content = torch_file(torch.zeros(1), **OLD)
    for _ in range(8):
        content = torch_file(Call(torch.storage._load_from_bytes, content), **OLD)
    assert "nested in archives" in refusal(content)


def test_objects_whose_state_would_change_them_have_no_attributes_to_set(canary):
    # Python's own machine sets attributes of whatever BUILD finds, functions included
    payload = b"ctorch._utils\n_rebuild_tensor_v2\n(N}Vx\nVy\nstb."
    assert "a state for a value of type Word" in refusal(payload)
    fake = b"cargparse\nNamespace\n)\x81}V__class__\ncargparse\nNamespace\nsb."
    tree = read_pickle(fake)
    assert type(tree) is Record
    assert "__class__" in tree.state


@pytest.mark.parametrize(
    ("opcodes", "named"),
    [
        (b"(ios\nsystem\n.", "INST"),
        (b"(cargparse\nNamespace\no.", "OBJ"),
        (b"\x82\x01.", "EXT1"),
        (b"Pid\n.", "PERSID"),
        (b"\x80\x05\x97.", "NEXT_BUFFER"),
    ],
)
def test_opcodes_that_no_checkpoint_uses_are_refused_by_name(opcodes, named):
    assert f"its pickle uses {named}" in refusal(opcodes)


def test_arrays_of_objects_are_refused():
    objects = np.empty(2, dtype=object)
    objects[:] = [Call(os.getcwd), 1]
    assert "array of type O8" in refusal(pickle.dumps({"x": objects[1:]}))
    parts = np.zeros(2, dtype=[("a", "f4"), ("b", "O")])
    assert "array of type V" in refusal(pickle.dumps(parts))
    assert "array of type U" in refusal(pickle.dumps(np.array(["text"])))


def test_an_array_of_a_class_of_its_own_is_refused():
    assert "numpy" in refusal(pickle.dumps(np.ma.zeros(3)))


# Sizes --------------------------------------------------------------------------------------------


def rebuilt(storage_count=4, offset=0, size=(4,), stride=(1,)) -> bytes:
    """A torch.save file of one storage of four floats, and a tensor that views it as it is told."""

    class Writer(pickle._Pickler):
        def persistent_id(self, value):
            if isinstance(value, SimpleNamespace):
                return ("storage", torch.FloatStorage, "0", "cpu", storage_count)

    program = io.BytesIO()
    arguments = (SimpleNamespace(), offset, size, stride, False, OrderedDict())
    Writer(program, protocol=2).dump(Call(torch._utils._rebuild_tensor_v2, *arguments))
    return zipped({"data.pkl": program.getvalue(), "data/0": np.arange(4.0, dtype="<f4").tobytes()})


def zipped(files: dict[str, bytes], compression=zipfile.ZIP_STORED, root="archive/") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(f"{root}{name}", content)
    return file.getvalue()


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


@pytest.mark.parametrize("count", [5, 3, 1 << 40, -1])
def test_a_storage_of_another_size_than_declared_is_damage(count):
    assert "damaged" in refusal(rebuilt(storage_count=count))


def test_a_huge_storage_declared_in_the_older_form_allocates_nothing():
    content = torch_file(torch.zeros(3), **OLD)
    huge = content.replace(b"K\x03N", b"\x8a\x06" + (1 << 40).to_bytes(6, "little") + b"N")
    assert huge != content
    assert "larger than the file" in refusal(huge)


@pytest.mark.parametrize("opcode", [b"B", b"\x8e", b"X", b"\x8d", b"T", b"\x96", b"\x8b"])
def test_a_huge_text_or_number_allocates_nothing(opcode):
    wide = opcode in b"\x8e\x8d\x96"
    length = struct.pack("<Q", 1 << 46) if wide else struct.pack("<I", 0x7FFFFFFF)
    assert "truncated" in refusal(b"\x80\x05" + opcode + length + b"abc.")


def test_a_place_in_the_memo_far_away_allocates_nothing():
    assert read_pickle(b"Vx\nr\xff\xff\xff\x7f0j\xff\xff\xff\x7f.") == "x"


def test_a_compressed_storage_could_unpack_to_any_size_and_is_refused():
    files = {"data.pkl": pickle.dumps(1), "data/0": bytes(1 << 20)}
    assert "compressed" in refusal(zipped(files, zipfile.ZIP_DEFLATED))


def test_entries_that_share_their_bytes_cannot_hold_more_than_the_file():
    many, entry = 40, bytes(4096)
    storages = [torch.zeros(1024) for _ in range(many)]
    content = torch_file(storages)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = archive.namelist()
        program = archive.read("archive/data.pkl")
        offset = archive.getinfo("archive/data/0").header_offset
    assert len([n for n in names if n.startswith("archive/data/")]) == many
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", program)
        archive.writestr("archive/data/0", entry)
        offset = archive.getinfo("archive/data/0").header_offset
        first = archive.getinfo("archive/data/0")
        for k in range(1, many):  # the directory names one place many times
            twin = zipfile.ZipInfo(f"archive/data/{k}")
            twin.header_offset, twin.CRC = offset, first.CRC
            twin.file_size = twin.compress_size = len(entry)
            archive.filelist.append(twin)
            archive.NameToInfo[twin.filename] = twin
        archive._didModify = True
    sentence = refusal(file.getvalue())
    assert "larger than the file" in sentence or "differ" in sentence or "verlap" in sentence


def test_tensors_that_show_one_storage_again_and_again_are_refused():
    row = torch.zeros(300_000)
    assert "show more than 4 times" in refusal(torch_file([row[i:] for i in range(200)]))


def test_deep_nesting_is_refused_and_does_not_exhaust_the_stack():
    for opcodes in (
        b"]" * 30_000 + b"a" * 29_999 + b".",
        b"N" + b"\x85" * 30_000 + b".",
        b"(" * 30_000 + b"l" * 30_000 + b".",
        b"}" + b"Vk\n}" * 30_000 + b"s" * 30_000 + b".",
    ):
        assert "nested more than 64 deep" in refusal(opcodes)


def test_a_value_that_contains_itself_is_refused():
    ring: list = []
    ring.append(ring)
    assert "nested more than 64 deep" in refusal(pickle.dumps(ring))


def test_a_billion_laughs_are_counted_as_they_would_be_shown():
    laughs = ["ha"] * 10
    for _ in range(20):
        laughs = [laughs] * 10
    content = pickle.dumps(laughs)
    assert len(content) < 1000
    assert "more than 20000 values" in refusal(content, limits=Limits(nodes=20_000))


def test_more_steps_than_any_checkpoint_has_are_refused():
    content = b"N0" * 600 + b"N."
    assert read_pickle(content) is None
    assert "more than 1000 steps" in refusal(content, limits=Limits(opcodes=1000))


def test_keys_that_could_be_made_to_collide_are_refused():
    for key in ((1, 2), 1.5, 1 << 61):
        assert "a key" in refusal(pickle.dumps({key: 0}))


def test_text_made_into_bytes_again_and_again_is_refused():
    call = b"c_codecs\nencode\nq\x00("
    text = b"X" + struct.pack("<I", 1 << 20) + b"a" * (1 << 20) + b"q\x01Vlatin1\ntR0"
    again = b"h\x00(h\x01Vlatin1\ntR0"
    assert "show more than" in refusal(call + text + again * 10 + b"N.")


def test_a_collection_copied_again_and_again_is_refused():
    items = b"(" + b"".join(b"K" + bytes([i % 256]) for i in range(20_000)) + b"lq\x01"
    for name in (b"c__builtin__\nset\n", b"ccollections\nOrderedDict\n"):
        again = b"0" + name + b"(h\x01tR"
        assert "show more than" in refusal(items + again * 10 + b".")


def test_a_shape_of_many_axes_is_damage():
    many = tuple([1] * 5000)
    assert "a shape of 5000 axes" in refusal(rebuilt(size=many, stride=many))


# Damage and archives ------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["zip", "before 1.6", "plain pickle"])
def test_a_file_cut_anywhere_is_one_sentence(values, form):
    if form == "plain pickle":
        content = pickle.dumps(values)
    else:
        content = torch_file(values, **(OLD if form == "before 1.6" else {}))
    for length in range(0, len(content) - 1, max(1, len(content) // 150)):
        assert "bad.pt" in refusal(content[:length])


@pytest.mark.parametrize("form", ["zip", "before 1.6", "plain pickle"])
def test_a_file_with_changed_bytes_is_read_or_is_one_sentence(values, form, tmp_path):
    draw = np.random.default_rng(0)
    values = {"matrix": values["matrix"], "array": np.arange(3), "args": argparse.Namespace(a=1)}
    if form == "plain pickle":
        content = pickle.dumps(values)
    else:
        content = torch_file(values, **(OLD if form == "before 1.6" else {}))
    path = tmp_path / "bad.pt"  # a file of the disk refuses other positions than memory does
    for _ in range(150):
        changed = bytearray(content)
        for place in draw.integers(0, len(content), 3):
            changed[place] = draw.integers(256)
        path.write_bytes(changed)
        try:
            read_checkpoint(path)
        except UserError as error:
            assert "bad.pt" in str(error)
            assert "\n" not in str(error)


def test_a_changed_bit_in_a_zip_archive_is_noticed():
    content = bytearray(torch_file(torch.arange(64.0)))
    place = bytes(content).index(np.arange(64.0, dtype="<f4").tobytes())
    content[place + 9] ^= 1
    assert "CRC" in refusal(bytes(content))


@pytest.mark.parametrize(
    "name", ["../outside", "/etc/outside", "archive/../../outside", "a\\..\\outside", "c:outside"]
)
def test_an_archive_that_names_a_place_outside_itself_is_refused(name, tmp_path):
    content = zipped({"archive/data.pkl": pickle.dumps(1), name: b"x"}, root="")
    if "\\" in name:  # zipfile keeps it as it is on this system
        assert "\\" in zipfile.ZipFile(io.BytesIO(content)).namelist()[1]
    assert "a place outside it" in refusal(content)
    assert not list(tmp_path.rglob("outside"))


def test_a_storage_key_is_a_name_in_the_archive_and_no_path(tmp_path):
    (tmp_path / "secret").write_bytes(bytes(16))
    content = rebuilt().replace(b"X\x01\x00\x00\x000", b"X\x04\x00\x00\x00../x")
    assert "bad.pt" in refusal(content)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_files_of_one_name_in_an_archive_are_refused():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for value in (1, 2):
            archive.writestr("archive/data.pkl", pickle.dumps(value))
    assert "two files of the archive share a name" in refusal(file.getvalue())


def test_an_archive_that_is_none_of_torch_is_said():
    assert "without the data.pkl" in refusal(zipped({"other": b"x"}))


def test_text_from_the_file_comes_printable_and_short_into_the_message():
    name = "a" * 200 + "\x1b[31m"
    content = b"c" + name.encode() + b"\nb\n."
    sentence = refusal(content)
    assert "\x1b" not in sentence


@pytest.mark.parametrize("name", ["bad.pt", "bad.pkl"])
def test_the_command_answers_a_malicious_file_with_one_sentence(canary, tmp_path, capsys, name):
    value = {"g_ema": Call(os.system, f"touch {canary}"), "G_ema": 1}
    content = pickle.dumps(value) if name == "bad.pkl" else torch_file(value)
    (tmp_path / name).write_bytes(content)
    for words in (["show"], ["check"], ["convert"]):
        rest = [str(tmp_path / "out.safetensors")] if words == ["convert"] else []
        assert main([*words, str(tmp_path / name), *rest]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"error: {tmp_path / name}: refused: it asks for the global '")
        assert error.count("\n") == 1
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_reading_leaves_python_as_it_was():
    with pytest.raises(UserError):
        read_pickle(b"cantigravity\nx\n.")
    assert "antigravity" not in sys.modules
