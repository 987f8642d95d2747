"""Files: atomic writes, hashes, image files, weight files and their manifest."""

import errno
import hashlib
import json
import os
import shutil
import subprocess
import zipfile
import zlib

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from nada.images.arrays import load_images, save_images
from nada.images.tensors import to_tensor, to_uint8
from nada.run.atomic import atomic_path, sha256, write_json
from nada.run.errors import UserError
from nada.run.manifest import read_weights, verify_weights


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_an_atomic_write_appears_under_its_name_with_its_suffix_kept(tmp_path):
    with atomic_path(tmp_path / "new" / "file.npz") as temporary:
        assert temporary.suffix == ".npz" and not (tmp_path / "new/file.npz").exists()
        temporary.write_text("whole")
    assert names(tmp_path / "new") == ["file.npz"]
    assert (tmp_path / "new/file.npz").read_text() == "whole"


def test_a_written_file_may_be_read_by_whom_the_umask_allows(tmp_path):
    (tmp_path / "plain").write_text("")
    with atomic_path(tmp_path / "a.safetensors") as temporary:
        save_file({"a": torch.zeros(1)}, temporary)
    assert (tmp_path / "a.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("failure", [ValueError("no"), KeyboardInterrupt()])
def test_a_failed_write_leaves_the_earlier_file_and_nothing_else(tmp_path, failure):
    path = tmp_path / "file.txt"
    path.write_text("earlier")
    with pytest.raises(type(failure)), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise failure
    assert names(tmp_path) == ["file.txt"] and path.read_text() == "earlier"


def test_a_full_disk_is_named_whatever_error_the_writer_raised(tmp_path):
    with pytest.raises(OSError) as caught, atomic_path(tmp_path / "file.safetensors"):
        raise RuntimeError("I/O error: No space left on device (os error 28)")
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == str(tmp_path / "file.safetensors")


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system of 256 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    options = ["-t", "tmpfs", "-o", f"size=256k,mode=777,uid={os.getuid()}", "tmpfs", str(disk)]
    # Mounting needs root; hosted runners, where tests are not root, have sudo without a password.
    for root in ([], ["sudo", "-n"]):
        if shutil.which((root or ["mount"])[0]) is None:
            continue
        if subprocess.run([*root, "mount", *options], capture_output=True, check=False).returncode:
            continue
        yield disk
        subprocess.run([*root, "umount", "--lazy", str(disk)], check=True)
        return
    pytest.skip("a small disk can be mounted neither as this user nor with sudo -n")


@pytest.mark.parametrize(
    "write",
    [
        lambda path: torch.save(torch.zeros(1 << 18), path),
        lambda path: save_file({"a": torch.zeros(1 << 18)}, path),
        lambda path: np.save(path.open("wb"), np.zeros(1 << 18)),
    ],
    ids=["torch", "safetensors", "numpy"],
)
def test_a_really_full_disk_is_reported_and_keeps_what_it_held(tiny_disk, write):
    (tiny_disk / "file.bin").write_text("earlier")
    with pytest.raises(OSError) as caught, atomic_path(tiny_disk / "file.bin") as temporary:
        write(temporary)
    assert caught.value.errno == errno.ENOSPC
    assert names(tiny_disk) == ["file.bin"]
    assert (tiny_disk / "file.bin").read_text() == "earlier"


def test_equal_values_are_equal_json_bytes(tmp_path):
    write_json(tmp_path / "a.json", {"b": 1, "a": [2]})
    write_json(tmp_path / "b.json", {"a": [2], "b": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_images_survive_the_way_to_tensors_and_back():
    pixels = np.arange(256, dtype=np.uint8).repeat(3).reshape(4, 8, 8, 3)
    tensor = to_tensor(pixels)
    assert tensor.shape == (4, 3, 8, 8) and tensor.min() == -1 and tensor.max() == 1
    assert np.array_equal(to_uint8(tensor), pixels)


def test_to_uint8_clamps_and_rounds_half_up():
    values = torch.tensor([-3.0, 3.0, 0.0]).view(1, 1, 1, 3).expand(1, 3, 1, 3)
    assert to_uint8(values)[0, 0, :, 0].tolist() == [0, 255, 128]  # 127.5 rounds to 128


def test_image_files_round_trip_and_equal_images_are_equal_bytes(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), dtype=np.uint8)
    for name in ("a.npz", "b.npz"):
        save_images(tmp_path / name, pixels)
    assert np.array_equal(load_images(tmp_path / "a.npz"), pixels)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_missing_truncated_and_wrong_image_files_are_errors_that_name_the_file(tmp_path):
    with pytest.raises(UserError, match=r"none\.npz is missing"):
        load_images(tmp_path / "none.npz")
    save_images(tmp_path / "cut.npz", np.zeros((8, 16, 16, 3), np.uint8))
    content = (tmp_path / "cut.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"cut\.npz cannot be read"):
        load_images(tmp_path / "cut.npz")
    np.savez(tmp_path / "float.npz", images=np.zeros((2, 4, 4, 3)))
    with pytest.raises(UserError, match=r"float\.npz holds float64"):
        load_images(tmp_path / "float.npz")
    np.savez(tmp_path / "other.npz", pixels=np.zeros(3))
    with pytest.raises(UserError, match=r"other\.npz has no array 'images'"):
        load_images(tmp_path / "other.npz")


def test_an_image_file_with_a_flipped_bit_is_an_error_or_gives_the_same_pixels(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (1, 4, 4, 3), dtype=np.uint8)
    save_images(tmp_path / "a.npz", pixels)
    content, causes = (tmp_path / "a.npz").read_bytes(), set()
    for place in range(len(content)):
        flipped = content[place] ^ 1 << place % 8
        (tmp_path / "a.npz").write_bytes(content[:place] + bytes([flipped]) + content[place + 1 :])
        try:
            assert np.array_equal(load_images(tmp_path / "a.npz"), pixels)
        except UserError as error:
            causes.add(type(error.__cause__))
    assert {zlib.error, zipfile.BadZipFile} <= causes


@pytest.fixture
def weights(tmp_path):
    """A weight file with its manifest."""
    path = tmp_path / "dog.safetensors"
    save_file({"w": torch.arange(6.0).half()}, path, metadata={"recipe": "r"})
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    (tmp_path / "manifest.json").write_text(
        json.dumps({"files": {"dog.safetensors": {"sha256": digest, "seed": 0}}})
    )
    return path


def test_weights_that_match_their_manifest_pass_and_come_as_float32(weights):
    assert verify_weights(weights) == sha256(weights)
    tensors, metadata = read_weights(weights)
    assert tensors["w"].dtype == torch.float32 and tensors["w"].tolist() == [0, 1, 2, 3, 4, 5]
    assert metadata == {"recipe": "r"}


def test_weights_with_another_hash_than_the_manifest_s_are_an_error(weights):
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(bytes(content))
    with pytest.raises(UserError, match=r"dog\.safetensors has SHA-256 .* manifest\.json .* says"):
        verify_weights(weights)


def test_missing_and_truncated_weights_are_errors_that_name_the_file(weights):
    content = weights.read_bytes()
    weights.write_bytes(content[:-4])
    with pytest.raises(UserError, match=r"dog\.safetensors is truncated"):
        read_weights(weights)
    weights.unlink()
    for read in (verify_weights, read_weights):
        with pytest.raises(UserError, match=r"dog\.safetensors is missing"):
            read(weights)


def test_a_broken_manifest_is_an_error_and_an_unlisted_file_has_no_expected_hash(weights):
    manifest = weights.with_name("manifest.json")
    manifest.write_text('{"files": {}}')
    assert verify_weights(weights) == sha256(weights)
    manifest.write_text('{"files": ')
    with pytest.raises(UserError, match=r"manifest\.json cannot be read"):
        verify_weights(weights)
