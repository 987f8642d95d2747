"""Sources of image sets: folders, zips and LMDBs, honest and hostile; splits and labels."""

import io
import json
import os
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image

from nada.images import containers as image_sources
from nada.images.sets import open_images, scan, write_index
from nada.run.errors import UserError
from tests.nada.images.pictures import (
    JPEG,
    PNG,
    R,
    afhq,
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
    assert report["images"] == report["looked_at"] == 5


@pytest.mark.parametrize("files", [{}, {"readme.txt": b"text"}])
def test_a_source_without_images_is_an_error(tmp_path, files):
    (tmp_path / "set").mkdir()
    pack(tmp_path / "set.zip", files)
    for source in (fill(tmp_path / "set", files), tmp_path / "set.zip"):
        with pytest.raises(UserError, match=r"has no images; wanted are \.png, \.jpg"):
            scan(source, resolution=R)


def test_links_that_leave_the_folder_are_refused_by_name(tmp_path):
    outside = fill(tmp_path / "outside", numbered(1))
    inside = fill(tmp_path / "inside", numbered(2))
    (inside / "link.png").symlink_to(outside / "00.png")
    (inside / "folder").symlink_to(outside)
    with pytest.raises(UserError, match=r"links that leave the folder: 2 \(folder, link\.png\)"):
        scan(inside, resolution=R)


def test_links_within_the_folder_are_files_and_linked_folders_are_seen_once(tmp_path):
    inside = fill(tmp_path / "set", {"a/0.png": encode(noise())})
    (inside / "again.png").symlink_to("a/0.png")
    (inside / "b").symlink_to("a")
    index, report = scan(inside, resolution=R)
    assert names(index) == ["a/0.png", "again.png"]
    assert report["other_files"]["first"] == ["b"]
    assert report["duplicates"]["first"] == ["again.png = a/0.png"]


def test_broken_links_and_pipes_are_damaged_images_and_block_nothing(tmp_path):
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
def test_a_file_that_unpacks_to_too_many_bytes_is_refused(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(image_sources, "MAX_BYTES", 10_000)
    files = {**numbered(1), "large.png": bytes(10_001)}
    source = pack(tmp_path / "a.zip", files) if kind == "zip" else fill(tmp_path, files)
    with pytest.raises(UserError, match=r"large\.png: 10001 bytes, the bound is 10000"):
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
def test_a_zip_with_a_name_that_leaves_it_is_refused_by_name(tmp_path, name):
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
def test_a_zip_with_backslashes_gives_what_it_gives_with_slashes(tmp_path, options, separator):
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


def test_names_that_differ_in_their_separator_alone_are_one_name_twice(tmp_path):
    pack(tmp_path / "a.zip", {"a/x.png": PNG, "a\\x.png": PNG})
    with pytest.raises(UserError, match=r"names that stand there twice: 1 \(a/x\.png\)"):
        scan(tmp_path / "a.zip", resolution=R)


def test_a_folder_passes_over_what_macos_added_where_an_unzip_kept_backslashes(tmp_path):
    fill(tmp_path, as_windows_packs({**numbered(1), **WINDOWS["junk"]}) | {"train\\": b""})
    index, report = scan(tmp_path, resolution=R)
    assert names(index) == ["00.png"] and report["other_files"]["count"] == 5


def test_encrypted_members_links_double_names_and_rare_packings_are_refused(tmp_path):
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
        "twice.zip": r"names that stand there twice: 1 \(x\.png\)",
        "rare.zip": r"members neither stored nor deflated: 1 \(00\.png\)",
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


def test_a_zip_with_a_name_that_is_not_in_its_coding_is_refused(tmp_path):
    good = pack(tmp_path / "a.zip", {"ü.png": encode(noise()), **numbered(1)}).read_bytes()
    name, first = "ü.png".encode(), good.index("ü.png".encode())
    (tmp_path / "a.zip").write_bytes(good.replace(name, b"\xff\xff.png"))
    with pytest.raises(UserError, match=r"a\.zip cannot be read .*utf-8"):
        scan(tmp_path / "a.zip", resolution=R)
    (tmp_path / "a.zip").write_bytes(good[:first] + b"\xff\xff" + good[first + 2 :])
    with pytest.raises(UserError, match=r"1 damaged \(ü\.png: "):
        scan(tmp_path / "a.zip", resolution=R)


def test_a_name_with_line_breaks_and_commands_of_the_terminal_is_shown_escaped(tmp_path):
    fill(tmp_path, {"a\n\x1b[2J\u202eb.png": encode(noise(3, 3)), "é 中.png": encode(noise(3, 3))})
    with pytest.raises(UserError) as caught:
        scan(tmp_path, resolution=R)
    assert r"(a\n\x1b[2J\u202eb.png: 3x3, é 中.png: 3x3)" in str(caught.value)


def tool(labels) -> dict[str, bytes]:
    """A set as StyleGAN2-ADA's dataset_tool.py packs it."""
    files = {f"00000/img{i:08d}.png": encode(noise(seed=i)) for i in range(3)}
    return {**files, "dataset.json": json.dumps({"labels": labels}).encode()}


LABELLED = [[f"00000/img{i:08d}.png", i % 2] for i in range(3)]


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_dataset_json_gives_labels_or_none(tmp_path, kind):
    for labels in (None, LABELLED):
        files = tool(labels)
        zipped = kind == "zip"
        source = pack(tmp_path / "a.zip", files) if zipped else fill(tmp_path / "a", files)
        index, report = scan(source, resolution=R)
        assert names(index) == [name for name, _ in LABELLED]
        found = [image.get("label") for image in index["images"]]
        assert found == ([0, 1, 0] if labels else [None] * 3)
        assert report["other_files"]["count"] == (0 if labels else 1)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"{", "cannot be read"),
        (b"[]", "cannot be read"),
        (b"[" * 100_000, "cannot be read"),
        (b"{}", "cannot be read"),
        (b'{"labels": [["a.png"]]}', "cannot be read"),
        (b'{"labels": [[["a.png"], 1]]}', "cannot be read"),
        ({"labels": [*LABELLED, ["x.png", 0]]}, r"images that are not there: 1 \(x\.png\)"),
        ({"labels": LABELLED[:1]}, r"no label for images: 2 \(00000/img00000001\.png, "),
        ({"labels": [*LABELLED[:2], [LABELLED[2][0], "cat"]]}, "labels that are no numbers: 1"),
        ({"labels": [*LABELLED[:2], [LABELLED[2][0], True]]}, "labels that are no numbers: 1"),
        ({"labels": [*LABELLED, LABELLED[0]]}, "names 1 images twice"),
    ],
)
def test_a_dataset_json_that_does_not_fit_its_images_is_refused(tmp_path, content, sentence):
    content = content if isinstance(content, bytes) else json.dumps(content).encode()
    pack(tmp_path / "a.zip", {**tool(None), "dataset.json": content})
    with pytest.raises(UserError, match=f"dataset.json.* {sentence}"):
        scan(tmp_path / "a.zip", resolution=R)


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


