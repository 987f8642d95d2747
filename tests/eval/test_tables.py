"""Tables of planted scores: cells, marks, notes, costs, differences, in every format."""

import json
import re

import numpy as np
import pandas as pd
import pytest

from eval import score, tables
from eval.analysis import differences
from eval.analysis.columns import Column
from eval.analysis.statistics import t_interval
from eval.metrics.catalogue import metric
from eval.observation import Observation, load_observation
from eval.score import COLUMNS
from nada.run.errors import UserError
from nada.run.spec.group_spec import DifferenceSpec, read_group_spec

MEMBERS = ["source-unchanged", "nada-global", "nada-adaptive"]


def group_of(world, tmp_path, members=MEMBERS, **changes):
    (tmp_path / "group.json").write_text(json.dumps(world.group(members, **changes)))
    return tmp_path / "group.json"


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
    group = read_group_spec(group_of(tiny_world, tmp_path, table=columns))
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
        "NADA global loss", "NADA adaptive", "source model, unchanged", "real images (two halves)",
    ]  # fmt: skip


def test_halves_of_the_references_and_single_seeds_have_no_interval(planted):
    source, real = planted[".md"].splitlines()[6:8]
    assert "90.00 " in source and "±" not in source
    assert "0.980 " in real and "±" not in real and "–" in real


def test_the_html_page_holds_the_same_cells_as_the_markdown_and_escapes_text(planted):
    lines = [line for line in planted[".md"].splitlines() if line.startswith("|")]
    shown = [cell.strip().strip("*") for line in lines for cell in line.strip("|").split("|")]
    cells = re.findall(r"<t[hd](?: [^>]*)?>(?:<b>)?(.*?)(?:</b>)?</t[hd]>", planted[".html"])
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


def test_a_latex_table_is_a_float_that_fits_its_column_and_names_its_packages(planted):
    text = planted[".tex"]
    assert text.startswith("% Needs in the preamble: \\usepackage{booktabs,graphicx}\n")
    assert text.count(r"\begin{table}[t]") == text.count(r"\caption{") == text.count(r"\end{table}") >= 1
    assert r"\ifdim\wd0>\linewidth\resizebox{\linewidth}{!}{\usebox0}\else\usebox0\fi" in text


def test_the_html_page_fits_a_phone_and_has_a_dark_mode_and_heads_that_stay(planted):
    page = planted[".html"]
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in page
    assert "color-scheme: light dark" in page and "position: sticky" in page and "http" not in page


def test_the_numbers_beside_the_table_equal_the_scores(planted, tmp_path):
    (tmp_path / "t.csv").write_text(planted[".csv"])
    frame = pd.read_csv(tmp_path / "t.csv").set_index("row")
    assert frame.loc["NADA adaptive", "fid"] == 12.0
    assert frame.loc["NADA adaptive", "fid_n"] == 3
    assert np.isnan(frame.loc["NADA global loss", "source_lpips"])


def test_few_images_per_feature_are_noted_in_the_footer(tiny_world, tmp_path):
    group = read_group_spec(group_of(tiny_world, tmp_path, table=["fid"]))
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
    spec = group_of(tiny_world, tmp_path, table=["target_rate"], oracle=["target_rate"])
    made = tables.make(read_group_spec(spec), with_snapshots(PLANTED, steps))
    (tmp_path / "t.csv").write_text(made[".csv"])
    frame = pd.read_csv(tmp_path / "t.csv").set_index("row")
    best = frame["target_rate_oracle"]
    assert best["NADA global loss"] == pytest.approx(np.mean([0.9, 0.4, 0.3]))
    assert best.drop("NADA global loss").isna().all()
    assert "target rate, best snapshot ↑" in made[".md"] and "on 8 images: an oracle" in made[".md"]
    described = read_group_spec(
        group_of(tiny_world, tmp_path, table=["source_lpips"], oracle=["source_lpips"])
    )
    with pytest.raises(UserError, match="source_lpips has no best value"):
        tables.make(described, table_scores(PLANTED))


def test_differences_are_paired_over_seeds_and_tested_only_from_five_on(tiny_world, tmp_path):
    def made(ours, theirs):
        cells = PLANTED | {("nada", "global"): {"fid": theirs}, ("nada", "adaptive"): {"fid": ours}}
        pair = {"method": "nada", "baseline": "global", "variants": ["adaptive"]}
        group = read_group_spec(group_of(tiny_world, tmp_path, table=["fid"], differences=[pair]))
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
    group["rows"][-1]["shots"] = 10
    (tmp_path / "group.json").write_text(json.dumps(group))
    scores = table_scores(cells)
    scores.loc[scores.method == "replay", "shots"] = 10
    made = tables.make(read_group_spec(tmp_path / "group.json"), scores)
    line = next(line for line in made[".md"].splitlines() if "replayed" in line)
    assert "the 10 target images, replayed" in line and "–" in line and "**" not in line


