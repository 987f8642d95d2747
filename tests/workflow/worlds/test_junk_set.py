"""The junk that examines the judge, and the bars on the outcome."""

import pandas as pd
import pytest
import torch

from nada.clip.encoder import load_clip
from nada.images.arrays import load_images
from nada.run.errors import UserError
from workflow.worlds.mini.junk_set import EACH, JUNK_SET, KINDS, adversarial, corrupted
from workflow.worlds.mini.outcome import BARS, bar_rows
from workflow.worlds.mini.promote import WEIGHTS


def test_the_committed_set_holds_every_kind():
    assert load_images(JUNK_SET).shape == (EACH * len(KINDS), 32, 32, 3) == (200, 32, 32, 3)


def test_the_committed_corruptions_are_those_that_the_module_makes():
    made = corrupted(EACH, 32)
    committed = torch.as_tensor(load_images(JUNK_SET)).permute(0, 3, 1, 2).float() / 127.5 - 1
    for i, kind in enumerate(KINDS[:6]):
        torch.testing.assert_close(
            made[kind].clamp(-1, 1), committed[i * EACH : (i + 1) * EACH], rtol=0, atol=0.01
        )


def test_adversarial_junk_fools_clip(monkeypatch):
    spec = {"name": "b", "config": str(WEIGHTS / "clip_b.json"), "weight": 1.0,
            "weights": str(WEIGHTS / "clip_b.safetensors")}  # fmt: skip
    clip = load_clip(spec, torch.device("cpu"))
    images = adversarial(6, 32, [clip])
    assert images.abs().max() <= 1
    texts = clip.encode_texts([f"a {w}" for w in ("dog", "cat", "bear", "fox", "rabbit", "lion")])
    with torch.no_grad():
        called = (clip.encode_images(images) @ texts.T).argmax(1)
    assert called.tolist() == [0, 1, 2, 3, 4, 5]


def test_each_requirement_is_compared_with_the_mean_of_the_last_models():
    rows = [
        {"task": t, "variant": v, "metric": m, "step": step, "value": value}
        for t, v, m in BARS
        for step, value in (("100", 0.0), ("last", 0.95), ("last", 0.80))
    ]
    held = bar_rows(pd.DataFrame(rows))
    assert [row["holds"] for row in held] == [False] * len(BARS)
    assert held[0]["value"] == pytest.approx(0.875)
    with pytest.raises(UserError, match="no target_rate of dog2cat mapper"):
        bar_rows(pd.DataFrame(rows)[lambda frame: frame.task != "dog2cat"])
