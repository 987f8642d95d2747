"""The trainings of the mini world run, resume bit-equal, and leave weights that load."""

import pytest

from eval.networks.referee import load_judge, load_perceptual
from nada.run.manifest import read_weights
from nada.run.training_state import TrainingState
from nada.stylegan2.source_model import load_source
from workflow.worlds.mini import pretrain_clip, pretrain_referee, pretrain_source


class Stopped(Exception):
    """Stands for a kill right after a checkpoint was written."""


@pytest.fixture
def tiny(monkeypatch):
    """Small pools, few steps, and a state every three."""
    for module in (pretrain_clip, pretrain_referee):
        monkeypatch.setattr(module, "POOL", 64)
        monkeypatch.setattr(pretrain_referee, "HALF_WAY", 16)
        monkeypatch.setattr(module, "CHECKPOINT_EVERY", 3)
        monkeypatch.setattr(module, "HELD_OUT", 28)
        monkeypatch.setattr(pretrain_clip, "PAIR_BLOCKS", 2)
        recipes = {k: {**v, "steps": 5, "batch": 4} for k, v in module.RECIPES.items()}
        monkeypatch.setattr(module, "RECIPES", recipes)
    monkeypatch.setattr(pretrain_referee, "HELD_OUT_JUNK", 6)


def interrupted(monkeypatch, train):
    """Call train(), stop it as its first state is saved, and call it again."""
    save = TrainingState.save

    def save_and_stop(self, step, state):
        save(self, step, state)
        raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(TrainingState, "save", save_and_stop)
        with pytest.raises(Stopped):
            train()
    train()


def test_an_interrupted_clip_training_ends_with_the_same_bytes(tiny, monkeypatch, tmp_path):
    pretrain_clip.train("b", tmp_path / "whole", 32)
    interrupted(monkeypatch, lambda: pretrain_clip.train("b", tmp_path / "parts", 32))
    whole, parts = (tmp_path / n / "clip_b.plain.safetensors" for n in ("whole", "parts"))
    assert whole.read_bytes() == parts.read_bytes()


@pytest.mark.parametrize(("name", "load"), [("judge", load_judge), ("perceptual", load_perceptual)])
def test_an_interrupted_referee_training_ends_with_the_same_bytes(
    tiny, monkeypatch, tmp_path, name, load
):
    pretrain_referee.train(name, tmp_path / "whole", 32)
    interrupted(monkeypatch, lambda: pretrain_referee.train(name, tmp_path / "parts", 32))
    whole, parts = (tmp_path / n / f"{name}.safetensors" for n in ("whole", "parts"))
    assert whole.read_bytes() == parts.read_bytes()
    assert load(whole).factor_names[0] == "shift_x"


@pytest.mark.parametrize(
    "steps",
    [(5, 2, 2, 1, 1), (2, 5, 2, 1, 1), (2, 2, 5, 1, 1), (2, 2, 2, 5, 1), (2, 2, 2, 1, 4)],
    ids=["coarse", "fine", "shrink", "warm-up", "adversarial"],
)
def test_a_source_training_interrupted_in_any_stage_ends_with_the_same_bytes(
    monkeypatch, tmp_path, steps
):
    monkeypatch.setattr(pretrain_source, "CHECKPOINT_EVERY", 3)
    coarse, fine, shrink, warmup, adversarial = steps
    recipe = pretrain_source.Recipe(
        channel_base=128, channel_max=8, pool=32, batch=2, mapping_steps=2, coarse_steps=coarse,
        fine_steps=fine, shrink_steps=shrink, warmup_steps=warmup, adversarial_steps=adversarial,
        own_steps=1, fade_steps=2,
    )  # fmt: skip
    pretrain_source.train("dog", tmp_path / "whole", recipe)
    interrupted(monkeypatch, lambda: pretrain_source.train("dog", tmp_path / "parts", recipe))
    whole, parts = (tmp_path / n / "dog.safetensors" for n in ("whole", "parts"))
    assert whole.read_bytes() == parts.read_bytes()
    assert load_source(whole).G_ema.config["resolution"] == 32
    assert read_weights(whole)[0]["G_ema.synthesis.const"].isfinite().all()
