"""The adapt command end to end, in a tiny world: bytes, resume, records, mistakes."""

import csv
import errno
import hashlib
import io
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

import numpy as np
import pytest
import torch

from nada.images.arrays import load_images, save_images
from nada.images.tensors import to_tensor
from nada.images.training_images import few_shot_images
from nada.layers import LayerHyperparameters
from nada.mapper import MapperHyperparameters
from nada.run import job as job_module
from nada.run.artifact import load_artifact, snapshot_steps
from nada.run.atomic import sha256
from nada.run.errors import UserError
from nada.run.steps import Steps
from nada.stylegan2.generator import Synthesis
from nada.stylegan2.source_model import load_source
from nada.training import NadaHyperparameters

ROOT = Path(__file__).parents[2]
ADAPTIVE = {"layers": {"policy": "adaptive", "k": 2, "n_w": 3}, "style_mixing": 0.9}
MAPPER = {"mapper": {"iterations": 6}, "layers": {"policy": "adaptive", "k": 2, "n_w": 3}}


def rows(world, out):
    return list(csv.DictReader(io.StringIO((world.folder / out / "curves.csv").read_text())))


def changed_tensors(world, out):
    """Names of the generator's tensors that differ from the source's."""
    source = load_source("weights/dog.safetensors").G_ema.state_dict()
    adapted = load_artifact(world.folder / out).generator.state_dict()
    return {name for name, tensor in adapted.items() if not torch.equal(tensor, source[name])}


def conv_names(*layers):
    parts = ("weight", "bias", "noise_strength")
    return {f"synthesis.convs.{layer}.{part}" for layer in layers for part in parts}


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


# --- what is trained


def test_all_layers_train_convolutions_and_constant_and_nothing_else(world):
    world.adapt("run", world.run_spec())
    assert changed_tensors(world, "run") == conv_names(*range(5)) | {"synthesis.const"}


def test_manual_layers_leave_every_other_parameter_bit_identical(world):
    hparams = {"layers": {"policy": "manual", "manual": [1, 3]}, "iterations": 12}
    world.adapt("run", world.run_spec(hyperparameters=hparams))
    assert changed_tensors(world, "run") == conv_names(1, 3)


def test_adaptive_runs_train_exactly_the_layers_that_the_curves_list(world):
    world.adapt("run", world.run_spec(hyperparameters=ADAPTIVE))
    chosen = {int(layer) for row in rows(world, "run") for layer in row["layers"].split()}
    assert all(len(row["layers"].split()) == 2 for row in rows(world, "run"))
    constant = {"synthesis.const"} if 0 in chosen else set()
    assert changed_tensors(world, "run") == conv_names(*chosen) | constant


IMAGE = {"direction": "image"}
MAP = {**MAPPER, "mapper": {"iterations": 6, "base": "source"}}


def mapper(**changes):
    return {"mapper": {**MAP["mapper"], **changes}}


def adaptive(**changes):
    return {**ADAPTIVE, "layers": {**ADAPTIVE["layers"], **changes}}


# a switch and its other value: the hyperparameters it is tried in, and the change
SWITCHES = {
    "loss global": ({}, {"loss": "global"}),
    "direction image": ({}, IMAGE),
    "global_target text": ({**IMAGE, "loss": "global"}, {"global_target": "text"}),
    "noise shared": ({}, {"noise": "shared"}),
    "guard epsilon": ({}, {"guard": "epsilon"}),
    "codes official": ({"style_mixing": 0.9}, {"codes": "official"}),
    "clip_resize official": ({}, {"clip_resize": "official"}),
    "augment shared": ({}, {"augment": "shared"}),
    "global_prompt templates": ({"loss": "global"}, {"global_prompt": "templates"}),
    "precision mixed": ({}, {"precision": "mixed"}),
    "skipped_layer_state decay": (ADAPTIVE, {"skipped_layer_state": "decay"}),
    "policy manual": ({}, {"layers": {"policy": "manual"}}),
    "policy adaptive": ({}, adaptive()),
    "selection_codes shared": (
        {**adaptive(k=1), "style_mixing": 0.0},
        {**adaptive(k=1, selection_codes="shared"), "style_mixing": 0.0},
    ),
    "map official": (ADAPTIVE, adaptive(map="official")),
    "affine official": ({}, {"layers": {"affine": "official"}}),
    "constant official": (
        {"layers": {"policy": "manual", "manual": [0]}},
        {"layers": {"policy": "manual", "manual": [0], "constant": "official"}},
    ),
    "saturated select": (
        adaptive(k=6, map="official"),
        adaptive(k=6, map="official", saturated="select"),
    ),
    "base source": None,  # test_a_mapper_on_the_source_is_trained_without_a_parent…
    "optimiser radam": (mapper(), mapper(optimiser="radam")),
    "norm_loss official": (mapper(), mapper(norm_loss="official")),
    # 16 px cannot be pooled: test_the_public_mapper_shows_clip_repeated_and_pooled_pixels… does
    "clip_input official": None,
    "normalise official": (mapper(), mapper(normalise="official")),
    # no run of six steps shows the rounding: test_small_gradients_rank_by_size_… does
    "score official": None,
}
NUMBERS = {
    "style_mixing": ({}, {"style_mixing": 0.9}),
    "lr": ({}, {"lr": 0.0016}),
    "betas": ({}, {"betas": [0.0, 0.992]}),
    "source_images": (IMAGE, {"source_images": 3}),
    "augment_views": ({"augment": "shared"}, {"augment_views": 2}),
    "n_w": (ADAPTIVE, adaptive(n_w=1)),
    "n_i": (ADAPTIVE, adaptive(n_i=2)),
    "mixed mapper": (mapper(), {**mapper(), "precision": "mixed"}),
    "lambda_l2": (mapper(), mapper(lambda_l2=0.8)),
    "lambda_norm": (mapper(), mapper(lambda_norm=0.5)),
    "truncation_psi": (mapper(), mapper(truncation_psi=1.0)),
    "code_pool": (mapper(), mapper(code_pool=8)),
    "epsilon": ({"guard": "epsilon"}, {"guard": "epsilon", "epsilon": 0.1}),
}


