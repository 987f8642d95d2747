"""Image sets: scanned with a count of everything, indexed, and read lazily row by row."""

import contextlib
import hashlib
import json
import os
import pickle
import tracemalloc

import numpy as np
import pytest

from nada.images import sets as image_sets
from nada.images.arrays import load_images, save_images
from nada.images.files import Policy, to_pixels
from nada.images.sets import open_images, scan, write_index
from nada.run.errors import UserError
from tests.nada.images.pictures import (
    DAMAGED,
    JPEG,
    R,
    afhq,
    encode,
    fill,
    names,
    noise,
    numbered,
    pack,
    png,
)

# ---------------------------------------------------------------------------------------- the scan


def test_damaged_images_are_refused_by_name_and_can_be_left_out(tmp_path):
    fill(tmp_path, {**numbered(2), **DAMAGED})
    count, first = len(DAMAGED), min(DAMAGED)
    said = rf"of {count + 2} images, {count} damaged \({first}: .*--skip-damaged"
    with pytest.raises(UserError, match=said):
        scan(tmp_path, resolution=R)
    index, report = scan(tmp_path, resolution=R, skip_damaged=True)
    assert names(index) == ["00.png", "01.png"] and report["damaged"]["count"] == count
    assert [left["name"] for left in index["left_out"]] == sorted(DAMAGED)


def test_a_set_of_damaged_images_alone_is_an_error_even_where_they_may_be_left_out(tmp_path):
    fill(tmp_path, {"a.png": b"?", "b.png": b"?"})
    with pytest.raises(UserError, match="all of its 2 images are damaged"):
        scan(tmp_path, resolution=R, skip_damaged=True)


def test_what_keeps_a_set_from_use_is_said_at_once_with_counts_and_the_first_names(tmp_path):
    fill(tmp_path, {f"{i}.jpg": JPEG[:99] for i in range(7)})
    fill(tmp_path, {"tiny.png": encode(noise(4, 4)), **numbered(1)})
    with pytest.raises(UserError) as caught:
        scan(tmp_path, resolution=R)
    sentence = str(caught.value)
    assert "of 9 images, 7 damaged (0.jpg: " in sentence and "… 2 more" in sentence
    assert "and 1 smaller than 8 px (tiny.png: 4x4)" in sentence and "--enlarge" in sentence
    assert "\n" not in sentence


def test_a_decompression_bomb_is_refused_before_it_unfolds_whatever_may_be_left_out(tmp_path):
    fill(tmp_path, {**numbered(1), "bomb.png": png(60_000, 60_000, 8, 2)})
    fill(tmp_path, {"large.png": png(10_000, 10_000, 8, 2)})
    tracemalloc.start()
    with pytest.raises(UserError, match=r"2 a decompression bomb \(bomb\.png: .*large\.png: 1000"):
        scan(tmp_path, resolution=R, skip_damaged=True)
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def test_equal_pixels_are_counted_and_kept_unless_they_shall_be_dropped(tmp_path):
    same = {"a.png": encode(noise()), "c.bmp": encode(noise(), "BMP"), "d.png": encode(noise())}
    fill(tmp_path, {**same, "b.png": encode(noise(seed=1))})
    index, report = scan(tmp_path, resolution=R)
    assert len(index["images"]) == 4 and report["dropped"]["count"] == 0
    assert report["duplicates"] == {"count": 2, "first": ["c.bmp = a.png", "d.png = a.png"]}
    index, report = scan(tmp_path, resolution=R, drop_duplicates=True)
    assert names(index) == ["a.png", "b.png"] and report["dropped"]["count"] == 2
    assert index["left_out"][0] == {"name": "c.bmp", "why": "same pixels as a.png"}


def test_wrong_arguments_and_sources_are_named(tmp_path):
    fill(tmp_path, {**numbered(1), "set.tfrecords": b""})
    wrong = {
        r"resolution 0: must be 1": {"resolution": 0},
        r"resolution -8: must be 1": {"resolution": -8},
        r"resize 'cubic': choose lanczos, box": {"resize": "cubic"},
        r"workers 0: must be 1": {"workers": 0},
        r"start -1: must be 0": {"start": -1},
        r"limit 0: must be 1": {"limit": 0},
        r"no images from number 9 on": {"start": 9},
    }
    for sentence, options in wrong.items():
        with pytest.raises(UserError, match=sentence):
            scan(tmp_path, **{"resolution": R, **options})
    with pytest.raises(UserError, match=r"none is missing"):
        scan(tmp_path / "none", resolution=R)
    with pytest.raises(UserError, match=r"set\.tfrecords is no image source"):
        scan(tmp_path / "set.tfrecords", resolution=R)


