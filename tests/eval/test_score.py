"""Scores, tables and grids of a group, from files to files."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cleanfid.fid import fid_from_feats
from PIL import Image

from eval import galleries, observe, score, tables
from eval.metrics import METRICS, metric
from eval.observation import Observation, load_observation, save_observation
from eval.precision_recall import precision_recall
from eval.score import COLUMNS, read_scores
from eval.settings import read_group
from eval.statistics import t_interval
from nada.errors import UserError

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
    elsewhere = {"fid_legacy_pytorch", "reference_copies"}  # of published networks; of sets with copies
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
    look = tiny_world.look(method="replay", variant="images")
    (tmp_path / "look.json").write_text(json.dumps(look))
    (tmp_path / "replay.json").write_text(json.dumps(tiny_world.group(["replay-images"])))
    group = json.loads((tmp_path / "replay.json").read_text())
    group["observations"][0]["file"] = str(tmp_path / "replay-images.npz")
    (tmp_path / "replay.json").write_text(json.dumps(group))
    paths = [
        "--settings",
        str(tmp_path / "look.json"),
        "--out",
        str(tmp_path / "replay-images.npz"),
    ]
    assert observe.main(paths) == 0
    arguments = ["--settings", str(tmp_path / "replay.json"), "--out", str(tmp_path / "s.csv")]
    assert score.main(arguments) == 0
    found = read_scores(tmp_path / "s.csv")
    found = set(found[found.method == "replay"].metric)
    missing = set(METRICS) - found - {"fid_legacy_pytorch"}
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
    settings = str(scored_world.folder / "group.json")
    assert score.main(["--settings", settings, "--out", str(tmp_path / "again.csv")]) == 0
    wanted = (scored_world.folder / "scores.csv").read_bytes()
    assert (tmp_path / "again.csv").read_bytes() == wanted


def group_of(world, tmp_path, members=MEMBERS, **changes):
    (tmp_path / "group.json").write_text(json.dumps(world.group(members, **changes)))
    return tmp_path / "group.json"


def test_another_referee_is_refused(tiny_world, scikit_learn_extra, tmp_path, capsys):
    seen = load_observation(tiny_world.folder / "nada-adaptive.npz")
    meta = seen.meta | {"hashes": seen.meta["hashes"] | {"judge": "another"}}
    save_observation(tmp_path / "other.npz", Observation(meta, seen.arrays))
    group = tiny_world.group(["nada-adaptive"])
    group["observations"][0]["file"] = str(tmp_path / "other.npz")
    (tmp_path / "group.json").write_text(json.dumps(group))
    arguments = ["--settings", str(tmp_path / "group.json"), "--out", str(tmp_path / "s.csv")]
    assert score.main(arguments) == 2
    assert "seen by another judge network" in capsys.readouterr().err


def test_more_clusters_than_images_are_refused(tiny_world, tmp_path, capsys):
    counts = {
        "fid_images": 60,
        "diversity_images": 40,
        "gallery_images": 8,
        "k_medoids": 30,
        "snapshot_images": 8,
    }
    settings = group_of(tiny_world, tmp_path, evaluation=counts)
    assert score.main(["--settings", str(settings), "--out", str(tmp_path / "s.csv")]) == 2
    assert "k=30 clusters asked of 24 images" in capsys.readouterr().err


def test_a_missing_observation_is_one_sentence(tiny_world, scikit_learn_extra, tmp_path, capsys):
    settings = group_of(tiny_world, tmp_path, ["nada-nowhere"])
    assert score.main(["--settings", str(settings), "--out", str(tmp_path / "s.csv")]) == 2
    said = capsys.readouterr().err
    assert "no such observation" in said and said.count("\n") == 1


def test_every_command_parses_its_arguments_before_it_imports_torch():
    code = (
        "import sys\n"
        "from eval import galleries, observe, score, tables\n"
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=True)


# ---- tables -------------------------------------------------------------------------------------


def table_scores(cells, n=1000):
    """Scores of {(method, variant): {metric: [value per seed]}} in one task."""
    return pd.DataFrame(
        [
            ["tiny", "dog2cat", method, variant, 0, "source", seed, "last", "final", name, v, n]
            for (method, variant), values in cells.items()
            for name, seeds in values.items()
            for seed, v in enumerate(seeds)
        ],
        columns=COLUMNS,
    )


PLANTED = {
    ("real", ""): {"fid": [0.5], "target_rate": [0.99, 0.97]},
    ("source", "unchanged"): {"fid": [90.0], "target_rate": [1.0], "source_lpips": [0.0]},
    ("nada", "global"): {"fid": [30, 32, 31], "target_rate": [0.1, 0.2, 0.3]},
    ("nada", "adaptive"): {"fid": [11, 14, 11], "target_rate": [0.7, 0.9, 0.8]},
}


@pytest.fixture
def planted(tiny_world, tmp_path):
    columns = ["fid", "target_rate", "source_lpips"]
    group = read_group(group_of(tiny_world, tmp_path, table=columns))
    return tables.make(group, table_scores(PLANTED))


def test_a_cell_is_the_mean_over_seeds_with_its_t_interval(planted):
    mean, half = t_interval([11, 14, 11])
    line = next(line for line in planted[".md"].splitlines() if "adaptive" in line)
    assert f"**{mean:.2f} ± {half:.2f}**" in line and line.rstrip(" |").endswith("3")


def test_bold_and_arrows_follow_the_metric_and_bounds_are_never_best(planted):
    heads, _, *lines = [line for line in planted[".md"].splitlines() if line.startswith("|")]
    assert "FID ↓" in heads and "target rate ↑" in heads and "LPIPS to source  " in heads
    assert [line.count("**") // 2 for line in lines] == [0, 2, 0, 0]
    labels = [line.split("|")[2].strip() for line in lines]
    assert labels == [
        "nada global", "nada adaptive", "source model, unchanged", "real images (two halves)",
    ]  # fmt: skip


def test_halves_of_the_references_and_single_seeds_have_no_interval(planted):
    source, real = planted[".md"].splitlines()[6:8]
    assert "90.00 " in source and "±" not in source
    assert "0.980 " in real and "±" not in real and "–" in real


def test_the_html_page_holds_the_same_cells_as_the_markdown_and_escapes_text(planted):
    lines = [line for line in planted[".md"].splitlines() if line.startswith("|")]
    shown = [cell.strip().strip("*") for line in lines for cell in line.strip("|").split("|")]
    cells = re.findall(r"<t[hd]>(?:<b>)?(.*?)(?:</b>)?</t[hd]>", planted[".html"])
    assert cells == [cell for cell in shown if not re.fullmatch(r":?-+:?", cell)]
    assert planted[".html"].count("<b>") == planted[".md"].count("**") // 2 - 1  # less the title
    assert "losses &amp; layers" in planted[".html"]


def test_the_world_is_in_the_title_and_the_footer_says_what_was_measured(planted):
    assert planted[".md"].splitlines()[0] == "**World tiny: losses & layers**"
    assert r"\caption{World tiny: losses \& layers}" in planted[".tex"]
    assert "1000 generated images" in planted[".md"] and "1–3 seeds" in planted[".md"]


def test_the_latex_table_is_a_booktabs_table_without_unescaped_characters(planted):
    text = planted[".tex"]
    for part in (r"\toprule", r"\midrule", r"\bottomrule", r"\textbf{12.00 $\pm$", r"\downarrow"):
        assert part in text
    assert text.isascii()
    assert text.count("{") == text.count("}")
    for line in text.split(r"\midrule")[1].split(r"\bottomrule")[0].strip().splitlines():
        assert line.count("&") == 5 and line.endswith(r"\\")


def test_the_numbers_beside_the_table_equal_the_scores(planted, tmp_path):
    (tmp_path / "t.csv").write_text(planted[".csv"])
    frame = pd.read_csv(tmp_path / "t.csv").set_index("row")
    assert frame.loc["nada adaptive", "fid"] == 12.0
    assert frame.loc["nada adaptive", "fid_n"] == 3
    assert np.isnan(frame.loc["nada global", "source_lpips"])


def test_few_images_per_feature_are_said_in_the_footer(tiny_world, tmp_path):
    group = read_group(group_of(tiny_world, tmp_path, table=["fid"]))
    few = {key: values | {"fid_images_per_feature": [1.4]} for key, values in PLANTED.items()}
    assert "Fewer than 2 images per feature" in tables.make(group, table_scores(few))[".md"]


def with_snapshots(cells, steps):
    """`table_scores` with target rates of snapshots: {variant: {step: [value per seed]}}."""
    rows = [
        ["tiny", "dog2cat", "nada", variant, 0, "source", seed, str(step), "final", "target_rate", v, 8]
        for variant, of_step in steps.items()
        for step, values in of_step.items()
        for seed, v in enumerate(values)
    ]  # fmt: skip
    return pd.concat([table_scores(cells), pd.DataFrame(rows, columns=COLUMNS)])


def test_an_oracle_column_holds_each_seeds_best_snapshot(tiny_world, tmp_path):
    steps = {
        "global": {10: [0.9, 0.1, 0.2], 20: [0.1, 0.4, 0.3]},
        "adaptive": {20: [0.7, 0.9, 0.8]},  # one snapshot: nothing to choose from
    }
    settings = group_of(tiny_world, tmp_path, table=["target_rate"], oracle=["target_rate"])
    made = tables.make(read_group(settings), with_snapshots(PLANTED, steps))
    (tmp_path / "t.csv").write_text(made[".csv"])
    frame = pd.read_csv(tmp_path / "t.csv").set_index("row")
    best = frame["target_rate_oracle"]
    assert best["nada global"] == pytest.approx(np.mean([0.9, 0.4, 0.3]))
    assert best.drop("nada global").isna().all()
    assert "target rate, best snapshot ↑" in made[".md"] and "on 8 images: an oracle" in made[".md"]
    described = read_group(
        group_of(tiny_world, tmp_path, table=["source_lpips"], oracle=["source_lpips"])
    )
    with pytest.raises(UserError, match="source_lpips has no best value"):
        tables.make(described, table_scores(PLANTED))


def test_differences_are_paired_over_seeds_and_tested_only_from_five_on(tiny_world, tmp_path):
    def made(ours, theirs):
        cells = PLANTED | {("nada", "global"): {"fid": theirs}, ("nada", "adaptive"): {"fid": ours}}
        against = [{"baseline": "global", "variants": ["adaptive"]}]
        group = read_group(group_of(tiny_world, tmp_path, table=["fid"], against=against))
        texts = tables.make(group, table_scores(cells))
        assert "Holm-corrected" in texts[".md"] and "Holm-corrected" in texts[".html"]
        return [line for line in texts[".md"].splitlines() if "| global" in line][-1]

    theirs = [30.0, 31.0, 29.0, 35.0, 33.0]
    ours = [x - d for x, d in zip(theirs, (1, 2, 1.5, 3, 2.5), strict=True)]
    mean, half = t_interval([-1, -2, -1.5, -3, -2.5])
    assert f"{mean:+.2f} ± {half:.2f}, p 0.062" in made(ours, theirs)  # 2 of 2^5 choices of signs
    assert "undecided" in made(ours[:4], theirs[:4])
    assert made(ours[:1], theirs[:1]).count("±") == 0
    # seeds that only one of the two has are left out
    assert f"{np.mean([-1, -2]):+.2f} ±" in made(ours[:2], theirs)


def test_a_table_without_pairs_has_no_second_one(planted):
    assert planted[".md"].count("| task") == 1 and "paired" not in planted[".html"]


def test_the_replayed_images_are_a_bound_with_empty_cells(tiny_world, tmp_path):
    cells = PLANTED | {("replay", "images"): {"fid": [1.0], "target_rate": [1.0]}}
    group = tiny_world.group([*MEMBERS, "replay-images"], table=["fid", "retrieval_top1"])
    group["observations"][-1]["shots"] = 10
    (tmp_path / "group.json").write_text(json.dumps(group))
    scores = table_scores(cells)
    scores.loc[scores.method == "replay", "shots"] = 10
    made = tables.make(read_group(tmp_path / "group.json"), scores)
    line = next(line for line in made[".md"].splitlines() if "replayed" in line)
    assert "the 10 target images, replayed" in line and "–" in line and "**" not in line


def test_rows_of_other_groups_are_left_out_and_missing_ones_are_named(tiny_world, tmp_path):
    more = PLANTED | {("nada", "elsewhere"): {"fid": [1.0]}}
    group = read_group(group_of(tiny_world, tmp_path, table=["fid"]))
    assert "elsewhere" not in tables.make(group, table_scores(more))[".md"]
    fewer = {key: values for key, values in PLANTED.items() if key[1] != "global"}
    with pytest.raises(UserError, match="no score of world 'tiny' for dog2cat, nada, global"):
        tables.make(group, table_scores(fewer))


def test_an_unknown_column_is_an_error_that_lists_the_metrics():
    with pytest.raises(UserError, match="no metric is called 'fidd'; known: fid, kid"):
        metric("fidd")


def test_the_tables_command_writes_four_files(scored_world, tmp_path, capsys):
    settings = str(scored_world.folder / "group.json")
    arguments = ["--settings", settings, "--out", str(tmp_path / "t"), "--scores"]
    assert tables.main([*arguments, str(scored_world.folder / "scores.csv")]) == 0
    assert {p.name for p in tmp_path.glob("t.*")} == {"t.csv", "t.md", "t.html", "t.tex"}
    assert tables.main([*arguments, str(tmp_path / "nowhere.csv")]) == 2
    assert "no such scores table" in capsys.readouterr().err


# ---- grids --------------------------------------------------------------------------------------


def test_a_grid_shows_the_source_first_then_every_variant_on_the_same_latents(tiny_world, tmp_path):
    settings = group_of(tiny_world, tmp_path)
    prefix = str(tmp_path / "ablation_grid")
    assert galleries.main(["grid", "--settings", str(settings), "--out", prefix]) == 0
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
    assert galleries.fitted(small).shape == (2, 96, 96, 3)
    assert np.array_equal(galleries.fitted(small)[:, ::3, ::3], small)
    assert galleries.fitted(np.zeros((1, 128, 128, 3), np.uint8)).shape == (1, 128, 128, 3)
    large = np.full((1, 512, 512, 3), 7, np.uint8)
    assert np.array_equal(galleries.fitted(large), np.full((1, 192, 192, 3), 7, np.uint8))


def test_a_columns_title_says_from_where_its_training_started():
    meta = {"method": "tgan", "variant": "plain", "shots": 10, "warm_start": "nada_finetuned_gd"}
    assert galleries._title(meta) == "tgan\nplain\n10-shot\nfrom nada\nfinetuned gd"
    assert galleries._title({**meta, "warm_start": "source"}) == "tgan\nplain\n10-shot"


@pytest.mark.parametrize(
    "grid, sentence",
    [
        ({"rows": 9, "truncation_psi": 0.7}, "set grid.rows to 1..8"),
        ({"rows": 2, "truncation_psi": 0.5}, "choose one of 0.7, 1.0"),
    ],
)
def test_a_grid_of_images_that_were_not_kept_is_refused(
    tiny_world, tmp_path, capsys, grid, sentence
):
    settings = group_of(tiny_world, tmp_path, grid=grid)
    assert galleries.main(["grid", "--settings", str(settings), "--out", str(tmp_path / "g")]) == 2
    assert sentence in capsys.readouterr().err
    assert not list(tmp_path.glob("g.*"))
