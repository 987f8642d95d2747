"""A mistake ends a run with one sentence and exit code 2; earlier results stay."""

import errno
import json
from pathlib import Path

import pytest
import torch

from nada.run import job as job_module
from nada.run.artifact import load_artifact
from nada.run.atomic import sha256
from nada.stylegan2.source_model import load_source
from tests.baselines.nada_runs import ADAPTIVE, MAP

ROOT = Path(__file__).parents[2]




# --- mistakes: one sentence, exit code 2, earlier results untouched


def fails(world, capsys, run_spec, out="run", parent=None) -> str:
    """The one line that a failing run prints; the run's folder stays as it was."""
    capsys.readouterr()
    (world.folder / out).mkdir(exist_ok=True)
    before = {k: v for k, v in world.bytes_of(out).items() if k != "spec.json"}
    assert world.adapt(out, run_spec, parent) == 2
    after = {k: v for k, v in world.bytes_of(out).items() if k != "spec.json"}
    assert after == before
    message = capsys.readouterr().err
    assert message.startswith("error: ") and message.count("\n") == 1, message
    return message


@pytest.mark.parametrize("name", [job_module.SNAPSHOTS, job_module.RUN])
def test_a_full_disk_at_the_end_leaves_the_earlier_results(world, monkeypatch, capsys, name):
    assert world.adapt("run", world.run_spec()) == 0
    writer = {job_module.SNAPSHOTS: "write_snapshots", job_module.RUN: "write_record"}[name]

    def full(path, *_):
        Path(path).write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(job_module, writer, full)
    message = fails(world, capsys, world.run_spec(seed=1))
    assert "disk is full" in message and "same command resumes after step 4" in message


def test_a_full_disk_at_a_checkpoint_says_so(world, monkeypatch, capsys):
    def full(*_):
        raise RuntimeError("PytorchStreamWriter failed writing file: No space left on device")

    monkeypatch.setattr("nada.run.training_state.torch.save", full)
    message = fails(world, capsys, world.run_spec())
    assert "disk is full while writing state/" in message


def test_a_loss_that_is_no_number_names_run_step_and_what_to_try(world, capsys):
    message = fails(world, capsys, world.run_spec(hyperparameters={"lr": 1e30}))
    assert "dog2cat/nada-all_layers/seed0: loss is nan at step 2; try a lower lr" in message


@pytest.mark.parametrize(
    "damage, words",
    [
        (lambda path: path.unlink(), "dog.safetensors is missing"),
        (lambda path: path.write_bytes(path.read_bytes()[:-100]), "dog.safetensors"),
    ],
    ids=["missing", "truncated"],
)
def test_missing_or_truncated_weights_name_the_file(world, capsys, damage, words):
    damage(Path("weights/dog.safetensors"))
    assert words in fails(world, capsys, world.run_spec())


def test_weights_with_a_wrong_hash_name_the_file_and_the_manifest(world, capsys):
    files = {"clip_b.safetensors": {"sha256": "0" * 64}}
    Path("weights/manifest.json").write_text(json.dumps({"files": files}))
    message = fails(world, capsys, world.run_spec())
    assert "clip_b.safetensors has SHA-256" in message and "manifest.json" in message