def test_a_ten_shot_set_is_a_folder_of_ten_images_of_mixed_kinds(tmp_path):
    fill(tmp_path, {f"{i}.jpg": encode(noise(seed=i), "JPEG") for i in range(6)})
    fill(tmp_path, {f"{i}.png": encode(noise(seed=i, channels=1)) for i in range(6, 10)})
    index, report = scan(tmp_path, resolution=R)
    assert len(index["images"]) == 10 and report["grey"]["count"] == 4


# ------------------------------------------------------------------------------- index and reading


@pytest.fixture
def data(tmp_path):
    """A folder of five images in colour and its index beside it."""
    source = fill(tmp_path / "data" / "set", numbered(5, 9, 10))
    index, _ = scan(source, resolution=R)
    write_index(tmp_path / "data" / "set.json", {**index, "source": os.path.relpath(source)})
    return tmp_path / "data"


def test_an_index_says_of_each_image_its_pixels_hash_its_size_and_what_was_done(data):
    index = json.loads((data / "set.json").read_text())
    first = index["images"][0]
    pixels, size, done = to_pixels((data / "set/00.png").read_bytes(), Policy(R))
    assert first == {
        "name": "00.png",
        "sha256": hashlib.sha256(pixels.tobytes()).hexdigest(),
        "size": size,
        "done": done,
    }
    assert index["format"] == "stylegan-nada image index 1" and index["resolution"] == R
    assert index["policy"]["resize"] == "lanczos" and index["policy"]["alpha"] == "white"


def test_a_relative_source_moves_with_its_index_and_an_absolute_one_stays(data, tmp_path):
    assert json.loads((data / "set.json").read_text())["source"] == "set"
    before = open_images(data / "set.json")[:]
    data.rename(tmp_path / "moved")
    assert np.array_equal(open_images(tmp_path / "moved/set.json")[:], before)
    index, _ = scan(tmp_path / "moved/set", resolution=R)
    write_index(tmp_path / "elsewhere/absolute.json", index)
    assert np.array_equal(open_images(tmp_path / "elsewhere/absolute.json")[:], before)


def test_equal_files_give_equal_bytes_with_any_number_of_workers(tmp_path):
    fill(tmp_path / "set", {**numbered(40), "bad.png": b"?", "read.me": b""})
    seen = []
    for workers in (1, 2):
        index, report = scan(
            tmp_path / "set",
            resolution=R,
            workers=workers,
            skip_damaged=True,
            progress=lambda done, total: seen.append((done, total)),
        )
        write_index(tmp_path / f"{workers}.json", index)
        (tmp_path / f"{workers}.report").write_text(json.dumps(report))
    assert (tmp_path / "1.json").read_bytes() == (tmp_path / "2.json").read_bytes()
    assert (tmp_path / "1.report").read_text() == (tmp_path / "2.report").read_text()
    assert seen == 2 * [(16, 41), (32, 41), (41, 41)]


@pytest.mark.parametrize(
    "rows", [slice(None), slice(3, 0, -1), [4, 0, 0, -1], np.array([2]), [], slice(2, 2)]
)
@pytest.mark.parametrize("kind", ["index", "npz"])
def test_rows_are_taken_as_numpy_takes_them_and_hashed_as_their_bytes(data, kind, rows):
    everything = open_images(data / "set.json")[:]
    save_images(data / "set.npz", everything)
    loaded = load_images(data / "set.npz")
    images = open_images(data / ("set.json" if kind == "index" else "set.npz"))
    assert len(images) == 5 == len(images.names) and images.shape == (R, R)
    assert images[rows].dtype == np.uint8 and np.array_equal(images[rows], loaded[rows])
    assert images.sha256(rows) == hashlib.sha256(loaded[rows].tobytes()).hexdigest()
    assert images.sha256() == hashlib.sha256(loaded.tobytes()).hexdigest()


def test_rows_that_are_not_there_and_single_numbers_are_errors(data):
    images = open_images(data / "set.json")
    with pytest.raises(IndexError):
        images[[5]]
    with pytest.raises(TypeError, match="a slice or a 1-D array"):
        images[2]
    with pytest.raises(ValueError, match="size 0"):
        images.batches(0)


@pytest.mark.parametrize("kind", ["json", "npz"])
def test_batches_are_all_images_in_order_and_the_last_may_be_smaller(data, kind):
    save_images(data / "set.npz", open_images(data / "set.json")[:])
    images = open_images(data / f"set.{kind}")
    batches = list(images.batches(2))
    assert [len(batch) for batch in batches] == [2, 2, 1]
    assert np.array_equal(np.concatenate(batches), images[:])


def test_reading_a_large_file_in_batches_never_holds_it(tmp_path):
    save_images(tmp_path / "large.npz", np.zeros((1500, 64, 64, 3), np.uint8))  # 18 MB
    images = open_images(tmp_path / "large.npz")
    tracemalloc.start()
    assert sum(len(batch) for batch in images.batches(20)) == 1500
    images.sha256()
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()