def test_every_named_switch_is_on_the_list_of_those_tested():
    names = set()
    for cls in (NadaHyperparameters, LayerHyperparameters, MapperHyperparameters):
        for name, hint in get_type_hints(cls).items():
            if get_origin(hint) is Literal:
                default = getattr(cls(), name)
                names |= {f"{name} {value}" for value in get_args(hint) if value != default}
    assert names == set(SWITCHES)


@pytest.mark.parametrize(
    "baseline, switch",
    [pair for pair in ({**SWITCHES, **NUMBERS}).values() if pair],
    ids=[name for name, pair in ({**SWITCHES, **NUMBERS}).items() if pair],
)
def test_every_switch_changes_the_training(world, baseline, switch):
    models = []
    for hparams in (baseline, {**baseline, **switch}):
        run_spec = world.run_spec(hyperparameters=hparams, shots=3)
        assert world.adapt("run", run_spec) == 0
        models.append(load_artifact(world.folder / "run").tensors())
    assert not all(torch.equal(a, b) for a, b in zip(*(m.values() for m in models), strict=True))


def test_directional_training_turns_images_towards_the_text_direction(world):
    hparams = {"iterations": 40, "noise": "shared", "guard": "epsilon"}  # noise is large here
    world.adapt("run", world.run_spec(hyperparameters=hparams))
    losses = [float(row["loss"]) for row in rows(world, "run")]
    assert sum(losses[-5:]) / 5 < sum(losses[:5]) / 5 - 0.1


def test_a_mapper_is_trained_on_its_parent_s_model_which_stays_as_it_is(world):
    world.adapt("parent", world.run_spec("adaptive", hyperparameters=ADAPTIVE))
    run_spec = world.run_spec("mapper", hyperparameters=MAPPER, parent="dog2cat/nada-adaptive/seed0")
    assert world.adapt("child", run_spec, parent="parent") == 0
    parent, child = (load_artifact(world.folder / out) for out in ("parent", "child"))
    mine = child.generator.state_dict()
    assert all(torch.equal(mine[n], t) for n, t in parent.generator.state_dict().items())
    z = torch.randn(2, 8)
    assert not torch.equal(child.sample(z), parent.sample(z))
    early = load_artifact(world.folder / "child", step=2)
    assert not torch.equal(early.sample(z), child.sample(z))
    record = json.loads((world.folder / "child/run.json").read_text())
    assert record["parent"] == {
        "run": "dog2cat/nada-adaptive/seed0",
        "model": sha256(world.folder / "parent/model.safetensors"),
    }


def test_a_mapper_keeps_its_start_where_step_0_is_asked_for(world):
    asked = {**MAP, "mapper": {**MAP["mapper"], "iterations": 1}, "snapshots": [0]}
    world.adapt("run", world.run_spec("source_mapper", hyperparameters=asked))
    assert snapshot_steps(world.folder / "run") == [0, 1]
    start, end = (load_artifact(world.folder / "run", step=step) for step in (0, 1))
    z = torch.randn(2, 8)
    assert not torch.equal(start.sample(z), end.sample(z))
    # before any step, whatever the run's learning rate: at 1e-30 none moves that shows
    still = {**asked, "mapper": {**asked["mapper"], "lr": 1e-30}}
    world.adapt("still", world.run_spec("source_mapper", hyperparameters=still))
    unmoved = load_artifact(world.folder / "still").tensors()
    for name, tensor in start.tensors().items():
        torch.testing.assert_close(unmoved[name], tensor, rtol=0, atol=1e-20)


