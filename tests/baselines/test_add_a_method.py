"""docs/add-a-method.md and docs/method_template.py work as they are printed."""

import importlib.util
import re
from pathlib import Path

import pytest
import torch

from nada.run.steps import Steps

DOCS = Path(__file__).parents[2] / "docs"
QUICK = {"iterations": 4, "batch": 2, "snapshots": 2, "checkpoint_every": 2}
# what the page's loop takes from the file around it
IMPORTS = """
import torch
from baselines.adversarial.few_shot import FewShotHyperparameters as MyMethodHyperparameters
from nada.images.training_images import few_shot_images
from nada.run.artifact import AdaptedModel
from nada.run.job import Job
from nada.stylegan2.source_networks import source_networks
"""


def adapt_of(path):
    """`adapt` of a file."""
    spec = importlib.util.spec_from_file_location("my_method", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.adapt


def template():
    """`adapt` of the template, which is copied to baselines/."""
    return adapt_of(DOCS / "method_template.py")


def loop():
    """`adapt` of the page, with a loop of its own."""
    page = (DOCS / "add-a-method.md").read_text(encoding="utf-8")
    (block,) = (b for b in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "job.steps" in b)
    Path("my_method.py").write_text(IMPORTS + block, encoding="utf-8")
    return adapt_of("my_method.py")


@pytest.mark.parametrize("method", [template, loop])
def test_the_printed_method_trains_and_keeps_its_snapshots(world, method):
    job = world.job(world.run_spec("plain", "my_method", shots=3, hyperparameters=QUICK))
    job.seed_everything()
    model = method()(job)
    assert set(job.training_state.snapshots()) == {2}
    job.finish(model)
    images = model.sample(torch.randn(2, 8))
    assert images.shape == (2, 3, 16, 16) and images.isfinite().all()
    assert len((world.folder / "run/curves.csv").read_text().splitlines()) == 5


@pytest.mark.parametrize("method", [template, loop])
def test_the_printed_method_ends_the_same_after_an_interruption(world, monkeypatch, method):
    spec = world.run_spec("plain", "my_method", shots=3, hyperparameters=QUICK)
    job = world.job(spec)
    job.seed_everything()
    whole = method()(job).tensors()
    job.training_state.discard()

    original = Steps.report

    def stop(steps, *values):
        original(steps, *values)
        if steps.step == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(Steps, "report", stop)
    with pytest.raises(KeyboardInterrupt):
        method()(world.job(spec))
    monkeypatch.setattr(Steps, "report", original)
    for name, tensor in method()(world.job(spec)).tensors().items():
        assert torch.equal(tensor, whole[name]), name
