"""Folders, zips and LMDBs of images are read; unsafe or damaged ones are refused by name."""

import io
import json
import os
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image

from nada.images import containers
from nada.images.lazy import open_images
from nada.images.sets import scan, write_index
from nada.run.errors import UserError
from tests.nada.images.pictures import (
    JPEG,
    PNG,
    R,
    encode,
    fill,
    names,
    noise,
    numbered,
    pack,
)

# ----------------------------------------------------------------------------------------- folders


def test_a_folder_is_read_recursively_in_the_order_of_its_names_whatever_their_case(tmp_path):
    data = encode(noise())
    wanted = ["B.PNG", "a/1.Jpeg", "a/10.png", "a/2.bmp", "z.webp"]
    others = [".hidden.png", ".cache/x.png", "a/readme.txt", "b.gif", "__MACOSX/._z.png"]
    fill(tmp_path, {**dict.fromkeys(wanted, data), **dict.fromkeys(others, data)})
    index, report = scan(tmp_path, resolution=R)
    assert names(index) == wanted and index["kind"] == "folder"
    assert report["other_files"] == {"count": 5, "first": sorted(others)}
    assert report["images"] == report["scanned"] == 5


@pytest.mark.parametrize("files", [{}, {"readme.txt": b"text"}])
def test_a_source_without_images_is_an_error(tmp_path, files):
    (tmp_path / "set").mkdir()
    pack(tmp_path / "set.zip", files)
    for source in (fill(tmp_path / "set", files), tmp_path / "set.zip"):
        with pytest.raises(UserError, match=r"has no images; it needs \.png, \.jpg"):
            scan(source, resolution=R)


def test_links_that_leave_the_folder_are_refused_by_name(tmp_path):
    outside = fill(tmp_path / "outside", numbered(1))
    inside = fill(tmp_path / "inside", numbered(2))
    (inside / "link.png").symlink_to(outside / "00.png")
    (inside / "folder").symlink_to(outside)
    with pytest.raises(UserError, match=r"links that leave the folder: 2 \(folder, link\.png\)"):
        scan(inside, resolution=R)


def test_linked_files_within_the_folder_count_and_linked_folders_do_not(tmp_path):
    inside = fill(tmp_path / "set", {"a/0.png": encode(noise())})
    (inside / "again.png").symlink_to("a/0.png")
    (inside / "b").symlink_to("a")
    index, report = scan(inside, resolution=R)
    assert names(index) == ["a/0.png", "again.png"]
    assert report["other_files"]["first"] == ["b"]
    assert report["duplicates"]["first"] == ["again.png = a/0.png"]


def test_broken_links_and_pipes_count_as_damaged_images(tmp_path):
    fill(tmp_path, numbered(1))
    (tmp_path / "broken.png").symlink_to("nowhere.png")
    (tmp_path / "loop.png").symlink_to("loop.png")
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(UserError, match=r"3 damaged \(broken\.png: .*loop\.png: .*pipe\.png: no"):
        scan(tmp_path, resolution=R)


def test_the_source_itself_may_be_a_link(tmp_path):
    fill(tmp_path / "disk", numbered(2))
    (tmp_path / "data").symlink_to(tmp_path / "disk")
    assert names(scan(tmp_path / "data", resolution=R)[0]) == ["00.png", "01.png"]


