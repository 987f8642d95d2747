"""Zip archives unpacked whole or not at all; what could leave the folder is refused by name."""

import shutil
import stat
import subprocess
import sys
import zipfile

import pytest

from nada.run.errors import UserError
from tests.workflow.toy_assets import CONTENT, archive, names
from workflow.assets import archives, download


def special(name, mode):
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, mode << 16
    return info


def test_an_archive_is_unpacked_into_a_folder_and_what_is_lost_from_it_is_found(tmp_path):
    packed = archive(tmp_path, ("x/", b""), ("a.png", b"1"), ("sub\\b.png", b"22"))
    folder = tmp_path / "set"
    assert archives.unpack(packed, folder) == 2
    assert names(tmp_path) == ["set", "set.zip"] and names(folder) == ["a.png", "sub"]
    assert (folder / "sub/b.png").read_bytes() == b"22"
    assert archives.first_lost(packed, folder) is None
    (folder / "a.png").write_bytes(b"")
    assert archives.first_lost(packed, folder) == folder / "a.png"


def test_an_archive_with_backslashes_and_entries_for_folders_is_unpacked_alike(tmp_path):
    packed = archive(
        tmp_path,
        ("afhq\\", b""),
        ("afhq\\val\\", b""),
        ("afhq\\val\\2.jpg", b"2"),
        ("__MACOSX\\afhq\\._2.jpg", b"?"),
    )
    assert archives.unpack(packed, tmp_path / "set") == 1
    assert names(tmp_path / "set") == ["val"] and (tmp_path / "set/val/2.jpg").read_bytes() == b"2"
    assert archives.first_lost(packed, tmp_path / "set") is None


def test_a_folder_around_everything_and_what_macos_adds_are_left_out(tmp_path):
    packed = archive(
        tmp_path,
        ("afhq/train/cat/1.jpg", b"1"),
        ("afhq/val/2.jpg", b"2"),
        ("__MACOSX/afhq/._1", b""),
    )
    assert archives.unpack(packed, tmp_path / "set") == 2
    assert names(tmp_path / "set") == ["train", "val"]
    assert archives.first_lost(packed, tmp_path / "set") is None
    assert archives.unpack(archive(tmp_path, ("one", b"1")), tmp_path / "single") == 1
    assert names(tmp_path / "single") == ["one"]


@pytest.mark.parametrize(
    ("member", "problem"),
    [
        ("../evil", "leads out of the folder"),
        ("a/../../evil", "leads out of the folder"),
        ("a\\..\\..\\evil", "leads out of the folder"),
        ("/evil", "has an absolute name"),
        ("\\evil", "has an absolute name"),
        ("C:evil", "has an absolute name"),
        (special("evil", stat.S_IFLNK | 0o777), "is a link"),
        (special("evil", stat.S_IFIFO | 0o666), "is not a regular file"),
    ],
)
def test_a_member_that_could_leave_the_folder_is_refused_by_name(tmp_path, member, problem):
    packed = archive(tmp_path, ("good", b"1"), (member, b"/etc"))
    with pytest.raises(UserError, match=f"evil.* {problem}; nothing was unpacked"):
        archives.unpack(packed, tmp_path / "set")
    assert names(tmp_path) == ["set.zip"]


@pytest.mark.parametrize("name", ["top//{}", "top/.//{}", "top\\\\{}"])
def test_a_name_with_two_slashes_stays_inside_when_the_folder_around_it_is_left_out(tmp_path, name):
    outside = tmp_path / "outside"
    packed = archive(tmp_path, (name.format(str(outside).lstrip("/")), b"1"))
    archives.unpack(packed, tmp_path / "set")
    assert names(tmp_path) == ["set", "set.zip"]
    assert [path.name for path in (tmp_path / "set").rglob("*") if path.is_file()] == ["outside"]


def test_a_name_that_goes_on_behind_a_nul_is_refused(tmp_path):
    packed = archive(tmp_path, ("good.png0evil", b"1"))
    packed.write_bytes(packed.read_bytes().replace(b"png0", b"png\0"))
    with pytest.raises(UserError, match="set.zip"):
        archives.unpack(packed, tmp_path / "set")
    assert names(tmp_path) == ["set.zip"]


