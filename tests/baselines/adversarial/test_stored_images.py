"""Images of a data set that no card holds: 8-bit values, resume, room, and memory at the paper's count."""

import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest
import torch

from baselines.adversarial.batches import Batches
from baselines.adversarial.stored_images import StoredImages
from baselines.finetune_gd import FineTuneHyperparameters, paint
from nada.run.artifact import AdaptedModel
from nada.run.errors import UserError
from tests.baselines.test_contract import run_spec
from tests.fake_card import FakeCard

PUBLISHED = FineTuneHyperparameters().images
ROOT = Path(__file__).parents[3]
# Paint with a generator of constant images, then train on 500 batches; print the peak of the memory.
MEMORY = """
import resource, sys
import torch
from baselines.adversarial.batches import Batches
from baselines.finetune_gd import paint
from baselines.adversarial.stored_images import StoredImages

class Job:
    name, device = "run", torch.device("cpu")
    log = staticmethod(lambda line: None)

class Constant:
    def sample(self, z, psi):
        return z[:, :1, None, None].tanh().expand(-1, 3, 32, 32)

torch.set_num_threads(1)
for count in (500, int(sys.argv[2])):
    with StoredImages(f"{sys.argv[1]}/{count}", count, 32, "cpu") as images:
        paint(images, Constant(), 8, 1.0, Job())
        batches = Batches(images, 4, 0.5)
        for _ in range(500):
            batches.draw()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def rounded(images: torch.Tensor) -> torch.Tensor:
    """What a file of 8-bit images makes of floats."""
    return ((images.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1


def test_what_is_read_is_what_was_painted_rounded_to_eight_bits(tmp_path):
    torch.manual_seed(0)
    images = torch.randn(20, 3, 8, 8)
    with StoredImages(tmp_path / "x", 20, 8, "cpu") as stored:
        for first in range(0, 20, 5):
            stored.put(first, images[first : first + 5])
        rows = torch.tensor([19, 0, 7, 7])
        assert len(stored) == 20 and torch.equal(stored[rows], rounded(images)[rows])
    assert (tmp_path / "x").stat().st_size == 20 * 3 * 8 * 8


def test_a_file_that_was_cut_keeps_its_whole_images(tmp_path):
    images = torch.rand(10, 3, 8, 8)
    with StoredImages(tmp_path / "x", 10, 8, "cpu") as stored:
        stored.put(0, images)
    with (tmp_path / "x").open("r+b") as file:
        file.truncate(7 * 192 + 100)
    with StoredImages(tmp_path / "x", 10, 8, "cpu") as stored:
        assert len(stored) == 7
        stored.put(5, images[5:6])
        assert len(stored) == 6
        assert torch.equal(stored[torch.tensor([5])], rounded(images)[5:6])
        with pytest.raises(UserError, match="image 6 is cut off"):
            stored[torch.tensor([6])]


def test_a_disk_without_room_is_found_before_anything_is_painted(tmp_path, monkeypatch):
    room = namedtuple("usage", "total used free")(0, 0, 5 << 30)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: room)
    message = (
        r"the 25,000 images to train on take 18\.3 GiB more in .*, but its disk has 5 GiB left"
    )
    with pytest.raises(UserError, match=message):
        StoredImages(tmp_path / "x", PUBLISHED, 512, "cpu")


def test_at_the_published_number_the_host_s_memory_is_that_of_a_few_images(tmp_path):
    """25,000 images of 32 px are 77 MB as bytes, 307 MB as floats; at 512 px both are 256 times that."""
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tmp_path), str(PUBLISHED)],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    few, many = map(int, done.stdout.split())
    assert (tmp_path / str(PUBLISHED)).stat().st_size == PUBLISHED * 3 * 32 * 32
    assert many - few < 20e6


def test_at_the_published_number_a_card_holds_a_few_images(tmp_path, card):
    """Bytes on the card at every painted block and every batch, of 500 images and of 25,000."""

    def on_card() -> int:
        alive = (ref for ref in FakeCard.storages.values() if not ref.expired())
        storages = (torch.UntypedStorage._new_with_weak_ptr(ref.cdata) for ref in alive)
        return sum(storage.nbytes() for storage in storages if storage is not None)

    class Job:
        name, device = "run", torch.device("cuda")
        log = staticmethod(lambda line: None)

    class Constant:
        def sample(self, z, psi):
            seen.append(on_card())
            return z[:, :1, None, None].expand(-1, 3, 4, 4)

    peaks = []
    with card:
        before = on_card()
        for count in (500, PUBLISHED):
            seen = []
            with StoredImages(tmp_path / str(count), count, 4, "cuda") as images:
                paint(images, Constant(), 8, 1.0, Job())
                batches = Batches(images, 4, 0.5)
                for _ in range(50):
                    drawn = batches.draw()
                    assert card.holds(drawn)
                    seen.append(on_card())
            peaks.append(max(seen) - before)
    few, many = peaks
    assert 0 < few and many <= few + 4096


def test_painting_goes_on_after_an_interruption_and_the_run_ends_the_same(world, monkeypatch):
    assert world.adapt("parent", world.run_spec("unchanged", method="source")) == 0
    hparams = {
        "iterations": 6,
        "batch": 2,
        "snapshots": 1,
        "checkpoint_every": 2,
        "images": 100_000,
    }
    arguments = run_spec(world, "finetune_gd", parent="dog2cat/source-unchanged/seed0", hyperparameters=hparams)  # fmt: skip
    assert world.adapt("whole", arguments, "parent") == 0
    assert not any((world.folder / "state").iterdir())  # the images are gone with the state
    drawn, put = [], StoredImages.put
    sample = AdaptedModel.sample

    def stop(stored, first, images):
        if first >= 100:
            raise KeyboardInterrupt
        put(stored, first, images)

    def counted(model, z, psi=1.0):
        drawn.append(len(z))
        return sample(model, z, psi)

    monkeypatch.setattr(AdaptedModel, "sample", counted)
    monkeypatch.setattr(StoredImages, "put", stop)
    assert world.adapt("halves", arguments, "parent") == 130
    assert sum(drawn) == 120  # of which the last twenty never reached the file
    monkeypatch.setattr(StoredImages, "put", put)
    assert world.adapt("halves", arguments, "parent") == 0
    assert sum(drawn) == 120 + 20
    assert world.bytes_of("halves") == world.bytes_of("whole")


def test_images_are_rendered_in_parts_that_a_small_card_holds(tmp_path, monkeypatch):
    monkeypatch.setattr("baselines.finetune_gd.RENDERED_PIXELS", 8 * 4 * 4)
    sizes = []

    class Job:
        name, device = "run", torch.device("cpu")
        log = staticmethod(lambda line: None)

    class Model:
        def sample(self, z, psi):
            sizes.append(len(z))
            return z[:, :3, None, None].tanh().expand(-1, 3, 4, 4)

    with StoredImages(tmp_path / "parts", 60, 4, "cpu") as parts:
        paint(parts, Model(), 8, 1.0, Job())
        assert sizes == [8] * 6 + [2] + [8, 2]
        monkeypatch.undo()
        with StoredImages(tmp_path / "whole", 60, 4, "cpu") as whole:
            paint(whole, Model(), 8, 1.0, Job())
            assert torch.equal(parts[torch.arange(60)], whole[torch.arange(60)])