def test_a_name_that_is_not_utf_8_is_refused_and_can_be_printed(tmp_path):
    fill(tmp_path, numbered(1))
    with open(os.fsencode(tmp_path) + b"/\xff.png", "wb") as file:
        file.write(encode(noise()))
    with pytest.raises(UserError, match=r"not UTF-8: 1 \(\\udcff\.png\)") as caught:
        scan(tmp_path, resolution=R)
    str(caught.value).encode()
    os.rename(os.fsencode(tmp_path) + b"/\xff.png", os.fsencode(tmp_path) + b"/\xff.txt")
    _, report = scan(tmp_path, resolution=R)
    assert report["other_files"]["first"] == ["\\udcff.txt"]


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_an_image_of_too_many_bytes_is_refused(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(containers, "MAX_BYTES", 10_000)
    files = {**numbered(1), "large.png": bytes(10_001)}
    source = pack(tmp_path / "a.zip", files) if kind == "zip" else fill(tmp_path, files)
    with pytest.raises(UserError, match=r"large\.png: 10001 bytes, the limit is 10000"):
        scan(source, resolution=R, skip_damaged=True)


# -------------------------------------------------------------------------------------------- zips


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_gives_what_the_same_folder_gives(tmp_path, method):
    files = {**numbered(3), "a/x.jpg": encode(noise(9, 9), "JPEG"), "notes.txt": b""}
    archive = pack(tmp_path / "a.ZIP", dict(reversed(files.items())), method)
    index, report = scan(archive, resolution=R)
    expected, folder_report = scan(fill(tmp_path / "folder", files), resolution=R)
    assert index["images"] == expected["images"] and report == folder_report
    assert index["kind"] == "zip"


@pytest.mark.parametrize(
    "name",
    [
        *("../out.png", "a/../../b.png", "/root.png", "../d/"),
        *(
            "C:\\x.png",
            "C:x.png",
            "a\\..\\..\\x.png",
            "a/..\\../x.png",
            "\\root.png",
            "\\\\host\\x.png",
        ),
    ],
)
def test_a_zip_with_a_name_that_leads_out_of_it_is_refused_by_name(tmp_path, name):
    pack(tmp_path / "a.zip", {**numbered(1), name: encode(noise())})
    with pytest.raises(UserError, match="names that leave the archive: 1") as caught:
        scan(tmp_path / "a.zip", resolution=R)
    assert name in str(caught.value)


WINDOWS = {
    "set": {
        **{f"train/cat/{i}.png": encode(noise(seed=i)) for i in range(2)},
        "val/cat/2.png": PNG,
    },
    "junk": {
        "__MACOSX/train/cat/._0.png": b"?",
        "train/.cache/x.png": b"?",
        "train/notes.txt": b"",
    },
}


def as_windows_packs(files: dict[str, bytes]) -> dict[str, bytes]:
    """Backslashes for slashes, and an entry for each folder, but for the index in the root."""
    folders = {"train\\": b"", "train\\cat\\": b""}
    return {**folders, **{name.replace("/", "\\"): data for name, data in files.items()}}


@pytest.mark.parametrize("options", [{}, {"split": "train"}, {"split": "val\\cat"}, {"limit": 2}])
@pytest.mark.parametrize("separator", ["/", "\\"])
def test_backslashes_in_a_zip_are_read_as_slashes(tmp_path, options, separator):
    labels = [[name.replace("/", separator), i] for i, name in enumerate(WINDOWS["set"])]
    labels = {"dataset.json": json.dumps({"labels": labels}).encode()}
    files = {**WINDOWS["set"], **WINDOWS["junk"], **labels}
    plain, plain_report = scan(pack(tmp_path / "a.zip", files), resolution=R, **options)
    windows = pack(tmp_path / "windows.zip", as_windows_packs(files))
    index, report = scan(windows, resolution=R, **options)
    assert index["images"] == plain["images"] and report == plain_report
    assert [image["label"] for image in index["images"]][:1] == [2 if "val" in str(options) else 0]
    write_index(tmp_path / "index.json", index)
    pixels = open_images(tmp_path / "index.json", verify=True)[:]
    write_index(tmp_path / "plain.json", plain)
    assert np.array_equal(pixels, open_images(tmp_path / "plain.json")[:])


def test_an_index_that_names_members_with_backslashes_is_still_read(tmp_path):
    archive = pack(tmp_path / "a.zip", as_windows_packs(WINDOWS["set"]))
    index, _ = scan(archive, resolution=R)
    for image in index["images"]:
        image["name"] = image["name"].replace("/", "\\")
    write_index(tmp_path / "index.json", index)
    assert open_images(tmp_path / "index.json", verify=True)[:].shape == (3, R, R, 3)


def test_names_that_differ_only_in_slashes_are_duplicates(tmp_path):
    pack(tmp_path / "a.zip", {"a/x.png": PNG, "a\\x.png": PNG})
    with pytest.raises(UserError, match=r"duplicate names: 1 \(a/x\.png\)"):
        scan(tmp_path / "a.zip", resolution=R)


def test_a_folder_skips_macos_files_unpacked_with_backslashes(tmp_path):
    fill(tmp_path, as_windows_packs({**numbered(1), **WINDOWS["junk"]}) | {"train\\": b""})
    index, report = scan(tmp_path, resolution=R)
    assert names(index) == ["00.png"] and report["other_files"]["count"] == 5


def test_encrypted_members_links_duplicate_names_and_rare_compressions_are_refused(tmp_path):
    plain = pack(tmp_path / "a.zip", numbered(1)).read_bytes()
    at = plain.index(b"PK\x01\x02") + 8  # the flags in the central directory
    (tmp_path / "locked.zip").write_bytes(plain[:at] + b"\x01" + plain[at + 1 :])
    link = zipfile.ZipInfo("link.png")
    link.create_system, link.external_attr = 3, 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        archive.writestr(link, "../../secret.png")
    with zipfile.ZipFile(tmp_path / "twice.zip", "w") as archive:
        archive.writestr("x.png", PNG)
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("x.png", JPEG)
    pack(tmp_path / "rare.zip", numbered(1), zipfile.ZIP_BZIP2)
    wanted = {
        "locked.zip": r"encrypted members: 1 \(00\.png\)",
        "link.zip": r"links: 1 \(link\.png\)",
        "twice.zip": r"duplicate names: 1 \(x\.png\)",
        "rare.zip": r"members that are neither stored nor deflated: 1 \(00\.png\)",
    }
    for name, sentence in wanted.items():
        with pytest.raises(UserError, match=sentence):
            scan(tmp_path / name, resolution=R, skip_damaged=True)


def test_a_member_with_a_wrong_checksum_is_damaged_and_a_cut_archive_cannot_be_read(tmp_path):
    files = {"a.png": encode(noise()), "b.bmp": encode(noise(), "BMP")}
    content = bytearray(pack(tmp_path / "a.zip", files, zipfile.ZIP_STORED).read_bytes())
    content[content.index(files["b.bmp"]) + 100] ^= 1
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(UserError, match=r"1 damaged \(b\.bmp: Bad CRC-32"):
        scan(tmp_path / "a.zip", resolution=R)
    (tmp_path / "a.zip").write_bytes(content[:-30])
    with pytest.raises(UserError, match=r"a\.zip cannot be read .*restore it"):
        scan(tmp_path / "a.zip", resolution=R)


def test_a_zip_with_a_wrongly_encoded_name_is_refused(tmp_path):
    good = pack(tmp_path / "a.zip", {"ü.png": encode(noise()), **numbered(1)}).read_bytes()
    name, first = "ü.png".encode(), good.index("ü.png".encode())
    (tmp_path / "a.zip").write_bytes(good.replace(name, b"\xff\xff.png"))
    with pytest.raises(UserError, match=r"a\.zip cannot be read .*utf-8"):
        scan(tmp_path / "a.zip", resolution=R)
    (tmp_path / "a.zip").write_bytes(good[:first] + b"\xff\xff" + good[first + 2 :])
    with pytest.raises(UserError, match=r"1 damaged \(ü\.png: "):
        scan(tmp_path / "a.zip", resolution=R)


def test_unprintable_characters_of_a_name_are_escaped(tmp_path):
    fill(tmp_path, {"a\n\x1b[2J\u202eb.png": encode(noise(3, 3)), "é 中.png": encode(noise(3, 3))})
    with pytest.raises(UserError) as caught:
        scan(tmp_path, resolution=R)
    assert r"(a\n\x1b[2J\u202eb.png: 3x3, é 中.png: 3x3)" in str(caught.value)


# ------------------------------------------------------------------------------------------- LMDBs


def write_lmdb(path, values: dict[str, bytes]):
    import lmdb

    with lmdb.open(str(path), map_size=1 << 24) as environment, environment.begin(write=True) as t:
        for key, value in values.items():
            t.put(key.encode(), value)
    return path


def published(count=4, size=R, seed=0) -> dict[str, bytes]:
    """As prepare_data.py writes it: JPEGs of quality 100 under '<size>-<5 digits>', 'length'."""
    images = {
        f"{size}-{i:05d}": encode(noise(size, size, seed + i), "JPEG", quality=100)
        for i in range(count)
    }
    return {**images, "length": str(count).encode()}


def test_an_lmdb_in_the_published_layout_is_read_by_its_keys(tmp_path):
    values = published(12)
    index, _ = scan(write_lmdb(tmp_path / "set", values), resolution=R)
    assert names(index) == [f"8-{i:05d}" for i in range(12)] and index["kind"] == "lmdb"
    write_index(tmp_path / "set.json", index)
    images = open_images(tmp_path / "set.json")
    with Image.open(io.BytesIO(values["8-00011"])) as image:
        assert np.array_equal(images[[11]][0], np.asarray(image))
    again, _ = scan(tmp_path / "set" / "data.mdb", resolution=R)  # beside an open image set
    assert again["images"] == index["images"]


def test_of_several_sizes_the_requested_or_the_next_larger_one_is_read(tmp_path):
    values = {**published(2, 8), **published(2, 16), **published(2, 32)}
    write_lmdb(tmp_path, values)
    assert names(scan(tmp_path, resolution=16)[0]) == ["16-00000", "16-00001"]
    assert names(scan(tmp_path, resolution=9)[0]) == ["16-00000", "16-00001"]
    with pytest.raises(UserError, match=r"2 smaller than 64 px \(32-00000: 32x32"):
        scan(tmp_path, resolution=64)


def test_a_missing_key_is_a_damaged_image_and_an_extra_key_is_counted(tmp_path):
    values = published(4)
    values["8-00009"], values["note"] = values.pop("8-00002"), b"x"
    write_lmdb(tmp_path, values)
    with pytest.raises(UserError, match=r"1 damaged \(8-00002: the key is missing\)"):
        scan(tmp_path, resolution=R)
    index, report = scan(tmp_path, resolution=R, skip_damaged=True)
    assert names(index) == ["8-00000", "8-00001", "8-00003"]
    assert report["other_files"]["first"] == ["8-00009", "note"]


@pytest.mark.parametrize("length", [9, 999_999_999])
def test_an_lmdb_without_most_of_its_images_is_refused_even_with_skip_damaged(
    tmp_path, length
):
    write_lmdb(tmp_path, {**published(4), "length": str(length).encode()})
    with pytest.raises(UserError, match=rf"'length' of .* says {length} images, but it has 4 of 8 px"):
        scan(tmp_path, resolution=R, skip_damaged=True)


def test_a_damaged_value_is_named_by_its_key(tmp_path):
    values = published(3, 32)
    values["32-00001"] = values["32-00001"][:200]
    write_lmdb(tmp_path, values)
    with pytest.raises(UserError, match=r"1 damaged \(32-00001: "):
        scan(tmp_path, resolution=R)


def test_other_lmdbs_splits_and_a_missing_lmdb_package_are_reported(tmp_path, monkeypatch):
    write_lmdb(tmp_path / "lsun", {"0a1b": b"x"})
    write_lmdb(tmp_path / "bare", {"length": b"3"})
    write_lmdb(tmp_path / "set", published(1))
    fill(tmp_path, {"text.mdb": b"no database" * 2000})
    with pytest.raises(UserError, match="lsun has no key 'length'"):
        scan(tmp_path / "lsun", resolution=R)
    with pytest.raises(UserError, match="bare has no key like '256-00000'"):
        scan(tmp_path / "bare", resolution=R)
    with pytest.raises(UserError, match="has no splits"):
        scan(tmp_path / "set", resolution=R, split="val")
    with pytest.raises(UserError, match=r"LMDB .*text\.mdb cannot be read"):
        scan(tmp_path / "text.mdb", resolution=R)
    monkeypatch.setitem(sys.modules, "lmdb", None)
    with pytest.raises(UserError, match="the package lmdb is not installed; run 'pip install"):
        scan(tmp_path / "set", resolution=R)


def test_a_truncated_lmdb_is_an_error_and_does_not_kill_the_process(tmp_path):
    write_lmdb(tmp_path, published(40, 32))
    content = (tmp_path / "data.mdb").read_bytes()
    (tmp_path / "data.mdb").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="is truncated: .* restore it"):
        scan(tmp_path, resolution=R)