def test_of_several_sizes_the_asked_one_is_read_else_the_next_larger(tmp_path):
    values = {**published(2, 8), **published(2, 16), **published(2, 32)}
    write_lmdb(tmp_path, values)
    assert names(scan(tmp_path, resolution=16)[0]) == ["16-00000", "16-00001"]
    assert names(scan(tmp_path, resolution=9)[0]) == ["16-00000", "16-00001"]
    with pytest.raises(UserError, match=r"2 smaller than 64 px \(32-00000: 32x32"):
        scan(tmp_path, resolution=64)


def test_a_missing_key_is_a_damaged_image_and_a_key_too_many_is_counted(tmp_path):
    values = published(4)
    values["8-00009"], values["note"] = values.pop("8-00002"), b"x"
    write_lmdb(tmp_path, values)
    with pytest.raises(UserError, match=r"1 damaged \(8-00002: the key is missing\)"):
        scan(tmp_path, resolution=R)
    index, report = scan(tmp_path, resolution=R, skip_damaged=True)
    assert names(index) == ["8-00000", "8-00001", "8-00003"]
    assert report["other_files"]["first"] == ["8-00009", "note"]


@pytest.mark.parametrize("length", [9, 999_999_999])
def test_an_lmdb_that_lacks_most_of_its_images_is_refused_whatever_may_be_left_out(
    tmp_path, length
):
    write_lmdb(tmp_path, {**published(4), "length": str(length).encode()})
    with pytest.raises(UserError, match=rf"'length' that it has {length} images, but 4 of 8 px"):
        scan(tmp_path, resolution=R, skip_damaged=True)


def test_a_damaged_value_is_refused_by_its_key(tmp_path):
    values = published(3, 32)
    values["32-00001"] = values["32-00001"][:200]
    write_lmdb(tmp_path, values)
    with pytest.raises(UserError, match=r"1 damaged \(32-00001: "):
        scan(tmp_path, resolution=R)


def test_other_lmdbs_splits_of_one_and_its_missing_package_are_told(tmp_path, monkeypatch):
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


# ------------------------------------------------------------------------------- published layouts


@pytest.mark.parametrize("place", ["folder", "folder above", "zip", "zip with a top folder"])
def test_the_splits_of_afhq_are_folders_below_the_one_common_folder(tmp_path, place):
    below = {f"afhq/{name}": data for name, data in afhq().items()}
    top = "afhq/" if place in ("folder above", "zip with a top folder") else ""
    if place.startswith("zip"):
        source = pack(tmp_path / "a.zip", below if top else afhq())
    else:
        source = fill(tmp_path, below) / ("" if top else "afhq")
    cats = [f"{top}{split}/cat/{n}.jpg" for split in ("train", "val") for n in range(2)]
    assert names(scan(source, resolution=R, split="val/cat")[0]) == cats[2:]
    assert names(scan(source, resolution=R, split=["val/cat/", "train/cat"])[0]) == cats
    assert len(scan(source, resolution=R, split="train")[0]["images"]) == 6
    with pytest.raises(UserError, match=r"split 'test': .* folders with images are .*train/cat, "):
        scan(source, resolution=R, split=["train", "test"])
    with pytest.raises(UserError, match="split 'va'"):
        scan(source, resolution=R, split="va")


def test_the_parts_of_ffhq_are_taken_by_number(tmp_path):
    files = {f"{i // 4 * 1000:05d}/{i:05d}.png": encode(noise(seed=i)) for i in range(10)}
    fill(tmp_path, {**files, "LICENSE.txt": b""})
    train, _ = scan(tmp_path, resolution=R, limit=7)
    validation, _ = scan(tmp_path, resolution=R, start=7)
    assert names(train) + names(validation) == sorted(files)
    assert names(train)[0] == "00000/00000.png" and len(names(train)) == 7
