"""What every registered method keeps to, whoever wrote it: one test for all of them.

A method takes a run spec and leaves one folder that `sample` draws from; the same run gives the
same bytes, interrupted or not; the source's file stays as it was; costs are counted.
"""

import dataclasses
import json

import pytest
import torch

from baselines import registry
from nada.run.artifact import load_artifact, snapshot_steps
from nada.run.atomic import sha256
from nada.run.steps import Steps

SOURCE = "weights/dog.safetensors"
ITERATIONS = 6


def quick(method: str) -> dict:
    """Hyperparameters that end in seconds; what a method does not know is left out."""
    known = {field.name for field in dataclasses.fields(registry.load(method).METHOD.hyperparameters)}
    wanted = {"iterations": ITERATIONS, "batch": 2, "snapshots": 3, "checkpoint_every": 2,
              "miner_iterations": 2000, "images": 5000}  # fmt: skip
    return {key: value for key, value in wanted.items() if key in known}


def run_spec(world, name: str, **changes) -> dict:
    declared = registry.methods()[name]
    shots = 4 if declared.supervision == "images" else 0
    hparams = {"weights": SOURCE} if name == "checkpoint" else quick(name)
    own = {"method": name, "shots": shots, "hyperparameters": hparams, "variant": "contract"}
    return world.run_spec(**{**own, **changes})


def adapt(world, out, name, **changes) -> None:
    """Run a method; what trains on another run's images gets a source run as its parent."""
    torch.seed()  # whoever forgets job.seed_everything() shall not be helped by the run before
    parent = None
    if name == "finetune_gd":
        parent, changes["parent"] = "parent", "dog2cat/source-unchanged/seed0"
        assert world.adapt(parent, world.run_spec("unchanged", method="source")) == 0
    assert world.adapt(out, run_spec(world, name, **changes), parent) == 0


@pytest.fixture(params=sorted(registry.methods()))
def name(request):
    return request.param


def test_a_method_leaves_a_model_that_samples_from_its_folder_alone(world, name):
    before = sha256(SOURCE)
    adapt(world, "run", name)
    for path in world.folder.glob("weights/*"):  # nothing but the folder is needed
        path.unlink() if path.name != "dog.safetensors" else None
    assert sha256(SOURCE) == before
    model = load_artifact(world.folder / "run")
    z = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    images = model.sample(z)
    assert images.shape == (3, 3, 16, 16) and images.dtype == torch.float32
    assert images.isfinite().all() and images.abs().max() < 10
    assert torch.equal(images, model.sample(z))  # same z, same image
    assert not torch.equal(images[0], images[1])
    assert torch.allclose(images[:1], model.sample(z[:1]), atol=1e-5)  # whatever comes beside it


def test_the_same_run_gives_the_same_bytes_and_another_seed_others(world, name):
    for out, seed in (("a", 0), ("b", 0), ("c", 1)):
        adapt(world, out, name, seed=seed)
    assert world.bytes_of("a") == world.bytes_of("b")
    if quick(name):
        a, c = world.bytes_of("a"), world.bytes_of("c")
        assert a["model.safetensors"] != c["model.safetensors"]


@pytest.mark.parametrize("name", [n for n in sorted(registry.methods()) if quick(n)])
def test_an_interrupted_run_ends_as_if_it_had_not_been(world, name, monkeypatch):
    adapt(world, "whole", name)
    kept = Steps.checkpoint

    def stop(steps):
        kept(steps)
        if steps.step == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(Steps, "checkpoint", stop)
    parent = "parent" if name == "finetune_gd" else None
    changes = {"parent": "dog2cat/source-unchanged/seed0"} if parent else {}
    arguments = run_spec(world, name, **changes)
    assert world.adapt("halves", arguments, parent) == 130
    assert not (world.folder / "halves/model.safetensors").exists()
    monkeypatch.setattr(Steps, "checkpoint", kept)
    assert world.adapt("halves", arguments, parent) == 0
    assert world.bytes_of("halves") == world.bytes_of("whole")


def test_records_and_costs_are_complete(world, name):
    adapt(world, "run", name)
    record = json.loads((world.folder / "run/run.json").read_text())
    cost = json.loads((world.folder / "run/cost.json").read_text())
    assert record["spec"]["method"] == name
    assert record["inputs"]["source"]["sha256"] == sha256(SOURCE)
    assert cost["wall_seconds"] > 0 and cost["peak_memory_bytes"] > 0
    assert (cost["images_seen"] > 0) == bool(quick(name))
    if quick(name):
        assert cost["iterations"] == ITERATIONS
        assert snapshot_steps(world.folder / "run") == [2, 4, 6]
    if registry.methods()[name].supervision == "images":
        assert len(record["few_shot"]["indices"]) == 4


def test_an_unknown_hyperparameter_is_named(world, name, capsys):
    assert world.adapt("run", run_spec(world, name, hyperparameters={"iteratoins": 3})) != 0
    assert "iteratoins" in capsys.readouterr().err
