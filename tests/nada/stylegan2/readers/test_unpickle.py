"""The restricted reader: what it gives back, and damaged files, each refused in one sentence."""

import argparse
import io
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from nada.run.errors import UserError
from nada.run.manifest import read_weights
from nada.stylegan2.convert import main
from nada.stylegan2.readers.unpickle import (
    read_checkpoint,
    read_pickle,
    read_state_dict,
    read_torch,
    tell_format,
)
from nada.stylegan2.readers.unpickle_values import Record
from tests.nada.stylegan2.readers.hostile import OLD, Call, rebuilt, refusal, torch_file, zipped


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


def test_the_format_of_a_file_follows_from_its_content(tmp_path):
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


@pytest.mark.parametrize("count", [5, 3, 1 << 40, -1])
def test_a_storage_of_another_size_than_declared_is_damage(count):
    assert "damaged" in refusal(rebuilt(storage_count=count))


def test_a_compressed_storage_could_unpack_to_any_size_and_is_refused():
    files = {"data.pkl": pickle.dumps(1), "data/0": bytes(1 << 20)}
    assert "compressed" in refusal(zipped(files, zipfile.ZIP_DEFLATED))


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


def test_names_of_storages_that_are_no_text_are_not_printed():
    content = torch_file({"x": torch.zeros(3)}, **OLD)
    start = content.rindex(b"\x80\x02]q\x00")
    laughs = b"]q\x00" + b"".join(
        b"(" + (b"h" + bytes([i])) * 10 + b"lq" + bytes([i + 1]) for i in range(40)
    )
    changed = content[:start] + b"\x80\x02" + laughs + b"\x85]h\x28a." + content[start:]
    assert "str expected, list found" in refusal(changed)


def test_a_file_that_shrinks_while_it_is_read_is_said():
    content = torch_file({"x": torch.arange(3.0)}, **OLD)

    class Shrinking(io.BytesIO):
        def read(self, count=-1):
            return super().read(count)[: 4 if count == 12 else None]

    with pytest.raises(UserError, match="became shorter while it was read"):
        read_torch(Shrinking(content), name="bad.pt")


@pytest.mark.parametrize("content", [b"", b"\x80", b"\x80\x02", b"PK", b"<!DOCTYPE html>"])
def test_the_beginning_of_a_file_is_no_format(content, tmp_path, capsys):
    (tmp_path / "bad.pt").write_bytes(content)
    assert main(["show", str(tmp_path / "bad.pt")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("folder.pt", "is a folder"),
        ("x" * 300, "File name too long"),
        ("/proc/self/mem", "cannot be read"),
        ("none.pt", "is missing"),
    ],
)
@pytest.mark.parametrize("words", [["show"], ["check", "--sha256", "00"]])
def test_what_is_no_readable_file_is_said(path, expected, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.pt").mkdir()
    assert main([*words, path]) == 2
    error = capsys.readouterr().err
    assert expected in error
    assert error.count("\n") == 1


def test_a_safetensors_header_that_torch_cannot_follow_is_said(tmp_path):
    entry = b'{"a":{"dtype":"F32","shape":[0,9223372036854775808],"data_offsets":[0,0]}}'
    (tmp_path / "bad").write_bytes(len(entry).to_bytes(8, "little") + entry)
    for read in (read_state_dict, read_weights):
        with pytest.raises(UserError, match="not a (readable )?safetensors file"):
            read(tmp_path / "bad")


def test_a_state_dict_has_names_of_text(tmp_path):
    torch.save({1: torch.zeros(1)}, tmp_path / "bad.pt")
    with pytest.raises(UserError, match="not a state dict"):
        read_state_dict(tmp_path / "bad.pt")


def scripted(program: bytes) -> bytes:
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(("
    tensor += b"X\x07\x00\x00\x00storagectorch\nFloatStorage\nV0\nVcpu\nK\x01tQK\x00K\x01\x85K\x01\x85\x89NtR"
    head = b"\x80\x02c__torch__\nM\n)R}Vw\n" + tensor + b"sbq\x00"
    return zipped({"data.pkl": head + program + b".", "data/0": bytes(4)})


def test_modules_that_share_modules_do_not_name_endless_tensors(tmp_path):
    program = b""
    for place in range(6):
        parts = b"".join(f"Vc{i}\n".encode() + b"h" + bytes([place]) for i in range(8))
        program += b"c__torch__\nM\n)R}(" + parts + b"ubq" + bytes([place + 1])
    (tmp_path / "bad.pt").write_bytes(scripted(program))
    with pytest.raises(UserError, match="names more than 65536 tensors"):
        read_state_dict(tmp_path / "bad.pt")
    long = b"c__torch__\nM\n)R}V" + b"n" * 5000 + b"\nh\x00sb"
    (tmp_path / "bad.pt").write_bytes(scripted(long))
    with pytest.raises(UserError, match="more than 400 characters"):
        read_state_dict(tmp_path / "bad.pt")