def test_an_image_of_another_size_than_the_index_says_is_an_error(data):
    (data / "set/02.png").write_bytes(encode(noise(12, 12)))
    images = open_images(data / "set.json")
    assert len(images[[0, 1, 3]]) == 3
    with pytest.raises(UserError, match=r"02\.png .* is not as the index .*\[12, 12\], not \[10"):
        images[:]


def test_other_pixels_are_seen_only_where_they_are_verified(data):
    assert np.array_equal(
        open_images(data / "set.json", verify=True)[:], open_images(data / "set.json")[:]
    )
    (data / "set/02.png").write_bytes(encode(noise(9, 10, seed=99)))
    assert len(open_images(data / "set.json")[:]) == 5
    with pytest.raises(UserError, match=r"02\.png .*\(other pixels.*restore it, or make the index"):
        open_images(data / "set.json", verify=True).sha256()


def test_an_image_that_was_removed_or_became_a_link_out_is_an_error_when_read(data):
    (data / "set/01.png").unlink()
    (data / "set/02.png").unlink()
    (data / "secret.png").write_bytes(encode(noise(9, 10)))
    (data / "set/02.png").symlink_to(data / "secret.png")
    images = open_images(data / "set.json")
    with pytest.raises(UserError, match=r"01\.png .*No such file"):
        images[[1]]
    with pytest.raises(UserError, match=r"02\.png .*a link that leaves the folder"):
        images[[2]]


def test_an_index_that_is_none_or_leads_out_of_its_source_is_refused(data):
    index = json.loads((data / "set.json").read_text())
    first = index["images"][0]
    wrong = {
        "cannot be read": "{",
        "is no index of images": {"labels": None},
        "lacks keys": {**index, "images": []},
        "lacks keys or": {**index, "policy": None},
        "lacks keys or has": {**index, "images": [{**first, "sha256": "12"}]},
        "resolution nine": {**index, "resolution": "nine"},
        "resolution -1": {**index, "resolution": -1},
        "resolution True": {**index, "resolution": True},
        "resize 'cubic'": {**index, "policy": {**index["policy"], "resize": "cubic"}},
        r"\(\.\./secret\.png\)": {**index, "images": [{**first, "name": "../secret.png"}]},
        "gone is missing": {**index, "source": "gone"},
        "is of a zip, but": {**index, "kind": "zip"},
    }
    for sentence, content in wrong.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (data / "wrong.json").write_text(text)
        with pytest.raises(UserError, match=sentence):
            open_images(data / "wrong.json")


def test_what_is_no_image_file_is_refused_with_the_command_that_makes_an_index(data):
    with pytest.raises(UserError, match=r"none\.json is missing"):
        open_images(data / "none.json")
    with pytest.raises(UserError, match=r"python -m nada\.images\.sets --source .*set --resolution"):
        open_images(data / "set")
    with pytest.raises(UserError, match=r"must end in \.json"):
        write_index(data / "index.txt", {"source": "set"})


