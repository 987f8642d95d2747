"""A world of random networks, small enough to adapt in a second: 16 px, one thread, no training."""

import copy
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import save_file

from baselines import adapt
from nada.images.arrays import save_images
from nada.run.job import Job
from nada.run.spec.run_spec import RunSpec
from nada.stylegan2.discriminator import Discriminator
from nada.stylegan2.generator import Generator
from nada.stylegan2.source_model import SourceModel, save_source

WORDS = ["a", "photo", "of", "dog", "cat", "the"]
CLIP = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 16, "patch_size": 8, "width": 32, "layers": 1, "head_width": 16},
    "text_cfg": {"context_length": 8, "vocab_size": 9, "width": 16, "heads": 2, "layers": 1},
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "tokenizer": {"type": "words", "words": WORDS, "context_length": 8},
}


def make_world(folder: Path) -> None:
    """Write source model, two CLIPs, templates and reference images below a folder."""
    torch.manual_seed(0)
    widths = {"resolution": 16, "channel_base": 128, "channel_max": 8}
    generator = Generator(**widths, z_dim=8, style_dim=8, mapping_layers=2)
    with torch.no_grad():  # noise must show, or sharing it could not be told
        for conv in generator.synthesis.convs:
            conv.noise_strength.fill_(0.2)
    discriminator = Discriminator(**widths)
    source = SourceModel(generator, copy.deepcopy(generator), discriminator, {})
    (folder / "weights").mkdir()
    save_source(folder / "weights/dog.safetensors", source)
    for name, size in (("a", 16), ("b", 8)):  # b sees every image resized
        config = {**CLIP, "vision_cfg": {**CLIP["vision_cfg"], "image_size": size}}
        towers = {key: config[key] for key in ("embed_dim", "vision_cfg", "text_cfg")}
        model = open_clip.model.CLIP(**towers)
        half = {k: v.half().contiguous() for k, v in model.state_dict().items()}
        save_file(half, folder / f"weights/clip_{name}.safetensors")
        (folder / f"weights/clip_{name}.json").write_text(json.dumps(config))
    (folder / "templates.txt").write_text("a {}\nphoto of the {}\n")
    pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3), dtype=np.uint8)
    save_images(folder / "cat.npz", pixels)


@dataclass
class World:
    """The folder that commands run in, and a short way to run them."""

    folder: Path

    def run_spec(self, variant="all_layers", method="nada", seed=0, **changes) -> dict:
        """A run spec; keyword arguments replace its keys, `hyperparameters` those of the method."""
        clips = [
            {
                "name": name,
                "config": f"weights/clip_{name}.json",
                "weights": f"weights/clip_{name}.safetensors",
                "weight": weight,
            }
            for name, weight in (("a", 1.0), ("b", 0.5))
        ]
        quick = {"iterations": 6, "batch": 2, "snapshots": 3, "checkpoint_every": 2}
        hparams = quick if method == "nada" else {}
        content = {
            "world": "tiny",
            "task": "dog2cat",
            "method": method,
            "variant": variant,
            "shots": 0,
            "warm_start": "source",
            "seed": seed,
            "device": "cpu",
            "resolution": 16,
            "source": {"domain": "dog", "weights": "weights/dog.safetensors"},
            "text": {"source": "dog", "target": "cat"},
            "templates": "templates.txt",
            "clips": clips,
            "training_images": "cat.npz",
            "hyperparameters": hparams,
        }
        hparams.update(changes.pop("hyperparameters", {}))
        return {**content, **changes}

    def job(self, run_spec: dict) -> Job:
        """The job of a run spec, before its method is called."""
        return Job(RunSpec.model_validate_json(json.dumps(run_spec)), "run", "state")

    def arguments(self, out: str, run_spec: dict, parent: str | None = None) -> list[str]:
        """The command line of a run, its run spec written."""
        path = self.folder / out / "spec.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(run_spec))
        line = ["--spec", f"{out}/spec.json", "--out", out, "--state", "state"]
        return [*line, "--code", "c0de", *(["--parent", parent] if parent else [])]

    def adapt(self, out: str, run_spec: dict, parent: str | None = None) -> int:
        """Run `python -m baselines.adapt` in this process; returns its exit code."""
        return adapt.main(self.arguments(out, run_spec, parent))

    def bytes_of(self, out: str) -> dict[str, bytes]:
        """Every file of a run that its identity fixes: all but the cost record."""
        files = (self.folder / out).iterdir()
        return {f.name: f.read_bytes() for f in files if f.name != "cost.json"}


@pytest.fixture(scope="session")
def world_template(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny_world")
    make_world(folder)
    return folder


@pytest.fixture
def world(world_template, tmp_path, monkeypatch):
    """A private copy of the tiny world; the test's working folder."""
    folder = tmp_path / "world"
    shutil.copytree(world_template, folder)
    monkeypatch.chdir(folder)
    threads = torch.get_num_threads()
    yield World(folder)
    torch.set_num_threads(threads)


@pytest.fixture
def nada_parent(world):
    """A NADA run in the folder "nada", for those that go on with it; its id."""
    assert world.adapt("nada", world.run_spec("adaptive", hyperparameters={"lr": 0.1})) == 0
    return {"out": "nada", "id": "dog2cat/nada-adaptive/seed0"}
