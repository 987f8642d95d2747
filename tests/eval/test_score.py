"""Scores and grids of a group, from files to files."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cleanfid.fid import fid_from_feats
from PIL import Image

from eval import observe, score
from eval.figures import grid, sheet
from eval.metrics.catalogue import METRICS
from eval.metrics.precision_recall import precision_recall
from eval.observation import Observation, load_observation, save_observation
from eval.score import COLUMNS, read_scores

MEMBERS = ["source-unchanged", "nada-global", "nada-adaptive"]


@pytest.fixture(scope="module")
def scores(scored_world):
    return read_scores(scored_world.folder / "scores.csv")


def value(scores, method, variant, name, seed=0, step="last"):
    found = scores.query(
        "method == @method and variant == @variant and metric == @name and seed == @seed"
        " and step == @step"
    )
    assert len(found) == 1
    return found.value.item()


def test_scores_are_tidy_one_row_per_run_step_and_metric(scores):
    assert list(scores.columns) == COLUMNS
    assert not scores.duplicated([c for c in COLUMNS if c not in ("value", "n")]).any()
    assert np.isfinite(scores.value).all() and (scores.n > 0).all()
    of_few_shot = {"nearest_training_lpips", "memorised", "realism", "preference"}
    elsewhere = {
        "fid_legacy_pytorch",
        "reference_copies",
        "zero_shot_share",
    }  # of published networks; of sets with copies; of tasks with words for a held-out CLIP
    assert set(scores.metric) == set(METRICS) - of_few_shot - elsewhere


def test_fid_is_clean_fids_between_the_run_and_all_reference_images(tiny_world, scores):
    seen = load_observation(tiny_world.folder / "nada-global.npz")
    real = load_observation(tiny_world.folder / "real.npz")
    reference = np.concatenate([real["half0/features"], real["half1/features"]])
    for seed in (0, 1):
        wanted = fid_from_feats(seen[f"seed{seed}/features"], reference)
        assert value(scores, "nada", "global", "fid", seed) == pytest.approx(wanted, abs=1e-4)
    halves = fid_from_feats(real["half0/features"], real["half1/features"])
    assert value(scores, "real", "", "fid") == pytest.approx(halves, abs=1e-4)


def test_precision_and_recall_are_those_of_the_fid_features(tiny_world, scores):
    seen = load_observation(tiny_world.folder / "nada-global.npz")
    real = load_observation(tiny_world.folder / "real.npz")
    reference = np.concatenate([real["half0/features"], real["half1/features"]])
    wanted = precision_recall(reference, seen["seed1/features"])
    found = [value(scores, "nada", "global", name, 1) for name in ("precision", "recall")]
    assert tuple(found) == wanted
    halves = precision_recall(real["half1/features"], real["half0/features"])
    assert value(scores, "real", "", "precision") == halves[0]


def test_a_model_without_w_plus_has_every_score_but_correspondence(tiny_world, tmp_path, scores):
    spec = tiny_world.spec(method="replay", variant="images")
    (tmp_path / "look.json").write_text(json.dumps(spec))
    (tmp_path / "replay.json").write_text(json.dumps(tiny_world.group(["replay-images"])))
    group = json.loads((tmp_path / "replay.json").read_text())
    group["rows"][0]["observation"] = str(tmp_path / "replay-images.npz")
    (tmp_path / "replay.json").write_text(json.dumps(group))
    paths = [
        "--spec",
        str(tmp_path / "look.json"),
        "--out",
        str(tmp_path / "replay-images.npz"),
    ]
    assert observe.main(paths) == 0
    arguments = ["--spec", str(tmp_path / "replay.json"), "--out", str(tmp_path / "s.csv")]
    assert score.main(arguments) == 0
    found = read_scores(tmp_path / "s.csv")
    found = set(found[found.method == "replay"].metric)
    missing = set(METRICS) - found - {"fid_legacy_pytorch", "reference_copies", "zero_shot_share"}
    assert missing == {name for name in METRICS if name.startswith("factor_")} | {
        "retrieval_top1", "source_lpips", "nearest_training_lpips", "memorised", "realism", "preference"
    }  # fmt: skip


def test_the_unchanged_source_corresponds_to_itself(scores):
    for name in ("retrieval_top1", "factor_correlation", "factor_correlation_pose"):
        assert value(scores, "source", "unchanged", name) == pytest.approx(1.0)
    assert value(scores, "source", "unchanged", "source_lpips") == pytest.approx(0, abs=1e-6)


def test_the_target_rate_counts_the_judges_verdicts(tiny_world, scores):
    logits = load_observation(tiny_world.folder / "nada-global.npz")["seed1/class_logits"]
    verdicts = logits.argmax(axis=1)
    assert value(scores, "nada", "global", "target_rate", seed=1) == np.mean(verdicts == 1)
    assert value(scores, "nada", "global", "none_rate", seed=1) == np.mean(verdicts == 2)


def test_snapshots_have_rows_of_their_own(scores):
    steps = scores[(scores.variant == "global") & (scores.seed == 0)].step.unique()
    assert set(steps) == {"last", "10", "20"}
    middle = value(scores, "nada", "global", "mean_lpips", step="10")
    assert middle != value(scores, "nada", "global", "mean_lpips", step="20")


def test_scores_repeat_themselves_byte_by_byte(scored_world, tmp_path):
    spec = str(scored_world.folder / "group.json")
    assert score.main(["--spec", spec, "--out", str(tmp_path / "again.csv")]) == 0
    wanted = (scored_world.folder / "scores.csv").read_bytes()
    assert (tmp_path / "again.csv").read_bytes() == wanted


def group_of(world, tmp_path, members=MEMBERS, **changes):
    (tmp_path / "group.json").write_text(json.dumps(world.group(members, **changes)))
    return tmp_path / "group.json"


def test_an_observation_by_another_judge_is_refused(tiny_world, scikit_learn_extra, tmp_path, capsys):
    seen = load_observation(tiny_world.folder / "nada-adaptive.npz")
    meta = seen.meta | {"hashes": seen.meta["hashes"] | {"judge": "another"}}
    save_observation(tmp_path / "other.npz", Observation(meta, seen.arrays))
    group = tiny_world.group(["nada-adaptive"])
    group["rows"][0]["observation"] = str(tmp_path / "other.npz")
    (tmp_path / "group.json").write_text(json.dumps(group))
    arguments = ["--spec", str(tmp_path / "group.json"), "--out", str(tmp_path / "s.csv")]
    assert score.main(arguments) == 2
    assert "measured by another judge network" in capsys.readouterr().err


def test_more_clusters_than_images_are_refused(tiny_world, tmp_path, capsys):
    spec = group_of(tiny_world, tmp_path, k_medoids=30)
    assert score.main(["--spec", str(spec), "--out", str(tmp_path / "s.csv")]) == 2
    assert "k=30 clusters of 24 images" in capsys.readouterr().err


def test_a_missing_observation_is_one_sentence(tiny_world, scikit_learn_extra, tmp_path, capsys):
    spec = group_of(tiny_world, tmp_path, ["nada-nowhere"])
    assert score.main(["--spec", str(spec), "--out", str(tmp_path / "s.csv")]) == 2
    said = capsys.readouterr().err
    assert "no such observation" in said and said.count("\n") == 1


def test_every_command_parses_its_arguments_before_it_imports_torch():
    code = (
        "import sys\n"
        "from eval import observe, score, tables\n"
        "from eval.figures import grid, sheet\n"
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=True)


# ---- grids --------------------------------------------------------------------------------------


def test_a_grid_shows_the_source_first_then_every_variant_on_the_same_latents(tiny_world, tmp_path):
    spec = group_of(tiny_world, tmp_path)
    prefix = str(tmp_path / "ablation_grid")
    assert grid.main(["--spec", str(spec), "--out", prefix]) == 0
    frame = pd.read_csv(prefix + ".csv")
    assert list(frame[frame.row == 0].run) == [
        "source", "dog2cat/nada-global/seed0", "dog2cat/nada-adaptive/seed0",
    ]  # fmt: skip
    assert list(frame[frame.column == 1].latent) == [0, 1, 2, 3]
    picture = np.array(Image.open(prefix + ".png").convert("RGB"))
    seen = load_observation(tiny_world.folder / "nada-global.npz")
    # every cell is in the picture pixel by pixel, six times enlarged, in its place
    cells = [seen[f"seed0/{n}"][row] for row in (0, 1) for n in ("source_gallery", "gallery")]
    places = [find(picture, cell.repeat(6, axis=0).repeat(6, axis=1)) for cell in cells]
    (y0, x0), (y1, x1), (y2, x2), (y3, x3) = places
    assert y0 == y1 < y2 == y3 and y2 - y0 == 100
    assert x0 == x2 < x1 == x3 and x1 - x0 == 100


def find(picture, cell):
    """Top and left edge of a cell in a picture."""
    rows, columns = np.nonzero((picture[:-95, :-95] == cell[0, 0]).all(axis=-1))
    for y, x in zip(rows, columns, strict=True):
        if np.array_equal(picture[y : y + 96, x : x + 96], cell):
            return y, x
    raise AssertionError("the cell is not in the picture")


def test_small_images_are_enlarged_by_a_whole_factor_and_very_large_ones_reduced():
    small = np.arange(2 * 32 * 32 * 3, dtype=np.uint8).reshape(2, 32, 32, 3)
    assert sheet.fitted(small).shape == (2, 96, 96, 3)
    assert np.array_equal(sheet.fitted(small)[:, ::3, ::3], small)
    assert sheet.fitted(np.zeros((1, 128, 128, 3), np.uint8)).shape == (1, 128, 128, 3)
    large = np.full((1, 512, 512, 3), 7, np.uint8)
    assert np.array_equal(sheet.fitted(large), np.full((1, 192, 192, 3), 7, np.uint8))


def test_a_columns_title_says_from_where_its_training_started():
    meta = {"method": "tgan", "variant": "plain", "shots": 10, "warm_start": "nada_finetuned_gd"}
    assert grid._title(meta) == "TGAN\n10-shot\nfrom fine-tuned\nG + D"
    assert grid._title({**meta, "warm_start": "source"}) == "TGAN\n10-shot"


@pytest.mark.parametrize(
    "asked, sentence",
    [
        ({"rows": 9, "truncation_psi": 0.7}, "set grid.rows to 1..8"),
        ({"rows": 2, "truncation_psi": 0.5}, "choose one of 0.7, 1.0"),
    ],
)
def test_a_grid_of_images_that_were_not_kept_is_refused(
    tiny_world, tmp_path, capsys, asked, sentence
):
    spec = group_of(tiny_world, tmp_path, grid=asked)
    assert grid.main(["--spec", str(spec), "--out", str(tmp_path / "g")]) == 2
    assert sentence in capsys.readouterr().err
    assert not list(tmp_path.glob("g.*"))
