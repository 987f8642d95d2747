"""A scan decodes every image of a set, counts what was done, and writes an index."""

import json
import tracemalloc

import pytest

from nada.images import sets
from nada.images.lazy import open_images
from nada.images.sets import scan, write_index
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


def test_a_set_of_damaged_images_only_is_an_error_even_with_skip_damaged(tmp_path):
    fill(tmp_path, {"a.png": b"?", "b.png": b"?"})
    with pytest.raises(UserError, match="all 2 images are damaged"):
        scan(tmp_path, resolution=R, skip_damaged=True)


def test_one_error_names_every_problem_of_a_set_with_counts_and_the_first_names(tmp_path):
    fill(tmp_path, {f"{i}.jpg": JPEG[:99] for i in range(7)})
    fill(tmp_path, {"tiny.png": encode(noise(4, 4)), **numbered(1)})
    with pytest.raises(UserError) as caught:
        scan(tmp_path, resolution=R)
    sentence = str(caught.value)
    assert "of 9 images, 7 damaged (0.jpg: " in sentence and "… 2 more" in sentence
    assert "and 1 smaller than 8 px (tiny.png: 4x4)" in sentence and "--enlarge" in sentence
    assert "\n" not in sentence


def test_a_decompression_bomb_is_refused_before_it_is_decoded_even_with_skip_damaged(tmp_path):
    fill(tmp_path, {**numbered(1), "bomb.png": png(60_000, 60_000, 8, 2)})
    fill(tmp_path, {"large.png": png(10_000, 10_000, 8, 2)})
    tracemalloc.start()
    with pytest.raises(UserError, match=r"2 a decompression bomb \(bomb\.png: .*large\.png: 1000"):
        scan(tmp_path, resolution=R, skip_damaged=True)
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def test_duplicates_are_counted_and_kept_unless_drop_duplicates_is_set(tmp_path):
    same = {"a.png": encode(noise()), "c.bmp": encode(noise(), "BMP"), "d.png": encode(noise())}
    fill(tmp_path, {**same, "b.png": encode(noise(seed=1))})
    index, report = scan(tmp_path, resolution=R)
    assert len(index["images"]) == 4 and report["dropped"]["count"] == 0
    assert report["duplicates"] == {"count": 2, "first": ["c.bmp = a.png", "d.png = a.png"]}
    index, report = scan(tmp_path, resolution=R, drop_duplicates=True)
    assert names(index) == ["a.png", "b.png"] and report["dropped"]["count"] == 2
    assert index["left_out"][0] == {"name": "c.bmp", "why": "same pixels as a.png"}


def test_wrong_arguments_and_sources_are_reported_by_name(tmp_path):
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
    with pytest.raises(UserError, match=r"set\.tfrecords is not an image source"):
        scan(tmp_path / "set.tfrecords", resolution=R)


def test_a_folder_may_mix_image_formats(tmp_path):
    fill(tmp_path, {f"{i}.jpg": encode(noise(seed=i), "JPEG") for i in range(6)})
    fill(tmp_path, {f"{i}.png": encode(noise(seed=i, channels=1)) for i in range(6, 10)})
    index, report = scan(tmp_path, resolution=R)
    assert len(index["images"]) == 10 and report["grey"]["count"] == 4


def test_the_index_does_not_depend_on_the_number_of_workers(tmp_path):
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


# ------------------------------------------------------------------------------------- the command


def test_the_command_writes_the_index_and_prints_what_was_done(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fill(tmp_path / "afhq", {**afhq(), "val/cat/grey.png": encode(noise(9, 9, channels=1))})
    command = ["--source", "afhq", "--split", "val/cat", "--resolution", "8", "--out", "i/cat.json"]
    assert sets.main([*command, "--resize", "box", "--workers", "2"]) == 0
    printed = capsys.readouterr().out
    assert "grey, made RGB: 1 (val/cat/grey.png)" in printed
    assert "reduced: 1 (val/cat/grey.png)" in printed
    assert printed.endswith("3 of 3 images (folder) -> i/cat.json\n")
    index = json.loads((tmp_path / "i/cat.json").read_text())
    assert index["source"] == "../afhq" and index["policy"]["resize"] == "box"
    assert len(open_images("i/cat.json", verify=True)[:]) == 3


def test_the_command_reports_a_mistake_in_one_line_and_writes_nothing(tmp_path, capsys):
    fill(tmp_path / "set", {**numbered(1), "small.png": encode(noise(4, 4))})
    command = ["--source", str(tmp_path / "set"), "--resolution", "8"]
    out = tmp_path / "index.json"
    assert sets.main([*command, "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and "small.png: 4x4" in error
    assert not out.exists()
    for wrong in (tmp_path / "index.txt", fill(tmp_path / "folder.json", {"a": b""})):
        assert sets.main([*command, "--out", str(wrong)]) == 2
        told = capsys.readouterr()
        assert f"the index {wrong}: give the name of a file that ends in .json" in told.err and told.out == ""
    assert sets.main([*command, "--out", str(out), "--enlarge"]) == 0 and out.exists()
    assert sets.main([*command, "--out", str(out), "--resize", "none"]) == 2
    assert "1 not 8x8 (small.png: 4x4)" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["package.json", "labels.JSON", "broken.json"])
def test_a_file_that_is_not_an_index_is_never_overwritten(tmp_path, capsys, name):
    fill(tmp_path / "set", numbered(1))
    content = b"{" if name == "broken.json" else b'{"mine": true}'
    (tmp_path / name).write_bytes(content)
    arguments = ["--source", str(tmp_path / "set"), "--resolution", str(R)]
    assert sets.main([*arguments, "--out", str(tmp_path / name)]) == 2
    error = capsys.readouterr().err
    assert f"{name}: exists already and is not what this command writes" in error
    index, _ = scan(tmp_path / "set", resolution=R)
    with pytest.raises(UserError, match="exists already"):
        write_index(tmp_path / name, index)
    assert (tmp_path / name).read_bytes() == content


@pytest.mark.parametrize("labelled", [True, False])
def test_the_labels_of_a_set_are_never_overwritten_by_an_index(tmp_path, capsys, labelled):
    labels = {"dataset.json": b'{"labels": [["00.png", 1]]}'} if labelled else {}
    fill(tmp_path, {**numbered(1), **labels})
    out = tmp_path / "dataset.json"
    line = ["--source", str(tmp_path), "--resolution", str(R), "--out", str(out)]
    assert sets.main(line) == 2
    assert "dataset.json in this folder holds the set's labels; name another" in capsys.readouterr().err
    assert out.exists() == labelled
    index, _ = scan(tmp_path, resolution=R)
    assert index["images"][0].get("label") == (1 if labelled else None)


def test_an_index_of_any_version_and_an_empty_file_may_be_overwritten(tmp_path):
    fill(tmp_path / "set", numbered(1))
    line = ["--source", str(tmp_path / "set"), "--resolution", str(R), "--out"]
    for content in ("", '{"format": "stylegan-nada image index 0"}'):
        (tmp_path / "i.json").write_text(content)
        for _ in range(2):
            assert sets.main([*line, str(tmp_path / "i.json")]) == 0
        assert len(open_images(tmp_path / "i.json")) == 1
