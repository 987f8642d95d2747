"""Image sets are read row by row from an index or a .npz file; every change of the files is found."""

import contextlib
import hashlib
import json
import os
import pickle
import tracemalloc

import numpy as np
import pytest

from nada.images.arrays import load_images, save_images
from nada.images.files import Policy, to_pixels
from nada.images.lazy import open_images
from nada.images.sets import scan, write_index
from nada.run.errors import UserError
from tests.nada.images.pictures import R, encode, fill, noise, numbered, pack


@pytest.fixture
def data(tmp_path):
    """A folder of five images in colour and its index beside it."""
    source = fill(tmp_path / "data" / "set", numbered(5, 9, 10))
    index, _ = scan(source, resolution=R)
    write_index(tmp_path / "data" / "set.json", {**index, "source": os.path.relpath(source)})
    return tmp_path / "data"


def test_an_index_holds_the_hash_the_size_and_what_was_done_to_each_image(data):
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


@pytest.mark.parametrize(
    "rows", [slice(None), slice(3, 0, -1), [4, 0, 0, -1], np.array([2]), [], slice(2, 2)]
)
@pytest.mark.parametrize("kind", ["index", "npz"])
def test_rows_are_indexed_as_in_numpy_and_their_hash_is_that_of_their_bytes(data, kind, rows):
    everything = open_images(data / "set.json")[:]
    save_images(data / "set.npz", everything)
    loaded = load_images(data / "set.npz")
    images = open_images(data / ("set.json" if kind == "index" else "set.npz"))
    assert len(images) == 5 == len(images.names) and images.shape == (R, R)
    assert images[rows].dtype == np.uint8 and np.array_equal(images[rows], loaded[rows])
    assert images.sha256(rows) == hashlib.sha256(loaded[rows].tobytes()).hexdigest()
    assert images.sha256() == hashlib.sha256(loaded.tobytes()).hexdigest()


def test_missing_rows_and_single_numbers_are_errors(data):
    images = open_images(data / "set.json")
    with pytest.raises(IndexError):
        images[[5]]
    with pytest.raises(TypeError, match="a slice or a 1-D array"):
        images[2]
    with pytest.raises(ValueError, match="size 0"):
        images.batches(0)


@pytest.mark.parametrize("kind", ["json", "npz"])
def test_batches_hold_all_images_in_order_and_the_last_may_be_smaller(data, kind):
    save_images(data / "set.npz", open_images(data / "set.json")[:])
    images = open_images(data / f"set.{kind}")
    batches = list(images.batches(2))
    assert [len(batch) for batch in batches] == [2, 2, 1]
    assert np.array_equal(np.concatenate(batches), images[:])


def test_reading_in_batches_never_loads_the_whole_file(tmp_path):
    save_images(tmp_path / "large.npz", np.zeros((1500, 64, 64, 3), np.uint8))  # 18 MB
    images = open_images(tmp_path / "large.npz")
    tracemalloc.start()
    assert sum(len(batch) for batch in images.batches(20)) == 1500
    images.sha256()
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()


def test_an_image_whose_size_differs_from_the_index_is_an_error(data):
    (data / "set/02.png").write_bytes(encode(noise(12, 12)))
    images = open_images(data / "set.json")
    assert len(images[[0, 1, 3]]) == 3
    with pytest.raises(UserError, match=r"02\.png .* does not match the index .*\[12, 12\], not \[10"):
        images[:]


def test_changed_pixels_are_found_only_with_verify(data):
    assert np.array_equal(
        open_images(data / "set.json", verify=True)[:], open_images(data / "set.json")[:]
    )
    (data / "set/02.png").write_bytes(encode(noise(9, 10, seed=99)))
    assert len(open_images(data / "set.json")[:]) == 5
    with pytest.raises(UserError, match=r"02\.png .*\(its pixels differ.*restore it, or make the index"):
        open_images(data / "set.json", verify=True).sha256()


def test_an_image_that_was_removed_or_replaced_by_a_link_is_an_error_when_read(data):
    (data / "set/01.png").unlink()
    (data / "set/02.png").unlink()
    (data / "secret.png").write_bytes(encode(noise(9, 10)))
    (data / "set/02.png").symlink_to(data / "secret.png")
    images = open_images(data / "set.json")
    with pytest.raises(UserError, match=r"01\.png .*No such file"):
        images[[1]]
    with pytest.raises(UserError, match=r"02\.png .*a link that leaves the folder"):
        images[[2]]


def test_a_damaged_index_or_one_that_leads_out_of_its_source_is_refused(data):
    index = json.loads((data / "set.json").read_text())
    first = index["images"][0]
    wrong = {
        "cannot be read": "{",
        "is not an index of images": {"labels": None},
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


def test_other_files_are_refused_with_the_command_that_makes_an_index(data):
    with pytest.raises(UserError, match=r"none\.json is missing"):
        open_images(data / "none.json")
    with pytest.raises(UserError, match=r"python -m nada\.images\.sets --source .*set --resolution"):
        open_images(data / "set")
    with pytest.raises(UserError, match=r"a file that ends in \.json"):
        write_index(data / "index.txt", {"source": "set"})


def test_npz_files_that_load_images_refuses_are_refused_by_open_images(tmp_path):
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


def test_damage_inside_an_npz_file_is_an_error_when_it_is_read(tmp_path):
    pixels = noise(64 * 16, 16).reshape(64, 16, 16, 3)
    save_images(tmp_path / "a.npz", pixels)
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[len(content) // 2 : len(content) // 2 + 64] = bytes(64)
    (tmp_path / "a.npz").write_bytes(content)
    images = open_images(tmp_path / "a.npz")
    with pytest.raises(UserError, match=r"a\.npz cannot be read"):
        images[:]


def test_image_sets_can_be_pickled_and_forked_processes_do_not_disturb_each_other(tmp_path):
    pixels = noise(24 * 32, 32).reshape(24, 32, 32, 3)
    save_images(tmp_path / "a.npz", pixels)
    pack(tmp_path / "a.zip", {f"{i:02d}.png": encode(x) for i, x in enumerate(pixels)})
    write_index(tmp_path / "a.json", scan(tmp_path / "a.zip", resolution=32)[0])
    for images in (open_images(tmp_path / "a.npz"), open_images(tmp_path / "a.json")):
        images[[0]]  # opened in this process first
        assert np.array_equal(pickle.loads(pickle.dumps(images))[:], pixels)
        child = os.fork()
        same = False
        with contextlib.suppress(Exception):
            same = all(np.array_equal(images[:], pixels) for _ in range(10))
        if child == 0:
            os._exit(0 if same else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0 and same
