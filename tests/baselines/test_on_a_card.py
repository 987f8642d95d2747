"""Every method on a GPU: devices are kept apart, and the results are the CPU's but for rounding.

On a fake card (tests/fake_card.py), so that a run's first GPU is not the first to find a mistake.
"""

import csv
import json

import pytest
import torch

from baselines import registry
from nada.run.artifact import load_artifact
from nada.run.steps import Steps
from tests.baselines.test_contract import adapt, quick, run_spec

CLOSE = 1e-3  # of a loss: Adam's first steps make much of a gradient that is rounding alone
ADAPTIVE = {"policy": "adaptive", "k": 2, "n_w": 3}
VARIANTS = {
    "adaptive": {"layers": ADAPTIVE},
    "adaptive, two steps": {"layers": {**ADAPTIVE, "n_i": 2}},
    "global": {"loss": "global"},
    "mixed styles": {"style_mixing": 1.0},
    "views": {"augment": "shared", "augment_views": 2},
    "parts": {"micro_batch": 1, "layers": ADAPTIVE},
    "images": {"direction": "image"},
    "mapper": {"mapper": {"base": "source", "iterations": 6}},
    "mapper, RAdam, a pool": {
        "mapper": {"base": "source", "iterations": 6, "optimiser": "radam", "code_pool": 8}
    },
    "one noise": {"noise": "shared", "guard": "epsilon"},
    "codes that choose too": {"layers": {**ADAPTIVE, "selection_codes": "shared"}},
}


def curves(world, out: str) -> list[dict]:
    """The rows of a run's curves, numbers as such."""

    def value(text):
        return text if " " in text else float(text or "nan")

    with (world.folder / out / "curves.csv").open() as file:
        return [{k: value(v) for k, v in row.items()} for row in csv.DictReader(file)]


def assert_same_training(world) -> None:
    """Of the runs "host" and "card": losses, layers chosen, p of ADA; what their models hold."""
    for host, card in zip(curves(world, "host"), curves(world, "card"), strict=True):
        assert card == pytest.approx(host, abs=CLOSE, nan_ok=True)
    host, card = (load_artifact(world.folder / out).tensors() for out in ("host", "card"))
    assert {k: v.shape for k, v in card.items()} == {k: v.shape for k, v in host.items()}


@pytest.mark.parametrize("name", sorted(registry.methods()))
def test_a_method_gives_on_a_card_what_it_gives_on_the_cpu(world, card, name):
    adapt(world, "host", name)
    with card:
        adapt(world, "card", name, device="cuda")
    assert_same_training(world)
    record = json.loads((world.folder / "card/run.json").read_text())
    assert record["device"] == "cuda"


@pytest.mark.parametrize("hparams", VARIANTS.values(), ids=VARIANTS)
def test_a_variant_of_nada_gives_on_a_card_what_it_gives_on_the_cpu(world, card, hparams):
    shots = 4 if hparams.get("direction") == "image" else 0
    adapt(world, "host", "nada", shots=shots, hyperparameters=dict(hparams))
    with card:
        adapt(world, "card", "nada", shots=shots, hyperparameters=dict(hparams), device="cuda")
    assert_same_training(world)


def test_half_precision_runs_on_a_card(world, card):
    with card:
        for name in ("nada", "tgan_ada"):
            hparams = {**quick(name), "precision": "mixed"}
            adapt(world, name, name, hyperparameters=hparams, device="cuda")


SLOW = pytest.mark.slow  # the loop is that of tgan_ada


@pytest.mark.parametrize(
    "name", ["nada", "tgan_ada", pytest.param("minegan", marks=SLOW), pytest.param("ojha", marks=SLOW)]
)
def test_an_interrupted_run_goes_on_upon_the_card(world, card, name, monkeypatch):
    kept = Steps.checkpoint

    def stop(steps):
        kept(steps)
        if steps.step == 4:
            raise KeyboardInterrupt

    with card:
        adapt(world, "whole", name, device="cuda")
        monkeypatch.setattr(Steps, "checkpoint", stop)
        arguments = run_spec(world, name, device="cuda")
        assert world.adapt("halves", arguments) == 130
        monkeypatch.setattr(Steps, "checkpoint", kept)
        assert world.adapt("halves", arguments) == 0
    assert world.bytes_of("halves") == world.bytes_of("whole")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_the_same_run_gives_the_same_bytes(world):
    for name in ("nada", "tgan", "minegan", "ojha"):  # ADA's warp has no repeatable kernel
        for out in ("a", "b"):
            adapt(world, f"{name}-{out}", name, device="cuda")
        assert world.bytes_of(f"{name}-a") == world.bytes_of(f"{name}-b"), name