def test_a_name_that_is_not_in_its_coding_and_a_place_before_the_start_are_one_sentence(tmp_path):
    packed = archive(tmp_path, ("ü.png", b"1"))
    good = packed.read_bytes()
    harmed = {"coding": good.replace("ü".encode(), b"\xff\xff")}
    at = good.index(b"PK\x05\x06") + 16  # where the listing begins, in the archive's last record
    harmed["place"] = good[:at] + b"\xf0\xff\xff\x7f" + good[at + 4 :]
    for content in harmed.values():
        packed.write_bytes(content)
        with pytest.raises(UserError, match="cannot be unpacked"):
            archives.unpack(packed, tmp_path / "set")
        archives.first_lost(packed, tmp_path / "set")  # says something, or nothing
        assert names(tmp_path) == ["set.zip"]


def test_two_processes_unpack_an_archive_once(tmp_path):
    packed = archive(tmp_path, *((f"{i}.png", bytes(2000)) for i in range(3000)))
    code = (
        "import sys; from pathlib import Path; from workflow.assets.archives import unpack;"
        "sys.stdin.read(1); print(unpack(*map(Path, sys.argv[1:])))"
    )
    call = [sys.executable, "-c", code, str(packed), str(tmp_path / "set")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    both = [subprocess.Popen(call, **pipes) for _ in range(2)]
    assert [process.communicate("go")[0] for process in both] == ["3000\n"] * 2
    assert names(tmp_path) == ["set", "set.zip"] and len(names(tmp_path / "set")) == 3000


def test_a_locked_member_is_refused(tmp_path):
    packed = archive(tmp_path, ("secret", b"1"))
    data = bytearray(packed.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    packed.write_bytes(data)
    with pytest.raises(UserError, match="'secret' is encrypted"):
        archives.unpack(packed, tmp_path / "set")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name_are_refused(tmp_path):
    for second in ("a/b", "a\\b", "./a//b"):
        packed = archive(tmp_path, ("a/b", b"1"), (second, b"2"))
        with pytest.raises(UserError, match="has a duplicate name; nothing was unpacked"):
            archives.unpack(packed, tmp_path / "set")


def test_a_bomb_is_refused_before_anything_is_written(tmp_path):
    packed = archive(tmp_path, ("zeros", bytes(10**6)), compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(UserError, match="would unpack to 1000000, more than 200 times as much"):
        archives.unpack(packed, tmp_path / "set")
    assert names(tmp_path) == ["set.zip"]


def test_an_archive_that_needs_more_than_the_disk_has_is_refused(tmp_path, monkeypatch):
    free = shutil.disk_usage(tmp_path)._replace(free=download.RESERVE)
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: free)
    with pytest.raises(UserError, match="free some space"):
        archives.unpack(archive(tmp_path, ("a", b"1")), tmp_path / "set")


def damaged(packed):
    data = packed.read_bytes()
    packed.write_bytes(data.replace(b"content", b"CONTENT"))


def shorter(packed):
    """The listing at its end claims one byte less than there is."""
    data = bytearray(packed.read_bytes())
    data[data.index(b"PK\x01\x02") + 24] -= 1
    packed.write_bytes(data)


@pytest.mark.parametrize("harm", [damaged, shorter, lambda packed: packed.write_bytes(CONTENT)])
def test_a_broken_archive_is_one_sentence_and_leaves_nothing(tmp_path, harm):
    packed = archive(tmp_path, ("a", b"good"), ("b", b"content"))
    harm(packed)
    with pytest.raises(UserError, match="set.zip cannot be unpacked .*; unpack it by hand into"):
        archives.unpack(packed, tmp_path / "set")
    assert names(tmp_path) == ["set.zip"]


def test_a_file_where_another_member_needs_a_folder_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match="cannot be unpacked"):
        archives.unpack(archive(tmp_path, ("a", b"1"), ("a/b", b"2")), tmp_path / "set")
    assert names(tmp_path) == ["set.zip"]
