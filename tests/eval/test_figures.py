"""Training curves, chosen layers, the sweep: numbers against hand-made curves, files, palette."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from eval.analysis.statistics import t_interval
from eval.figures import chosen_layers, drawing, losses, palette, pareto, sweep, training_curves
from eval.score import COLUMNS
from nada.run.errors import UserError
from nada.run.spec.group_spec import read_group_spec

STEPS = 40
VARIANTS = {"k_1": 1, "adaptive": 2, "all_layers": 3}


def curves(folder, variant, seed, k):
    """Curves whose loss falls in a straight line; layer 0 is chosen in the first half only."""
    rows = {"step": range(1, STEPS + 1), "loss": np.linspace(1, 0, STEPS) + seed}
    if variant != "all_layers":
        rows["image_change"] = 0.5
        first, second = (" ".join(map(str, range(start, start + k))) for start in (0, 1))
        rows["layers"] = [first] * (STEPS // 2) + [second] * (STEPS // 2)
    path = folder / f"{variant}{seed}.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    return str(path)


@pytest.fixture
def made(tmp_path):
    """(group spec, scores file) of a sweep with two seeds and the bounds."""
    entries, rows = [], []

    def scored(method, variant, step, name, values):
        head = ["tiny", "dog2cat", method, variant, 0, "source"]
        rows.extend([*head, s, step, "final", name, v, 60] for s, v in enumerate(values))

    for variant, k in VARIANTS.items():
        runs = [{"seed": s, "curves": curves(tmp_path, variant, s, k)} for s in (0, 1)]
        entries.append(
            {"task": "dog2cat", "method": "nada", "variant": variant, "shots": 0, "runs": runs,
             "warm_start": "source", "layers": k, "chooses_layers": k < 3, "observation": "-"}
        )  # fmt: skip
        scored("nada", variant, "last", "fid", [10 * k, 10 * k + 2])
        for step in ("9", "40", "10"):
            scored("nada", variant, step, "target_rate", [int(step) / 40, 0.5])
    scored("source", "unchanged", "last", "fid", [90.0, 90.0])
    scored("source", "unchanged", "0", "target_rate", [0.0, 0.0])
    scored("real", "", "last", "fid", [0.5])
    entries.append(
        {"task": "dog2cat", "method": "source", "variant": "unchanged", "shots": 0,
         "observation": "-", "warm_start": "source", "chooses_layers": False, "runs": []}
    )  # fmt: skip
    group = {
        "name": "k_sweep", "title": "k", "world": "tiny", "preset": "default", "device": "cpu",
        "tasks": {"dog2cat": {"real": "-"}}, "rows": entries, "sweep": ["fid"], "convolutions": 3,
    }  # fmt: skip
    (tmp_path / "group.json").write_text(json.dumps(group))
    pd.DataFrame(rows, columns=COLUMNS).to_csv(tmp_path / "scores.csv", index=False)
    return str(tmp_path / "group.json"), str(tmp_path / "scores.csv")


def drawn(module, made, prefix):
    """Run a figure's command; returns its numbers."""
    assert module.main(["--spec", made[0], "--scores", made[1], "--out", str(prefix)]) == 0
    return pd.read_csv(f"{prefix}.csv", dtype={"quarter": str, "layer": str})


def test_the_share_of_a_layer_is_counted_by_quarter_and_over_all(made, tmp_path):
    table = drawn(chosen_layers, made, tmp_path / "layers")
    assert set(table.variant) == {"k_1", "adaptive"}  # all_layers chooses nothing
    found = table[table.variant == "adaptive"].pivot(
        index="quarter", columns="layer", values="mean"
    )
    assert found.loc["1"].tolist() == found.loc["2"].tolist() == [1, 1, 0]
    assert found.loc["3"].tolist() == found.loc["4"].tolist() == [0, 1, 1]
    assert found.loc["all"].tolist() == [0.5, 1, 0.5]
    assert (table.n == 2).all()


def test_shares_of_each_quarter_sum_to_k_and_odd_lengths_lose_no_step():
    rng = np.random.default_rng(0)
    names = [str(i) for i in range(7)]
    chosen = [" ".join(rng.choice(names, 3, replace=False)) for _ in range(41)]
    found = chosen_layers.shares(pd.Series(chosen), names)
    for quarter in ("1", "2", "3", "4", "all"):
        assert sum(v for (q, _), v in found.items() if q == quarter) == pytest.approx(3)
    whole = sum(n * found[q, "3"] for q, n in zip("1234", (11, 10, 10, 10), strict=True)) / 41
    assert found["all", "3"] == pytest.approx(whole)
    assert set(chosen_layers.shares(pd.Series(["0", "1"]), names)) == {
        (quarter, name) for quarter in ("1", "2", "all") for name in names
    }


