"""The adapt command end to end, in a tiny world: bytes, resume, records, mistakes."""

import hashlib
import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from nada.images.arrays import load_images, save_images
from nada.images.tensors import to_tensor
from nada.images.training_images import few_shot_images
from nada.run.artifact import load_artifact, snapshot_steps
from nada.run.atomic import sha256
from nada.run.errors import UserError
from nada.stylegan2.generator import Synthesis
from nada.stylegan2.source_model import load_source
from tests.baselines.nada_runs import ADAPTIVE, IMAGE, changed_tensors, rows
from tests.baselines.test_interruption import interrupt_at

ROOT = Path(__file__).parents[2]




# --- what a run leaves


def test_a_run_leaves_its_artifact_curves_identity_and_cost(world):
    assert world.adapt("run", world.run_spec()) == 0
    files = {"spec.json", "model.safetensors", "snapshots.safetensors", "curves.csv"}
    assert {p.name for p in (world.folder / "run").iterdir()} == files | {"run.json", "cost.json"}
    assert [row["step"] for row in rows(world, "run")] == list("123456")
    cost = json.loads((world.folder / "run/cost.json").read_text())
    assert cost["iterations"] == 6 and cost["images_seen"] == 6 * 2 * 2
    assert cost["wall_seconds"] > 0 and cost["peak_memory_bytes"] > 1e7
    assert 0 < 5 * cost["seconds_per_step"] < cost["wall_seconds"]  # without the start
    assert cost["clip_calls"] == 6 * 2 * 2 + 2 * 4  # images; two targets, one text pair per CLIP
    assert not any((world.folder / "state").iterdir())


def test_the_record_holds_resolved_hyperparameters_and_hashes_of_what_went_in_and_out(world):
    world.adapt("run", world.run_spec(seed=3))
    record = json.loads((world.folder / "run/run.json").read_text())
    assert record["run"] == "dog2cat/nada-all_layers/seed3"
    assert record["spec"]["hyperparameters"]["lr"] == 0.002  # a default that the run spec left out
    assert record["code"] == "c0de" and record["device"] == "cpu"
    assert record["torch"] == torch.__version__ and record["parent"] is None
    assert record["inputs"]["source"]["sha256"] == sha256("weights/dog.safetensors")
    assert record["inputs"]["clip b"]["sha256"] == sha256("weights/clip_b.safetensors")
    for name in ("model.safetensors", "snapshots.safetensors", "curves.csv"):
        assert record["outputs"][name] == sha256(world.folder / "run" / name)


def test_no_file_of_a_run_holds_an_absolute_path_or_the_host_s_name(world):
    run_spec = world.run_spec()
    run_spec["source"]["weights"] = str(world.folder / "weights/dog.safetensors")
    run_spec["templates"] = str(world.folder / "templates.txt")
    world.adapt(str(world.folder / "run"), run_spec)
    (world.folder / "run/spec.json").unlink()  # the one file the user wrote
    host = os.uname().nodename.encode()
    for path in (world.folder / "run").iterdir():
        content = path.read_bytes()
        assert str(world.folder).encode() not in content
        assert path.suffix == ".safetensors" or b'"/' not in content
        assert len(host) < 4 or host not in content


@pytest.mark.parametrize("hparams", [{}, ADAPTIVE], ids=["all", "adaptive"])
def test_the_same_run_twice_gives_the_same_bytes_and_another_seed_others(world, hparams):
    for out, seed in (("a", 0), ("b", 0), ("c", 1)):
        assert world.adapt(out, world.run_spec(hyperparameters=hparams, seed=seed)) == 0
    assert world.bytes_of("a") == world.bytes_of("b")
    assert world.bytes_of("a")["model.safetensors"] != world.bytes_of("c")["model.safetensors"]


def test_a_snapshot_is_the_model_of_the_shorter_run(world):
    world.adapt("long", world.run_spec(hyperparameters={"snapshots": [0, 2, 4]}))
    world.adapt("short", world.run_spec(hyperparameters={"iterations": 4, "snapshots": 0}))
    assert snapshot_steps(world.folder / "long") == [0, 2, 4, 6]
    at_4 = load_artifact(world.folder / "long", step=4).tensors()
    short = load_artifact(world.folder / "short").tensors()
    assert all(torch.equal(at_4[name], tensor) for name, tensor in short.items())
    source = load_source("weights/dog.safetensors").G_ema.state_dict()
    at_0 = load_artifact(world.folder / "long", step=0).generator.state_dict()
    assert all(torch.equal(at_0[name], tensor) for name, tensor in source.items())


def test_the_source_control_draws_the_source_model_s_own_images(world):
    assert world.adapt("run", world.run_spec("unchanged", method="source")) == 0
    assert changed_tensors(world, "run") == set()
    z = torch.randn(2, 8)
    source = load_source("weights/dog.safetensors").G_ema
    with torch.no_grad():
        expected = source(z, noise_mode="const")
    assert torch.equal(load_artifact(world.folder / "run").sample(z), expected)


# --- micro-batches and half precision


