"""Which images of a source are scanned: its splits, parts by number, and labels."""

import json

import pytest

from nada.images.sets import scan
from nada.run.errors import UserError
from tests.nada.images.pictures import R, afhq, encode, fill, names, noise, pack


@pytest.mark.parametrize("place", ["folder", "folder above", "zip", "zip with a top folder"])
def test_a_split_is_a_folder_and_a_single_top_folder_may_be_left_out(tmp_path, place):
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


def test_start_and_limit_take_a_part_of_the_sorted_names(tmp_path):
    files = {f"{i // 4 * 1000:05d}/{i:05d}.png": encode(noise(seed=i)) for i in range(10)}
    fill(tmp_path, {**files, "LICENSE.txt": b""})
    train, _ = scan(tmp_path, resolution=R, limit=7)
    validation, _ = scan(tmp_path, resolution=R, start=7)
    assert names(train) + names(validation) == sorted(files)
    assert names(train)[0] == "00000/00000.png" and len(names(train)) == 7


def tool(labels) -> dict[str, bytes]:
    """A set as StyleGAN2-ADA's dataset_tool.py packs it."""
    files = {f"00000/img{i:08d}.png": encode(noise(seed=i)) for i in range(3)}
    return {**files, "dataset.json": json.dumps({"labels": labels}).encode()}


LABELLED = [[f"00000/img{i:08d}.png", i % 2] for i in range(3)]


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_labels_are_read_from_dataset_json(tmp_path, kind):
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
        ({"labels": [*LABELLED, ["x.png", 0]]}, r"names of missing images: 1 \(x\.png\)"),
        ({"labels": LABELLED[:1]}, r"images without a label: 2 \(00000/img00000001\.png, "),
        ({"labels": [*LABELLED[:2], [LABELLED[2][0], "cat"]]}, "labels that are not numbers: 1"),
        ({"labels": [*LABELLED[:2], [LABELLED[2][0], True]]}, "labels that are not numbers: 1"),
        ({"labels": [*LABELLED, LABELLED[0]]}, "names 1 images twice"),
    ],
)
def test_a_dataset_json_that_does_not_match_its_images_is_refused(tmp_path, content, sentence):
    content = content if isinstance(content, bytes) else json.dumps(content).encode()
    pack(tmp_path / "a.zip", {**tool(None), "dataset.json": content})
    with pytest.raises(UserError, match=f"dataset.json.* {sentence}"):
        scan(tmp_path / "a.zip", resolution=R)