def test_a_truncated_clip_names_the_file(world, capsys):
    path = Path("weights/clip_a.safetensors")
    path.write_bytes(path.read_bytes()[:-100])
    assert "clip_a.safetensors is truncated" in fails(world, capsys, world.run_spec())


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"hyperparameters": {"iterationss": 3}}, "has no key 'iterationss'; did you mean 'iterations'?"),
        (
            {"variant": "adaptive", "hyperparameters": {"layers": {"policy": "adaptive", "k": 20}}},
            "variant 'adaptive': k=20 layers asked, but the 16x16 generator has 5",
        ),
        ({"text": {"source": "dog", "target": "cta"}}, "'cta' of the text 'cta'"),
        ({"text": {"source": "dog"}}, "the key 'text.target' is missing"),
        ({"text": None}, "needs text.source and text.target"),
        ({"resolution": 32}, "makes 16x16 images, but the run's resolution is 32"),
        ({"device": "tpu"}, "device is 'tpu'; it must be 'cpu' or 'cuda'"),
        ({"clips": []}, "has no CLIP"),
        ({"templates": "none.txt"}, "templates none.txt are missing"),
        ({"parent": "dog2cat/nada-adaptive/seed0"}, "--parent is not given"),
        ({"hyperparameters": {"mapper": {}}}, "the run has no parent"),
        ({"hyperparameters": {"direction": "image"}}, "the run has no target images (shots is 0)"),
        ({"hyperparameters": {"direction": "image"}, "shots": 13}, "cat.npz holds 12 images"),
        ({"method": "replay", "hyperparameters": {}}, "shots is 0; this method needs 1 image or more"),
        ({"method": "nadda"}, "no method 'nadda'; did you mean 'nada'?"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_mistake_in_the_run_file_is_one_sentence(world, capsys, changes, words):
    assert words in fails(world, capsys, world.run_spec(**changes))


def test_a_mapper_on_the_source_with_a_parent_is_an_error(world, capsys):
    world.adapt("parent", world.run_spec("adaptive", hyperparameters=ADAPTIVE))
    run_spec = world.run_spec("m", hyperparameters=MAP, parent="dog2cat/nada-adaptive/seed0")
    message = fails(world, capsys, run_spec, parent="parent")
    assert "hyperparameters.mapper.base is 'source', but the run has a parent" in message


def test_a_missing_or_broken_run_file_is_one_sentence(world, capsys):
    from baselines.adapt import main

    line = ["--spec", "none.json", "--out", "run", "--state", "state"]
    assert main(line) == 2
    assert "run spec none.json is missing" in capsys.readouterr().err
    Path("none.json").write_text("{")
    assert main(line) == 2
    assert "run spec none.json: no valid JSON" in capsys.readouterr().err


def test_a_checkpoint_made_elsewhere_is_taken_as_it_is(world):

    hparams = {"weights": "weights/dog.safetensors"}
    assert world.adapt("run", world.run_spec("theirs", method="checkpoint", hyperparameters=hparams)) == 0
    model, theirs = load_artifact(world.folder / "run"), load_source(hparams["weights"]).G_ema
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(model.generator.state_dict()[name], tensor)
    record = json.loads((world.folder / "run/run.json").read_text())
    assert record["inputs"]["checkpoint"]["file"] == "dog.safetensors"


def test_the_record_names_the_files_that_models_were_converted_from(world):
    from nada.stylegan2 import convert

    assert convert.main(["convert", "weights/dog.safetensors", "fox.pt"]) == 0
    assert convert.main(["convert", "fox.pt", "fox.safetensors"]) == 0
    file = world.run_spec("theirs", method="checkpoint", hyperparameters={"weights": "fox.safetensors"})
    assert world.adapt("run", file) == 0
    inputs = json.loads((world.folder / "run/run.json").read_text())["inputs"]
    original = {"file": "fox.pt", "format": "rosinality .pt", "sha256": sha256(Path("fox.pt"))}
    assert inputs["checkpoint"]["converted_from"] == original
    assert "converted_from" not in inputs["source"]
    Path("weights/dog.safetensors").write_bytes(Path("fox.safetensors").read_bytes())
    assert world.adapt("source", world.run_spec("unchanged", method="source")) == 0
    inputs = json.loads((world.folder / "source/run.json").read_text())["inputs"]
    assert inputs["source"]["converted_from"] == original


def test_a_checkpoint_of_another_size_is_refused_in_one_sentence(world, capsys):
    from nada.stylegan2.discriminator import Discriminator
    from nada.stylegan2.generator import Generator
    from nada.stylegan2.source_model import SourceModel, save_source

    widths = {"resolution": 32, "channel_base": 128, "channel_max": 8}
    generator = Generator(**widths, z_dim=8, style_dim=8, mapping_layers=2)
    save_source("big.safetensors", SourceModel(generator, generator, Discriminator(**widths), {}))
    file = world.run_spec("theirs", method="checkpoint", hyperparameters={"weights": "big.safetensors"})
    assert world.adapt("run", file) == 2
    assert "has resolution 32, but the source model of dog2cat has 16" in capsys.readouterr().err


def test_a_checkpoint_without_a_file_is_asked_for(world, capsys):
    assert world.adapt("run", world.run_spec("theirs", method="checkpoint")) == 2
    assert "hyperparameters.weights is empty" in capsys.readouterr().err