def test_rows_of_other_groups_are_left_out_and_missing_ones_are_named(tiny_world, tmp_path):
    more = PLANTED | {("nada", "elsewhere"): {"fid": [1.0]}}
    group = read_group_spec(group_of(tiny_world, tmp_path, table=["fid"]))
    assert "elsewhere" not in tables.make(group, table_scores(more))[".md"]
    fewer = {key: values for key, values in PLANTED.items() if key[1] != "global"}
    with pytest.raises(UserError, match="no score of world 'tiny' for dog2cat, nada, global"):
        tables.make(group, table_scores(fewer))


def test_an_unknown_column_is_an_error_that_lists_the_metrics():
    with pytest.raises(UserError, match="no metric is called 'fidd'; known: accepted_lpips, clu"):
        metric("fidd")


def test_the_tables_command_writes_four_files(scored_world, tmp_path, capsys):
    spec = str(scored_world.folder / "group.json")
    arguments = ["--spec", spec, "--out", str(tmp_path / "t"), "--scores"]
    assert tables.main([*arguments, str(scored_world.folder / "scores.csv")]) == 0
    assert {p.name for p in tmp_path.glob("t.*")} == {"t.csv", "t.md", "t.html", "t.tex"}
    assert tables.main([*arguments, str(tmp_path / "nowhere.csv")]) == 2
    assert "no such scores table" in capsys.readouterr().err


# ---- what a reader could take wrong ---------------------------------------------------------------


def made_of(world, folder, cells, **changes) -> dict:
    return tables.make(read_group_spec(group_of(world, folder, **changes)), table_scores(cells))


def two(**metrics) -> dict:
    """PLANTED with these values of `global` and `adaptive`: metric=(global's, adaptive's)."""
    pairs = {
        name: {m: v[i] for m, v in metrics.items()} for i, name in enumerate(("global", "adaptive"))
    }
    return PLANTED | {("nada", name): values for name, values in pairs.items()}