def test_npz_files_that_load_images_refuses_are_refused_here_too(tmp_path):
    save_images(tmp_path / "cut.npz", noise(64 * 16, 16).reshape(64, 16, 16, 3))
    content = (tmp_path / "cut.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(content[: len(content) // 2])
    np.savez(tmp_path / "float.npz", images=np.zeros((2, 4, 4, 3)))
    np.savez(tmp_path / "other.npz", pixels=np.zeros(3))
    np.savez(tmp_path / "objects.npz", images=np.array([{}], dtype=object))
    for name in ("none", "cut", "float", "other", "objects"):
        with pytest.raises(UserError):
            load_images(tmp_path / f"{name}.npz")
        with pytest.raises(UserError, match=name):
            open_images(tmp_path / f"{name}.npz")
    np.savez(tmp_path / "columns.npz", images=np.asfortranarray(noise().reshape(1, R, R, 3)))
    with pytest.raises(UserError, match="in Fortran's order"):
        open_images(tmp_path / "columns.npz")


def test_an_npz_file_that_is_damaged_inside_is_an_error_when_it_is_read(tmp_path):
    pixels = noise(64 * 16, 16).reshape(64, 16, 16, 3)
    save_images(tmp_path / "a.npz", pixels)
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[len(content) // 2 : len(content) // 2 + 64] = bytes(64)
    (tmp_path / "a.npz").write_bytes(content)
    images = open_images(tmp_path / "a.npz")
    with pytest.raises(UserError, match=r"a\.npz cannot be read"):
        images[:]


def test_image_sets_travel_to_other_processes_and_forked_ones_do_not_disturb_each_other(tmp_path):
    pixels = noise(24 * 32, 32).reshape(24, 32, 32, 3)
    save_images(tmp_path / "a.npz", pixels)
    pack(tmp_path / "a.zip", {f"{i:02d}.png": encode(x) for i, x in enumerate(pixels)})
    write_index(tmp_path / "a.json", scan(tmp_path / "a.zip", resolution=32)[0])
    for images in (open_images(tmp_path / "a.npz"), open_images(tmp_path / "a.json")):
        images[[0]]  # opened here, before it travels
        assert np.array_equal(pickle.loads(pickle.dumps(images))[:], pixels)
        child = os.fork()
        same = False
        with contextlib.suppress(Exception):
            same = all(np.array_equal(images[:], pixels) for _ in range(10))
        if child == 0:
            os._exit(0 if same else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0 and same


# ------------------------------------------------------------------------------------- the command


def test_the_command_writes_the_index_and_prints_what_was_done(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fill(tmp_path / "afhq", {**afhq(), "val/cat/grey.png": encode(noise(9, 9, channels=1))})
    command = ["--source", "afhq", "--split", "val/cat", "--resolution", "8", "--out", "i/cat.json"]
    assert image_sets.main([*command, "--resize", "box", "--workers", "2"]) == 0
    printed = capsys.readouterr().out
    assert "grey, made RGB: 1 (val/cat/grey.png)" in printed
    assert "reduced: 1 (val/cat/grey.png)" in printed
    assert printed.endswith("3 of 3 images (folder) -> i/cat.json\n")
    index = json.loads((tmp_path / "i/cat.json").read_text())
    assert index["source"] == "../afhq" and index["policy"]["resize"] == "box"
    assert len(open_images("i/cat.json", verify=True)[:]) == 3


def test_the_command_answers_a_mistake_with_one_sentence_and_writes_nothing(tmp_path, capsys):
    fill(tmp_path / "set", {**numbered(1), "small.png": encode(noise(4, 4))})
    command = ["--source", str(tmp_path / "set"), "--resolution", "8"]
    out = tmp_path / "index.json"
    assert image_sets.main([*command, "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and "small.png: 4x4" in error
    assert not out.exists()
    for wrong in (tmp_path / "index.txt", fill(tmp_path / "folder.json", {"a": b""})):
        assert image_sets.main([*command, "--out", str(wrong)]) == 2
        told = capsys.readouterr()
        assert f"the index {wrong}: its name must end in .json" in told.err and told.out == ""
    assert image_sets.main([*command, "--out", str(out), "--enlarge"]) == 0 and out.exists()
    assert image_sets.main([*command, "--out", str(out), "--resize", "none"]) == 2
    assert "1 not 8x8 (small.png: 4x4)" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["package.json", "labels.JSON", "broken.json"])
def test_an_index_is_not_written_over_a_file_that_is_none(tmp_path, capsys, name):
    fill(tmp_path / "set", numbered(1))
    content = b"{" if name == "broken.json" else b'{"mine": true}'
    (tmp_path / name).write_bytes(content)
    arguments = ["--source", str(tmp_path / "set"), "--resolution", str(R)]
    assert image_sets.main([*arguments, "--out", str(tmp_path / name)]) == 2
    error = capsys.readouterr().err
    assert f"{name}: is there already and is not what this command writes" in error
    index, _ = scan(tmp_path / "set", resolution=R)
    with pytest.raises(UserError, match="is there already"):
        write_index(tmp_path / name, index)
    assert (tmp_path / name).read_bytes() == content


@pytest.mark.parametrize("labelled", [True, False])
def test_a_set_s_labels_are_not_written_over_nor_made_up_by_an_index(tmp_path, capsys, labelled):
    labels = {"dataset.json": b'{"labels": [["00.png", 1]]}'} if labelled else {}
    fill(tmp_path, {**numbered(1), **labels})
    out = tmp_path / "dataset.json"
    line = ["--source", str(tmp_path), "--resolution", str(R), "--out", str(out)]
    assert image_sets.main(line) == 2
    assert "there dataset.json is the set's labels; name another file" in capsys.readouterr().err
    assert out.exists() == labelled
    index, _ = scan(tmp_path, resolution=R)
    assert index["images"][0].get("label") == (1 if labelled else None)


def test_an_index_of_any_version_and_an_empty_file_may_be_written_over(tmp_path):
    fill(tmp_path / "set", numbered(1))
    line = ["--source", str(tmp_path / "set"), "--resolution", str(R), "--out"]
    for content in ("", '{"format": "stylegan-nada image index 0"}'):
        (tmp_path / "i.json").write_text(content)
        for _ in range(2):
            assert image_sets.main([*line, str(tmp_path / "i.json")]) == 0
        assert len(open_images(tmp_path / "i.json")) == 1