def test_a_run_in_micro_batches_ends_where_the_whole_one_does_and_its_cost_says_so(world):
    plain = {"policy": "adaptive", "k": 2, "n_w": 3}
    for out, size in (("whole", 0), ("parts", 1)):
        hparams = {"layers": plain, "micro_batch": size}
        assert world.adapt(out, world.run_spec(hyperparameters=hparams)) == 0
    assert [row["layers"] for row in rows(world, "parts")] == [
        row["layers"] for row in rows(world, "whole")
    ]
    whole, parts = (load_artifact(world.folder / out).tensors() for out in ("whole", "parts"))
    assert not all(torch.equal(parts[name], tensor) for name, tensor in whole.items())  # rounding
    assert all(torch.allclose(parts[name], tensor, atol=1e-4) for name, tensor in whole.items())
    costs = [(world.folder / out / "cost.json").read_text() for out in ("whole", "parts")]
    assert [json.loads(cost)["micro_batch"] for cost in costs] == [3, 1]


def test_a_run_that_ran_out_of_memory_resumes_with_the_smaller_parts(world, monkeypatch, capsys):
    original, failures = Synthesis.forward, []

    def limited(self, w_plus, *rest):
        if len(w_plus) > 1 and w_plus.requires_grad is False and torch.is_grad_enabled():
            failures.append(len(w_plus))
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return original(self, w_plus, *rest)

    run_spec = world.run_spec()
    monkeypatch.setattr(Synthesis, "forward", limited)
    assert world.adapt("whole", run_spec) == 0
    interrupt_at(monkeypatch, 5, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert world.adapt("run", run_spec) == 143
    assert failures == [2, 2]  # once in each of the two
    assert world.adapt("run", run_spec) == 0
    assert failures == [2, 2] and capsys.readouterr().out.count("out of memory") == 2
    assert world.bytes_of("run") == world.bytes_of("whole")
    assert json.loads((world.folder / "run/cost.json").read_text())["micro_batch"] == 1


def test_a_run_in_half_precision_that_diverges_is_advised_to_use_full_precision(world, capsys):
    hparams = {"precision": "mixed", "lr": 1e30}
    assert world.adapt("run", world.run_spec(hyperparameters=hparams)) == 2
    message = capsys.readouterr().err
    assert " at step " in message and "try precision fp32, a lower lr, a larger epsilon" in message


# --- few-shot images


def few_shot(world, shots, method="source", **changes):
    return few_shot_images(world.job(world.run_spec(method=method, shots=shots, **changes)))


def test_few_shot_subsets_are_nested_shared_by_methods_and_drawn_from_task_and_seed(world):
    def keys(images):
        return {tuple(image.flatten().tolist()) for image in images}

    small, large = keys(few_shot(world, 2)), keys(few_shot(world, 6))
    assert len(small) == 2 and len(large) == 6 and small < large
    assert keys(few_shot(world, 2, method="nada", variant="other")) == small
    assert keys(few_shot(world, 6, seed=1)) != large
    assert keys(few_shot(world, 6, task="dog2bear")) != large


def test_few_shot_images_come_from_the_file_that_the_spec_names(world):
    own = np.random.default_rng(5).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
    save_images("own.npz", own)
    run_spec = world.run_spec("plain", "tgan", shots=4, training_images="own.npz")
    job = world.job(run_spec)
    assert torch.equal(few_shot_images(job), to_tensor(own))
    assert job.inputs["references"]["file"] == "own.npz"
    assert job.identity()["few_shot"]["indices"] == [0, 1, 2, 3]
    with pytest.raises(UserError, match=r"shots is 5, but own\.npz holds 4 images"):
        few_shot_images(world.job({**run_spec, "shots": 5}))


def test_too_few_reference_images_are_an_error_with_the_count(world):
    with pytest.raises(UserError, match=r"shots is 13, but cat\.npz holds 12 images"):
        few_shot(world, 13)


def test_the_record_says_which_reference_images_a_run_was_shown(world):
    world.adapt("text", world.run_spec(shots=3))
    assert json.loads((world.folder / "text/run.json").read_text())["few_shot"] is None
    world.adapt("run", world.run_spec(hyperparameters=IMAGE, shots=3))
    shown = json.loads((world.folder / "run/run.json").read_text())["few_shot"]
    images = load_images("cat.npz")[shown["indices"]]
    assert len(images) == 3 and shown["indices"] == sorted(set(shown["indices"]))
    assert shown["sha256"] == hashlib.sha256(images.tobytes()).hexdigest()
    assert torch.equal(few_shot(world, 3), to_tensor(images))


def test_image_targets_turn_images_towards_the_direction_of_the_images(world):
    hparams = {**IMAGE, "iterations": 40}
    world.adapt("run", world.run_spec(hyperparameters=hparams, shots=5))
    losses = [float(row["loss"]) for row in rows(world, "run")]
    assert sum(losses[-5:]) / 5 < sum(losses[:5]) / 5 - 0.1


def test_replay_draws_the_few_shot_images_mirrored_or_not_and_nothing_else(world):
    assert world.adapt("run", world.run_spec("images", method="replay", shots=4)) == 0
    model = load_artifact(world.folder / "run")
    drawn = model.sample(torch.randn(300, 8))
    shown = few_shot(world, 4)
    known = {tuple(i.flatten().tolist()) for i in torch.cat([shown, shown.flip(3)])}
    assert {tuple(i.flatten().tolist()) for i in drawn} == known
    assert snapshot_steps(world.folder / "run") == [0]
    record = json.loads((world.folder / "run/run.json").read_text())
    assert len(record["few_shot"]["indices"]) == 4
    assert record["inputs"]["references"]["sha256"] == sha256("cat.npz")


def test_the_same_replay_twice_gives_the_same_bytes(world):
    for out in ("a", "b"):
        world.adapt(out, world.run_spec("images", method="replay", shots=4))
    assert world.bytes_of("a") == world.bytes_of("b")