def test_a_column_in_which_all_are_equal_has_no_best(tiny_world, tmp_path):
    cells = two(fid=([30.0], [20.0]), recall=([0.0], [0.0001]), none_rate=([0.5], [0.5]))
    table = made_of(tiny_world, tmp_path, cells, table=["fid", "recall", "none_rate"])[".md"]
    lines = [line for line in table.splitlines() if line.startswith("| dog2cat")]
    assert [line.count("**") // 2 for line in lines[:2]] == [0, 1]  # 20.00 alone
    assert "unless all are equal" in table


@pytest.mark.parametrize("psi", [1.0, 0.7, 0.05])
def test_a_truncation_of_the_measured_images_is_said_in_title_and_note(tiny_world, tmp_path, psi):
    texts = made_of(tiny_world, tmp_path, PLANTED, table=["fid"], truncation_psi=psi)
    for ending in (".md", ".html", ".tex"):
        said = f"All images are generated at truncation {psi:g}." in texts[ending]
        assert said == (f"(measured images: truncation {psi:g})" in texts[ending]) == (psi != 1)


def test_two_questions_to_the_judge_are_told_apart_where_the_target_is_a_style(
    tiny_world, tmp_path
):
    cells = two(target_rate=([1.0], [0.9]), none_rate=([1.0], [0.1]))
    kinds = {"target": ["style", "sketch"]}, {"target": ["class", "cat"]}
    for kind, said in zip(kinds, (True, False), strict=True):
        tasks = {"dog2cat": {"real": str(tiny_world.folder / "real.npz"), **kind}}
        shown = ["target_rate", "none_rate"]
        texts = made_of(tiny_world, tmp_path, cells, table=shown, tasks=tasks)
        assert ("both can be near 1" in texts[".md"]) == said and texts[".tex"].isascii()


def test_columns_that_a_world_cannot_measure_are_named_with_the_reason(tiny_world, tmp_path):
    cells = {("nada", name): {"intra_cluster_lpips": [1.0]} for name in ("global", "adaptive")}
    cells |= {key: {"intra_cluster_lpips": [1.0]} for key in (("source", "unchanged"), ("real", ""))}
    text = made_of(tiny_world, tmp_path, cells, table=["fid", "intra_cluster_lpips", "target_rate"])[
        ".md"
    ]
    assert "Not measured: target rate; this world has no judge of classes." in text
    assert "Not measured: FID; these tasks have no reference images." in text


def test_a_column_without_a_value_blames_no_judge_and_no_images_that_are_there(tiny_world, tmp_path):
    """No picture was accepted, and the group compares no models: the judge and the images exist."""
    measured = {"fid": [1.0], "target_rate": [0.0]}
    cells = {("nada", name): measured for name in ("global", "adaptive")}
    cells |= {key: measured for key in (("source", "unchanged"), ("real", ""))}
    columns = ["fid", "target_rate", "accepted_lpips", "preference"]
    text = made_of(tiny_world, tmp_path, cells, table=columns)[".md"]
    assert "Without a value in any row: mean LPIPS of accepted, comparisons won." in text
    assert "no judge" not in text and "no reference images" not in text


def test_copies_among_the_real_images_are_counted_and_noted(tiny_world, tmp_path):
    real = load_observation(tiny_world.folder / "real.npz")
    arrays = {**real.arrays, "half1/features": real["half0/features"]}
    rows = pd.DataFrame(score.score_real(Observation(real.meta, arrays), 4))
    copies = rows[rows.metric == "reference_copies"]
    assert copies.value.tolist() == [60] and copies.n.tolist() == [120]
    cells = PLANTED | {("real", ""): {"fid": [0.1], "reference_copies": [60]}}
    text = made_of(tiny_world, tmp_path, cells, table=["fid", "precision"])[".md"]
    assert "Real images of dog2cat: 60 of" in text and "count repeated images once" in text


def test_a_row_says_how_long_it_was_trained_and_what_it_cost(tiny_world, tmp_path):
    group = tiny_world.group(MEMBERS, table=["fid"])
    group["tasks"]["dog2cat"]["target"] = ["class", "cat"]
    for entry in group["rows"]:
        folder = tmp_path / entry["variant"]
        folder.mkdir()
        steps = 0 if entry["method"] == "source" else 240
        cost = {"iterations": steps, "images_seen": 960, "clip_calls": 9, "wall_seconds": 17.3}
        (folder / "cost.json").write_text(json.dumps(cost))
        told = {"method": entry["method"], "task": "dog2cat", "hyperparameters": {"iterations": steps}}
        (folder / "run.json").write_text(json.dumps({"spec": told}))
        entry["runs"] = [{"seed": 0, "curves": "-", "costs": [str(folder / "cost.json")]}]
    (tmp_path / "group.json").write_text(json.dumps(group))
    texts = tables.make(read_group_spec(tmp_path / "group.json"), table_scores(PLANTED))
    for ending in (".md", ".html", ".tex"):
        assert "240 of the 2,000 published iterations (Table 3), s = 0.12" in texts[ending]
        assert texts[ending].count("17.3") == 3 and "seconds" in texts[ending]
    (tmp_path / "t.csv").write_text(texts[".csv"])
    frame = pd.read_csv(tmp_path / "t.csv").set_index("row")
    assert frame.loc["NADA global loss", ["iterations", "s", "wall_seconds"]].tolist() == [
        240,
        0.12,
        17.3,
    ]
    assert np.isnan(frame.loc["real images (two halves)", "iterations"])


# ---- differences ----------------------------------------------------------------------------------


def models(*keys):
    """Scores of two seeds for each (method, variant, shots, warm start)."""
    rows = [
        ["tiny", "dog2cat", *key, seed, "last", "final", "fid", 10.0 * place + seed, 9]
        for place, key in enumerate(keys)
        for seed in (0, 1)
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def test_differences_pair_models_by_their_full_identity():
    keys = [
        (method, variant, shots, start)
        for method in ("tgan", "ojha")
        for variant in ("plain", "slow")
        for shots in (5, 10)
        for start in ("source", "nada")
    ]
    column = [Column(metric("fid"))]
    rows = differences.found(models(*keys), column, [DifferenceSpec(method="tgan", baseline="plain", variants=("slow",))])
    assert len(rows) == 4
    for _, variant, baseline, cells in rows:
        assert variant == ("tgan", "slow", *baseline[2:]) and baseline[:2] == ("tgan", "plain")
        place = 10.0 * (keys.index(variant) - keys.index(baseline))
        assert cells[0].mean == place and cells[0].half == 0
    shown = differences.frame(rows, column)
    assert shown.variant.tolist()[:2] == ["slow, 5-shot", "slow, 5-shot, from pre-trained G"]
    assert shown.minus.tolist()[:2] == ["TGAN, 5-shot", "TGAN, 5-shot, from pre-trained G"]


def test_a_baseline_of_one_model_is_that_of_variants_with_other_shots():
    keys = [("nada", "adaptive", 0, "source"), ("nada", "images", 3, "source")]
    column = [Column(metric("fid"))]
    rows = differences.found(models(*keys), column, [DifferenceSpec(method="nada", baseline="adaptive", variants=("images",))])
    assert [row[1:3] for row in rows] == [(keys[1], keys[0])]
