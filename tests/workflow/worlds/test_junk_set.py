"""The junk that examines the judge, and the bars on the outcome."""

import numpy as np
import pandas as pd
import pytest
import torch

from nada.clip.encoder import load_clip
from nada.images.arrays import load_images
from nada.run.errors import UserError
from workflow.worlds.mini.junk_set import (
    EACH,
    JUNK_SET,
    KINDS,
    POOL,
    adversarial,
    corrupted,
    unnamed,
)
from workflow.worlds.mini.outcome import AT_LEAST, AT_MOST, OF_SOURCE, bar_rows, saturation
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


def scores_of(values):
    """Rows of scores.csv of {(task, method, variant, metric): [a value for each seed]}."""
    return pd.DataFrame(
        [
            {"task": t, "method": m, "variant": v, "metric": metric, "step": step, "value": value}
            for (t, m, v, metric), every in values.items()
            for step, value in [("100", 0.0), *(("last", one) for one in every)]
        ]
    )


def test_each_requirement_is_compared_with_the_mean_of_the_last_models():
    values = {}
    for task, variant, what, _ in (*AT_LEAST, *AT_MOST):
        metric = what.removesuffix(OF_SOURCE)
        values[task, "nada", variant, metric] = [0.95, 0.80] if metric == what else [1.0, 1.4]
        if metric != what:
            values[task, "source", "unchanged", metric] = [1.8, 2.2]
    held = {row["what"]: row for row in bar_rows(scores_of(values))}
    rate = held["target_rate of dog2cat mapper, at least"]
    assert rate["value"] == pytest.approx(0.875) and not rate["holds"]
    kept = held["intra_cluster_lpips of source of dog2cat adaptive, at least"]
    assert kept["value"] == pytest.approx(0.6) and kept["bar"] == 0.8 and not kept["holds"]
    fallen = held["intra_cluster_lpips of source of dog2bear global, at most"]
    assert fallen["value"] == pytest.approx(0.6) and fallen["holds"]
    lost = held["retrieval_top1 of dog2cat global, at most"]
    assert lost["value"] == pytest.approx(0.875) and not lost["holds"]
    del values["dog2cat", "nada", "mapper", "target_rate"]
    with pytest.raises(UserError, match="no target_rate of dog2cat mapper"):
        bar_rows(scores_of(values))


def test_saturation_is_the_range_of_the_channels():
    images = np.zeros((2, 4, 4, 3), np.uint8)
    images[0] = (255, 51, 0)
    images[1] = 200
    assert saturation(images) == pytest.approx(0.5)


def test_late_pictures_that_most_people_name_are_no_junk(tmp_path):
    for person, name in enumerate(("cat", "cat", "smudge"), start=1):
        frame = pd.DataFrame({"number": range(1, POOL + 1), "name": "smudge"})
        frame.loc[:9, "name"] = name
        frame.to_csv(tmp_path / f"answers_{person}.csv", index=False)
    assert unnamed(tmp_path) == list(range(10, POOL))
    frame[:5].to_csv(tmp_path / "answers_3.csv", index=False)
    with pytest.raises(UserError, match="gave picture 6 no name"):
        unnamed(tmp_path)
