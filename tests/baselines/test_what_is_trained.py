"""Which parameters a run of NADA or its mapper trains, and what every switch changes."""

import json
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

import pytest
import torch

from nada.layers import LayerHyperparameters
from nada.mapper import MapperHyperparameters
from nada.run.artifact import load_artifact, snapshot_steps
from nada.run.atomic import sha256
from nada.stylegan2.source_model import load_source
from nada.training import NadaHyperparameters
from tests.baselines.nada_runs import (
    ADAPTIVE,
    IMAGE,
    MAP,
    MAPPER,
    changed_tensors,
    conv_names,
    rows,
)

ROOT = Path(__file__).parents[2]




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