def test_a_mapper_on_the_source_is_trained_without_a_parent_and_leaves_the_source_as_it_is(world):
    assert world.adapt("run", world.run_spec("source_mapper", hyperparameters=MAP)) == 0
    assert changed_tensors(world, "run") == set()
    z = torch.randn(2, 8)
    source = load_source("weights/dog.safetensors").G_ema
    with torch.no_grad():
        unmapped = source(z, noise_mode="const")
    assert not torch.equal(load_artifact(world.folder / "run").sample(z), unmapped)
    assert json.loads((world.folder / "run/run.json").read_text())["parent"] is None


def test_a_mapper_with_image_targets_aims_at_the_images(world):
    for out, hparams in (("text", MAP), ("image", {**MAP, **IMAGE})):
        assert world.adapt(out, world.run_spec("m", hyperparameters=hparams, shots=4)) == 0
    assert rows(world, "text")[0]["clip_loss"] != rows(world, "image")[0]["clip_loss"]


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


# --- interruption


@pytest.fixture
def heeds_ctrl_c():
    """Python as it is in a terminal: a job in a shell's background ignores Ctrl-C from its start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt_at(monkeypatch, step, action):
    """Let `action` happen once, when the run reports `step`."""
    original = Steps.report

    def report(self, *values):
        original(self, *values)
        if self.step == step:
            monkeypatch.setattr(Steps, "report", original)
            action()

    monkeypatch.setattr(Steps, "report", report)


@pytest.mark.parametrize(
    "number, code, word",
    [(signal.SIGTERM, 143, "terminated"), (signal.SIGINT, 130, "interrupted")],
)
def test_an_interrupted_run_says_where_its_state_lies_and_resumes_to_the_same_bytes(
    world, heeds_ctrl_c, monkeypatch, capsys, number, code, word
):
    run_spec = world.run_spec(hyperparameters=ADAPTIVE)
    world.adapt("whole", run_spec)
    interrupt_at(monkeypatch, 5, lambda: os.kill(os.getpid(), number))
    assert world.adapt("run", run_spec) == code
    message = capsys.readouterr().err
    (state,) = (world.folder / "state").iterdir()
    assert message.startswith(f"{word}: ") and message.count("\n") == 1
    assert f"state/{state.name}; the same command resumes after step 4" in message
    assert [p.name for p in (world.folder / "run").iterdir()] == ["spec.json"]

    assert world.adapt("run", run_spec) == 0
    assert "resuming after step 4" in capsys.readouterr().out
    assert world.bytes_of("run") == world.bytes_of("whole")


@pytest.mark.parametrize("code_pool", [0, 6])
@pytest.mark.parametrize("optimiser", ["ranger", "radam"])
def test_an_interrupted_mapper_run_resumes_to_the_same_bytes(
    world, monkeypatch, optimiser, code_pool
):
    world.adapt("parent", world.run_spec("adaptive", hyperparameters=ADAPTIVE))
    changes = {"optimiser": optimiser, "code_pool": code_pool, "iterations": 7}
    hparams = {**MAPPER, "mapper": {**MAPPER["mapper"], **changes}}
    run_spec = world.run_spec("mapper", hyperparameters=hparams, parent="dog2cat/nada-adaptive/seed0")
    world.adapt("whole", run_spec, parent="parent")
    interrupt_at(monkeypatch, 3, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert world.adapt("run", run_spec, parent="parent") == 143
    assert world.adapt("run", run_spec, parent="parent") == 0
    assert world.bytes_of("run") == world.bytes_of("whole")


def test_state_of_a_run_with_other_hyperparameters_is_not_resumed(world, monkeypatch, capsys):
    interrupt_at(monkeypatch, 5, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert world.adapt("run", world.run_spec()) == 143
    capsys.readouterr()
    assert world.adapt("run", world.run_spec(hyperparameters={"lr": 0.001})) == 0
    assert "going on" not in capsys.readouterr().out


def test_a_run_killed_at_a_random_step_ends_bit_equal_after_resume(world):
    hparams = {**ADAPTIVE, "iterations": 30, "checkpoint_every": 2, "snapshots": 6}
    run_spec = world.run_spec(hyperparameters=hparams)
    stop = random.SystemRandom().randrange(2, 10)  # tenths of the run
    line = [sys.executable, "-m", "baselines.adapt", *world.arguments("run", run_spec)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True, env=environment) as process:
        for text in process.stdout:
            if text.strip().startswith(f"step {3 * stop}/30"):
                process.kill()
                break
    assert process.returncode == -signal.SIGKILL, f"was to die at step {3 * stop}"
    assert [p.name for p in (world.folder / "run").iterdir()] == ["spec.json"]
    (state,) = (world.folder / "state").iterdir()
    assert (state / "state.pt").exists()

    assert world.adapt("run", run_spec) == 0
    assert world.adapt("whole", run_spec) == 0
    assert world.bytes_of("run") == world.bytes_of("whole"), f"killed at step {3 * stop}"


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
    from nada.stylegan2.source_model import load_source

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
