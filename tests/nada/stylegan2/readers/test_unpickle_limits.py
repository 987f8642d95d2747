"""What a foreign file may cost: sizes, nesting, sharing and steps are bounded."""

import io
import pickle
import struct
import zipfile

import pytest
import torch

from nada.stylegan2.readers.unpickle import read_pickle
from nada.stylegan2.readers.unpickle_limits import Limits
from tests.nada.stylegan2.readers.hostile import OLD, Call, refusal, torch_file


def test_archives_within_archives_end_somewhere():
    content = torch_file(torch.zeros(1), **OLD)
    for _ in range(8):
        content = torch_file(Call(torch.storage._load_from_bytes, content), **OLD)
    assert "nested in archives" in refusal(content)


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
        b"]" * 15_000 + b"a" * 14_999 + b".",
        b"N" + b"\x85" * 30_000 + b".",
        b"(" * 15_000 + b"l" * 15_000 + b".",
        b"}" + b"Vk\n}" * 9_000 + b"s" * 9_000 + b".",
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