def test_what_only_the_official_slot_map_chooses_has_a_bar_of_its_own(made):
    group = read_group_spec(made[0])
    path = Path(group.rows[0].runs[0].curves)
    path.write_text(path.read_text().replace(",0\n", ",0 to_rgb\n"))
    table = chosen_layers.data(group)
    assert list(dict.fromkeys(table[table.variant == "k_1"].layer)) == ["0", "1", "2", "to_rgb"]


def test_smoothing_keeps_lines_straight_means_exact_and_the_last_step():
    line = pd.Series(np.arange(400.0), index=range(1, 401))
    smoothed = losses.smooth(line)
    assert len(smoothed) == 50 and smoothed.index[-1] == 400
    inner = smoothed.loc[20:380]
    # an even window of 20 is centred half a step late
    np.testing.assert_allclose(inner.to_numpy(), inner.index - 1 - 0.5)
    noise = pd.Series(np.random.default_rng(0).normal(size=400), index=line.index)
    assert losses.smooth(noise).std() < noise.std() / 3
    assert losses.smooth(line.iloc[:8]).tolist() == line.iloc[:8].tolist()


def test_losses_and_snapshots_are_drawn_as_means_over_seeds(made, tmp_path):
    table = drawn(losses, made, tmp_path / "losses")
    loss = table[(table.variant == "adaptive") & (table.quantity == "loss")]
    wanted = losses.smooth(pd.Series(np.linspace(1, 0, STEPS), index=range(1, STEPS + 1))) + 0.5
    np.testing.assert_allclose(loss["mean"], wanted, atol=1e-6)
    table = drawn(training_curves, made, tmp_path / "training")
    assert "source" not in set(table.method)  # one snapshot is no training
    rate = table[(table.variant == "adaptive") & (table.quantity == "target_rate")]
    assert rate.step.tolist() == [9, 10, 40]  # in order of time, not of text
    mean, half = t_interval([10 / 40, 0.5])
    assert rate.iloc[1][["mean", "half_width"]].tolist() == pytest.approx([mean, half], abs=1e-6)


def test_training_is_drawn_against_seconds_too_those_of_the_runs_gone_on_from_first(made, tmp_path):
    content = json.loads(Path(made[0]).read_text())
    for seconds, name in ((20.0, "own"), (30.0, "parent")):
        cost = {"iterations": STEPS, "images_seen": 1, "clip_calls": 0, "wall_seconds": seconds}
        (tmp_path / f"{name}.json").write_text(json.dumps(cost))
    costs = [str(tmp_path / "own.json"), str(tmp_path / "parent.json")]
    for entry in content["rows"][:2]:
        for run in entry["runs"]:
            run["costs"] = costs[: 1 + (entry["variant"] == "adaptive")]
    Path(made[0]).write_text(json.dumps(content))
    table = drawn(training_curves, made, tmp_path / "training")
    table = table[table.quantity == "target_rate"].set_index(["variant", "step"]).seconds
    assert table["k_1"].to_dict() == {9: 4.5, 10: 5.0, 40: 20.0}
    assert table["adaptive"].to_dict() == {9: 34.5, 10: 35.0, 40: 50.0}
    assert table["all_layers"].isna().all()  # no record, no line
    picture = (tmp_path / "training.svg").read_text()
    assert "seconds" in picture and "step" in picture


def test_fid_is_drawn_where_a_training_ends_and_where_it_begins(made, tmp_path):
    table = drawn(training_curves, made, tmp_path / "training")
    fid = table[(table.variant == "adaptive") & (table.quantity == "fid")].set_index("step")
    assert fid["mean"].to_dict() == {0: 90, 40: 21}  # the source model's, then its own
    assert set(fid.images) == {60} and set(fid.n) == {2}


def test_the_sweep_has_one_point_per_k_and_its_bounds(made, tmp_path):
    table = drawn(sweep, made, tmp_path / "sweep").set_index("k")
    assert table.loc[[1, 2, 3], "mean"].tolist() == [11, 21, 31]
    assert set(table.loc[0, "method"]) == {"source", "real"}
    assert table.loc[1, "half_width"] == pytest.approx(t_interval([10, 12])[1], abs=1e-6)


