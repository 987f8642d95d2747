"""What a step of NADA costs: all layers against the adaptive choice (run by `make bench`).

With the mini world's networks, one thread, batch 4, k = 3, n_w = 4, n_i = 1. The two steps take
turns, so that whatever else the machine does weighs on both.
"""

import copy
import time
from pathlib import Path
from statistics import median

import pytest
import torch
import yaml

from nada.clip.steering import Steering
from nada.layers import Layers
from nada.objective import NadaLoss
from nada.run.hyperparameters import read_hyperparameters
from nada.run.job import Job
from nada.run.spec.run_spec import RunSpec
from nada.stylegan2.source_networks import source_networks
from nada.training import NadaHyperparameters, forward_backward

ROOT = Path(__file__).parents[2]
WORLD = ROOT / "workflow/worlds/mini"
ROUNDS = 40
#: What an adaptive iteration may cost at most, in iterations of all layers.
MOST_RATIO = 1.8
BASE = {"batch": 4}
CHOICE = {"policy": "adaptive", "k": 3, "n_w": 4, "n_i": 1, "selection_codes": "shared"}
POLICIES = {
    "all": {"policy": "all"},
    "adaptive": CHOICE,
    "adaptive, codes apart": {**CHOICE, "selection_codes": "drawn"},
}


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """A run of the mini world, dog to cat, that is never started."""
    torch.set_num_threads(1)
    world = yaml.safe_load((WORLD / "world.yaml").read_text())
    folder = tmp_path_factory.mktemp("bench")
    clips = [
        {**clip, "config": str(WORLD / clip["config"]), "weights": str(WORLD / clip["weights"])}
        for clip in world["clips"]
    ]
    run_spec = {
        "world": "mini",
        "task": "dog2cat",
        "method": "nada",
        "variant": "bench",
        "seed": 0,
        "device": "cpu",
        "resolution": world["resolution"],
        "source": {"domain": "dog", "weights": str(WORLD / world["sources"]["dog"])},
        "text": {"source": "dog", "target": "cat"},
        "templates": str(WORLD / world["templates"]),
        "clips": clips,
    }
    return Job(RunSpec(**run_spec), folder / "run", folder / "state")


def make_step(job, layers: dict):
    """A function that trains one step with the given layer policy."""
    hparams = read_hyperparameters(NadaHyperparameters, {**BASE, "layers": layers}, "bench")
    frozen = source_networks(job).G_ema.eval().requires_grad_(False)
    trained = copy.deepcopy(frozen)
    trained.mapping = frozen.mapping
    loss = NadaLoss(Steering(job), hparams, frozen)
    policy = Layers(trained, hparams.layers, loss.of_images, "bench")
    optimiser = torch.optim.Adam(policy.trainable().values(), lr=hparams.lr, betas=hparams.betas)

    def step():
        forward_backward(frozen, trained, policy, loss, hparams)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    return step


def test_an_adaptive_iteration_costs_at_most_1_8_of_an_all_layers_one(benchmark, job):
    torch.manual_seed(0)
    steps = {name: make_step(job, layers) for name, layers in POLICIES.items()}
    times = {name: [] for name in steps}
    for turn in range(ROUNDS + 5):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if turn >= 5:  # the first ones warm up
                times[name].append(time.perf_counter() - start)
    typical = {name: median(values) for name, values in times.items()}
    ratios = {name: value / typical["all"] for name, value in typical.items()}
    for name, value in typical.items():
        print(f"\n{name}: {1000 * value:.1f} ms an iteration, {ratios[name]:.2f}", end="")
    benchmark.extra_info.update(ratios)
    benchmark.pedantic(steps["adaptive"], rounds=5)
    assert ratios["adaptive"] <= MOST_RATIO
