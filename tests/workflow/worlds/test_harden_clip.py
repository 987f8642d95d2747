"""CLIPs hardened against live adaptations."""

import json

import pytest
import torch
from torch.nn import functional as F

from nada.run.errors import UserError
from nada.run.training_state import TrainingState
from nada.stylegan2.discriminator import Discriminator
from nada.stylegan2.generator import Generator
from nada.stylegan2.source_model import SourceModel, save_source
from workflow.worlds.mini import harden_clip, pretrain_clip
from workflow.worlds.mini.harden_clip import margin_loss, relative_distance, true_counterparts
from workflow.worlds.mini.parent import FAMILIES
from workflow.worlds.mini.pretrain_source import uniforms
from workflow.worlds.mini.scenes import from_uint8, render_uint8
from workflow.worlds.mini.species import SPECIES


def test_a_picture_that_is_its_counterpart_is_at_distance_0_and_the_source_at_1():
    torch.manual_seed(0)
    source, counterpart = torch.rand(2, 5, 3, 16, 16) * 2 - 1
    assert relative_distance(source, counterpart, counterpart).abs().max() == 0
    assert relative_distance(source, source, counterpart).min() > 0.9
    half = relative_distance(source, (source + counterpart) / 2, counterpart)
    torch.testing.assert_close(half, torch.full((5,), 0.5), rtol=0, atol=0.05)


def test_colours_that_are_left_count_by_themselves():
    torch.manual_seed(1)
    counterpart = torch.rand(4, 1, 16, 16).expand(-1, 3, -1, -1)  # grey
    source = counterpart + torch.tensor([0.2, 0.0, -0.2])[:, None, None] + torch.randn(4, 1, 16, 16)
    adapted = counterpart + torch.tensor([0.2, 0.0, -0.2])[:, None, None]  # right but for its colours
    pixels = (adapted - counterpart).abs().mean((1, 2, 3)) / (source - counterpart).abs().mean((1, 2, 3))
    assert pixels.max() < 0.3 and relative_distance(source, adapted, counterpart).min() > 0.8


def test_the_margin_loss_is_its_formula_and_a_picture_that_is_right_loses_nothing():
    torch.manual_seed(2)
    source, adapted, counterpart = F.normalize(torch.randn(3, 4, 6, dtype=torch.float64), dim=2)
    direction = F.normalize(torch.randn(6, dtype=torch.float64), dim=0)
    distance = torch.tensor([0.0, 0.3, 0.6, 1.0], dtype=torch.float64)
    value = margin_loss(source, adapted, counterpart, direction, distance, 0.6)
    expected = 0.0
    for n in range(4):
        cosines = []
        for embedding in (adapted[n], counterpart[n]):
            move = embedding - source[n]
            cosines.append(move @ direction / (move @ move + 0.01).sqrt())
        expected += max(0.0, float(cosines[0] - cosines[1] + 0.6 * distance[n])) / 4
        expected += 0.5 * float(1 - cosines[1]) / 4
    assert float(value) == pytest.approx(expected, rel=1e-12)
    right = margin_loss(source, counterpart, counterpart, direction, 0 * distance, 0.6)
    moves = counterpart - source
    cosines = moves @ direction / (moves.square().sum(1) + 0.01).sqrt()
    torch.testing.assert_close(right, 0.5 * (1 - cosines).mean())


def test_the_counterpart_of_a_code_is_the_same_scene_as_the_target():
    z = torch.randn(3, 64)
    tigers = true_counterparts(FAMILIES["dog"], "tiger", z, 32)
    species = torch.full((3,), SPECIES.index("tiger"))
    expected = from_uint8(render_uint8(species, torch.zeros(3, dtype=torch.long), uniforms(z), 32))
    torch.testing.assert_close(tigers, expected, rtol=0, atol=0.02)


def test_no_adaptation_goes_to_the_target_of_a_task():
    for domain in ("dog", "face"):  # the sources that train() loads; their families are checked in test_parent
        assert not {"cat", "bear", "fox", "sketch", "cartoon"} & set(FAMILIES[domain].members)


class Stopped(Exception):
    """Stands for a kill right after a checkpoint was written."""


def test_an_interrupted_hardening_ends_with_the_same_bytes(monkeypatch, tmp_path):
    monkeypatch.setattr(pretrain_clip, "POOL", 48)
    monkeypatch.setattr(pretrain_clip, "PAIR_BLOCKS", 2)
    monkeypatch.setattr(pretrain_clip, "HELD_OUT", 28)
    recipes = {k: {**v, "steps": 1, "batch": 4, "pairs": 4} for k, v in pretrain_clip.RECIPES.items()}
    monkeypatch.setattr(pretrain_clip, "RECIPES", recipes)
    small = {"steps": 5, "runs": 2, "length": (1, 4), "keep": 3, "batch": 2}
    monkeypatch.setattr(harden_clip, "RECIPE", {**harden_clip.RECIPE, **small})
    monkeypatch.setattr(harden_clip, "CHECKPOINT_EVERY", 3)
    folders = [tmp_path / name for name in ("whole", "parts")]
    for folder in folders:
        for name in harden_clip.NAMES:
            pretrain_clip.train(name, folder, 32)
        for domain in ("dog", "face"):
            torch.manual_seed(0)
            G = Generator(32, 64, 64, 128, 8, 2, 1.0)
            model = SourceModel(G=G, G_ema=G, D=Discriminator(32, 128, 8, mbstd_group_size=4), metadata={})
            save_source(folder / f"{domain}.safetensors", model)
    whole, parts = folders
    harden_clip.train(whole)
    save = TrainingState.save

    def save_and_stop(self, step, state):
        save(self, step, state)
        raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(TrainingState, "save", save_and_stop)
        with pytest.raises(Stopped):
            harden_clip.train(parts)
    harden_clip.train(parts)
    for name in harden_clip.NAMES:
        file = f"clip_{name}.safetensors"
        assert (whole / file).read_bytes() == (parts / file).read_bytes()
        assert (whole / file).read_bytes() != (whole / f"clip_{name}.plain.safetensors").read_bytes()
        record = json.loads((whole / f"clip_{name}.record.json").read_text())
        assert {"figures", "figures_before_hardening", "hardening_seconds"} <= set(record)
    (whole / "clip_a.plain.safetensors").unlink()
    with pytest.raises(UserError, match="clip_a.plain.safetensors is missing; train it first"):
        harden_clip.train(whole)