def test_conditions_with_other_shots_have_points_of_their_own_in_the_sweep(made, tmp_path):
    content = json.loads(Path(made[0]).read_text())
    scores = pd.read_csv(made[1])
    entry = {**content["rows"][0], "shots": 3, "runs": []}
    content["rows"].append(entry)
    more = scores[(scores.variant == "k_1") & (scores.step == "last")].assign(shots=3, value=99.0)
    Path(made[0]).write_text(json.dumps(content))
    pd.concat([scores, more]).to_csv(made[1], index=False)
    table = drawn(sweep, made, tmp_path / "sweep").set_index(["k", "shots"])
    assert [table.loc[(1, shots), "mean"].item() for shots in (0, 3)] == [11, 99]
    assert [table.loc[(1, shots), "n"].item() for shots in (0, 3)] == [2, 2]


@pytest.mark.parametrize("module", [training_curves, losses, chosen_layers, sweep])
def test_a_figure_is_a_vector_file_a_picture_and_repeats_itself(made, tmp_path, module):
    first, second = tmp_path / "one", tmp_path / "two"
    drawn(module, made, first), drawn(module, made, second)
    for ending in (".svg", ".pdf", ".png", ".csv"):
        files = [prefix.with_suffix(ending).read_bytes() for prefix in (first, second)]
        assert files[0] == files[1] and len(files[0]) > 100
    assert b"<svg" in first.with_suffix(".svg").read_bytes()
    assert first.with_suffix(".pdf").read_bytes().startswith(b"%PDF")
    assert first.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_what_cannot_be_drawn_is_one_sentence(made, tmp_path, capsys):
    group = read_group_spec(made[0])
    with pytest.raises(UserError, match="no such curves"):
        drawing.read_curves(tmp_path / "nowhere.csv")
    lonely = group.model_copy(update={"rows": group.rows[:1]})
    with pytest.raises(UserError, match="two or more values of k"):
        sweep.data(lonely, pd.read_csv(made[1]))
    still = group.model_copy(update={"rows": group.rows[2:]})
    with pytest.raises(UserError, match="none of its conditions selects layers"):
        chosen_layers.data(still)
    Path(group.rows[0].runs[0].curves).write_text("step,loss\n1,0.5\n")
    assert chosen_layers.main(["--spec", made[0], "--scores", made[1], "--out", str(tmp_path / "x")])
    said = capsys.readouterr().err
    assert "its curves name none" in said and said.count("\n") == 1
    assert not list(tmp_path.glob("x*"))


# ---- Pareto front -------------------------------------------------------------------------------


def test_the_front_holds_what_no_other_beats():
    x, y = [0.1, 0.5, 0.9, 0.5, 0.9], [0.9, 0.5, 0.1, 0.4, 0.1]
    assert pareto.pareto_front(x, y).tolist() == [True, True, True, False, True]


# ---- palette ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def groups():
    from workflow.plan.config import load

    return load(Path(__file__).parents[2])[0]["groups"]


def lines_of(group) -> list[tuple[str, str]]:
    from workflow.plan.groups import rows_of

    pairs = [(row["method"], variant) for row in rows_of(group) for variant in row["variants"]]
    return list(dict.fromkeys(pairs))


def test_no_two_lines_of_a_shipped_figure_look_alike(groups):
    for name, group in groups.items():
        lines = lines_of(group)
        lines += [(c if isinstance(c, str) else c["method"], "x") for c in group["controls"]]
        looks = palette.styles([*lines, ("real", "")])
        assert len({str(spec) for spec in looks.values()}) == len(lines) + 1, name


def test_no_two_models_share_a_colour_where_dashes_tell_shots_and_warm_starts_apart(groups):
    for name, group in groups.items():
        several = any(
            len(r["shots"]) > 1 or len(r["warm_starts"]) > 1 for r in group.get("rows", [])
        )
        if several:
            looks = palette.styles(lines_of(group))
            assert len({spec["color"] for spec in looks.values()}) == len(looks), name


def test_a_known_model_looks_the_same_in_every_figure(groups):
    every = {line for group in groups.values() for line in lines_of(group)}
    alone = {line: palette.styles([line])[line] for line in every}
    for group in groups.values():
        together = palette.styles(lines_of(group))
        assert all(together[line] == alone[line] for line in lines_of(group))


def test_an_unknown_method_has_a_colour_that_no_known_one_has():
    known = [palette.styles([line])[line]["color"] for line in palette.KNOWN]
    for name in ("ewc", "my_method", "dcl"):
        assert palette.styles([(name, "plain")])[name, "plain"]["color"] not in known


def test_unknown_variants_of_one_figure_get_places_of_their_own():
    names = [("nada", f"mapper_lr_{i}") for i in range(12)] + [("nada", "global")]
    looks = palette.styles(names)
    assert len({str(spec) for spec in looks.values()}) == 13
    assert looks["nada", "global"] == palette.styles([("nada", "global")])["nada", "global"]
