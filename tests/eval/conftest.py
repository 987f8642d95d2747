"""A tiny world on disk for the tests of eval, made once: random networks, references, runs, scores."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from eval import observe, score
from eval.networks.referee import JudgeNet, PerceptualNet, save_network
from nada.images.arrays import save_images
from nada.images.image_bank import ImageBank
from nada.run.artifact import AdaptedModel, save_artifact, write_snapshots
from nada.stylegan2.discriminator import Discriminator
from nada.stylegan2.generator import Generator
from nada.stylegan2.source_model import SourceModel, save_source

NAMES = (["dog", "cat"], ["photo", "sketch"], ["yaw", "background_r", "background_g", "fur_r"])
COUNTS = {
    "batch": 16, "fid_images": 60, "diversity_images": 24, "gallery_images": 8,
    "snapshot_images": 8,
    "truncation_psi": 1.0,
}  # fmt: skip
#: Seeds of each <method>-<variant>, in the order of the group's table.
RUNS = {"source-unchanged": (0,), "nada-global": (0, 1), "nada-adaptive": (0,)}
#: Target images that the control replay draws.
SHOTS = 5


@dataclass
class TinyWorld:
    """Paths of a tiny world; every writer returns the path that it wrote."""

    folder: Path

    def write(self, name: str, content: dict) -> Path:
        path = self.folder / name
        path.write_text(json.dumps(content))
        return path

    def spec(self, variant="global", method="nada", seeds=(0,), **changes) -> dict:
        run = "dog2cat/{}-{}/seed{}"
        runs = [
            {"id": run.format(method, variant, seed), "seed": seed, "latent_seed": 100 + seed,
             "folder": str(self.folder / run.format(method, variant, seed))}
            for seed in seeds
        ]  # fmt: skip
        images = str(self.folder / "cat.npz")
        content = {
            "world": "tiny", "task": "dog2cat", "method": method, "variant": variant, "shots": 0,
            "warm_start": "source", "device": "cpu", "resolution": 16, "target": ["class", "cat"],
            "referee": {name: self.network(name) for name in ("perceptual", "judge")},
            "counts": COUNTS, "runs": runs,
        }  # fmt: skip
        if method == "real":
            return {**content, "references": images, **changes}
        content["source"] = self.network("dog")
        if changes.get("shots"):
            content |= {"references": images, "training_images": images}
        return {**content, **changes}

    def network(self, name: str) -> str:
        """The file of a network."""
        return str(self.folder / f"{name}.safetensors")

    def group(self, observations, **changes) -> dict:
        return {
            "name": "ablation", "title": "losses & layers", "world": "tiny", "preset": "default",
            "device": "cpu", "tasks": {"dog2cat": {"real": str(self.folder / "real.npz")}},
            "rows": [
                {"task": "dog2cat", "method": name.split("-")[0], "variant": name.split("-")[1],
                 "shots": 0, "warm_start": "source", "observation": str(self.folder / f"{name}.npz")}
                for name in observations
            ],
            "k_medoids": 4, "grid": {"rows": 4, "truncation_psi": 0.7}, **changes,
        }  # fmt: skip


def shifted(generator: Generator, seed: int, amount: float) -> Generator:
    """A copy of a generator with its synthesis weights moved at random."""
    torch.manual_seed(seed)
    copy = Generator(**generator.config)
    copy.load_state_dict(generator.state_dict())
    with torch.no_grad():
        for parameter in copy.synthesis.parameters():
            parameter += amount * torch.randn_like(parameter)
    return copy


def calibrated(net: torch.nn.Module, size: int = 16) -> torch.nn.Module:
    """A random network whose batch norms know the statistics of noise: its outputs vary."""
    net.train()
    with torch.no_grad():
        for _ in range(30):
            net(torch.rand(16, 3, size, size) * 2 - 1)
    return net.eval()


def build(folder: Path) -> TinyWorld:
    """Referee, source, references, and runs of three hyperparameters (two seeds each for `global`)."""
    torch.manual_seed(0)
    perceptual = calibrated(PerceptualNet(*NAMES, widths=(6, 8, 10, 12)))
    save_network(folder / "perceptual.safetensors", perceptual)
    judge = calibrated(JudgeNet(*NAMES, widths=(6, 8, 10, 12)))
    save_network(folder / "judge.safetensors", judge)
    size = {"resolution": 16, "channel_base": 128, "channel_max": 8}
    generator = Generator(**size, z_dim=8, style_dim=8, mapping_layers=2)
    source = SourceModel(generator, generator, Discriminator(**size), {})
    save_source(folder / "dog.safetensors", source, torch.float32)
    pixels = np.random.default_rng(0).integers(0, 256, (120, 16, 16, 3), dtype=np.uint8)
    save_images(folder / "cat.npz", pixels)
    for name, seeds in RUNS.items():
        for seed in seeds:
            run = folder / f"dog2cat/{name}/seed{seed}"
            run.mkdir(parents=True)
            amount = {"source-unchanged": 0.0, "nada-global": 0.6, "nada-adaptive": 0.2}[name]
            model = AdaptedModel(shifted(generator, seed, amount))
            save_artifact(run, model, {"step": 20})
            if name == "nada-global":
                middle = AdaptedModel(shifted(generator, seed, amount / 2)).tensors()
                write_snapshots(run / "snapshots.safetensors", {10: middle}, model.tensors())
    run = folder / "dog2cat/replay-images/seed0"
    run.mkdir(parents=True)
    bank = ImageBank(SHOTS, 16)
    bank.images.copy_(torch.from_numpy(pixels[:SHOTS]))
    save_artifact(run, AdaptedModel(bank), {"step": 0})
    return TinyWorld(folder)


@pytest.fixture(scope="session")
def tiny_world(tmp_path_factory):
    """The world with its observations real.npz and <method>-<variant>.npz."""
    world = build(tmp_path_factory.mktemp("tiny_world"))
    looks = {"real": world.spec(method="real", variant="", seeds=())}
    for name, seeds in RUNS.items():
        method, variant = name.split("-")
        looks[name] = world.spec(variant, method, seeds)
    for name, spec in looks.items():
        spec, out = world.write(f"look_{name}.json", spec), world.folder / f"{name}.npz"
        assert observe.main(["--spec", str(spec), "--out", str(out)]) == 0
    return world


@pytest.fixture(scope="session")
def scored_world(tiny_world, scikit_learn_extra):
    """The tiny world with the scores of its runs as well: group.json and scores.csv."""
    spec = tiny_world.write("group.json", tiny_world.group(list(RUNS)))
    scores = tiny_world.folder / "scores.csv"
    assert score.main(["--spec", str(spec), "--out", str(scores)]) == 0
    return tiny_world


@pytest.fixture(scope="module")
def chromium():
    """Debian's browser, without a window; skipped, with the reason, where it or its driver is missing."""
    playwright = pytest.importorskip("playwright.sync_api", reason="the package playwright is not installed")
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("there is no chromium; apt-get install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def violations(root):
    """A function: what axe-core finds on a browser's page, as (rule, HTML); skipped where axe-core is missing."""
    path = root / "tests/node_modules/axe-core/axe.min.js"
    if not path.is_file():
        pytest.skip("axe-core is not installed; npm ci --prefix tests")
    script = path.read_text(encoding="utf-8")

    def of(page):
        if page.evaluate("window.axe === undefined"):
            page.evaluate(script)  # the study's content security policy forbids a script element
        found = page.evaluate("axe.run()")["violations"]
        return [(one["id"], node["html"][:200]) for one in found for node in one["nodes"]]

    return of
