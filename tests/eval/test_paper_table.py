"""Tables 1 and 2: the published numbers, marks of winners, variants, every format."""

import json

import pandas as pd
import pytest

from eval.paper_table import (
    KEYS,
    LAYOUTS,
    WARM_STARTS,
    bounds,
    cells,
    laid_out,
    latex,
    notes,
    published,
    reason_of,
    write,
)
from eval.score import COLUMNS
from nada.run.errors import UserError
from nada.run.spec.group_spec import GroupSpec, RowRun, RowSpec, TaskSpec


def group(paper="table1", members=()):
    rows = members or [member("unchanged", "source")]
    return GroupSpec(
        name=paper, title="Title", world="mini", preset="default", device="cpu", paper=paper,
        tasks={task: TaskSpec() for task in ("dog2cat", "face2sketch")}, rows=tuple(rows),
    )  # fmt: skip


def scores(values, seeds=1):
    """values: (task, shots, method, warm_start) -> FID."""
    rows = [
        ("mini", task, method, "plain", shots, start, seed, "last", "final", "fid", value + seed, 9)
        for (task, shots, method, start), value in values.items()
        for seed in range(seeds)
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def full(paper):
    """A score for each published cell: the published number itself."""
    table = published(paper)
    return {tuple(row[key] for key in KEYS): row["fid"] for _, row in table.iterrows()}


def test_the_published_numbers_are_whole():
    first, second = published("table1"), published("table2")
    assert len(first) == 16 and len(second) == 24
    assert set(first.warm_start) == set(WARM_STARTS)
    row = first[(first.method == "minegan") & (first.warm_start == "nada")]
    assert row.fid.tolist() == [48.15]
    assert second.fid.min() == 16.17
    both = first.merge(second, on=KEYS)
    assert len(both) == 8 and (both.fid_x == both.fid_y).all()
    with pytest.raises(UserError, match="no table is called 'table9'"):
        published("table9")


def test_the_papers_own_numbers_get_the_papers_marks():
    table = cells(group(), scores(full("table1")))
    bold = table[table.bold].set_index("method").warm_start.to_dict()
    assert bold == {
        "ojha": "nada_catchup", "minegan": "nada", "tgan": "nada_catchup", "tgan_ada": "nada_catchup"
    }  # fmt: skip
    second = cells(group(paper="table2"), scores(full("table2")))
    best = second[second.best].set_index(["task", "shots"]).method.to_dict()
    assert best == {
        ("dog2cat", 10): "ojha", ("dog2cat", 100): "ojha", ("face2sketch", 10): "tgan"
    }  # fmt: skip
    assert second.bold.sum() == 12  # one of each pair


def test_cells_without_a_score_are_dashes_and_nothing_is_comparable_in_another_world():
    table = cells(group(), scores({("dog2cat", 10, "tgan", "nada"): 20.0}, seeds=3))
    assert not table.comparable.any() and "another world" in table.reason.iloc[0]
    shown = laid_out(table, LAYOUTS["table1"])
    assert shown.shape == (4, 5)
    tgan = shown.set_index("training starts from")["TGAN"]
    assert tgan["pre-trained G"].startswith("21.0") and "[100.61]" in tgan["pre-trained G"]
    assert "±" in tgan["pre-trained G"] and tgan["baseline"] == "–"
    shown = laid_out(table, LAYOUTS["table1"], bold=r"\textbf{{{}}}", plus_minus=r"$\pm$")
    tex = latex(shown, "Title", [])
    assert tex.count(r"\\") == 5 and "& 21.0" in tex and r"\toprule" in tex and tex.isascii()
    assert r"\textbf" not in tex  # one value alone is not the best of anything


def test_bounds_stand_in_every_column_of_their_task():
    rows = scores(full("table2"), seeds=2)
    last = rows.iloc[:0].copy()
    for task, method, shots, value in (
        ("dog2cat", "source", 0, 100.0), ("face2sketch", "source", 0, 70.0),
        ("dog2cat", "replay", 10, 5.0), ("dog2cat", "replay", 100, 2.0), ("dog2cat", "real", 0, 0.5),
    ):  # fmt: skip
        last.loc[len(last)] = (
            "mini",
            task,
            method,
            "x",
            shots,
            "source",
            0,
            "last",
            "final",
            "fid",
            value,
            9,
        )
    one = group(paper="table2")
    everything = pd.concat([rows, last], ignore_index=True)
    found = bounds(one, everything, cells(one, everything)).set_index("model, start")
    assert (
        found.columns.tolist() == laid_out(cells(one, rows), LAYOUTS["table2"]).columns[1:].tolist()
    )
    assert found.loc["source model, unchanged"].tolist() == ["100.00", "100.00", "70.00"]
    assert found.loc["the target images, replayed"].tolist() == ["5.00", "2.00", "–"]
    assert found.loc["real images (two halves)"].tolist() == ["0.50", "0.50", "–"]


def test_equal_cells_have_no_mark_and_the_better_ones_of_a_tie_all_have_it():
    values = dict.fromkeys(full("table1"), 30.0)
    assert not cells(group(), scores(values))[["bold", "best"]].to_numpy().any()
    tied = {key: 20.0 if key[3] != "source" else 30.0 for key in values}
    table = cells(group(), scores(tied))
    assert table.bold.tolist() == (table.warm_start != "source").tolist()


def test_cells_of_several_numbers_of_seeds_say_the_least_and_the_most():
    rows = scores(full("table1"), seeds=3)
    short = rows[(rows.method != "tgan") | (rows.seed < 2)]
    assert "Mean over 2–3 seeds ± half-width of the 95 % t interval." in notes(
        group(), cells(group(), short)
    )
    assert "Mean over 3 seeds" in " ".join(notes(group(), cells(group(), rows)))


def member(variant, method="tgan", start="source", runs=()):
    return RowSpec(
        task="dog2cat", method=method, variant=variant, shots=10, warm_start=start, observation="-",
        runs=runs,
    )  # fmt: skip


def test_two_variants_of_a_method_are_two_columns_not_more_seeds():
    rows = scores({("dog2cat", 10, "tgan", "source"): 20.0}, seeds=3)
    other = rows.assign(variant="slow", value=rows.value + 20)
    one = group(members=[member("plain"), member("slow"), member("plain", "ojha")])
    table = cells(one, pd.concat([rows, other]))
    ours = table[(table.method == "tgan") & (table.warm_start == "source")].set_index("variant")
    assert ours["mean"].to_dict() == {"plain": 21.0, "slow": 41.0} and ours.n.tolist() == [3, 3]
    assert (ours.paper == 87.11).all()  # both stand beside the same published number
    shown = laid_out(table, LAYOUTS["table1"])
    assert {"TGAN (plain)", "TGAN (slow)", "Ojha et al."} <= set(shown.columns)
    second = laid_out(
        cells(group("table2", one.rows), pd.concat([rows, other])), LAYOUTS["table2"]
    )
    assert "TGAN (slow), baseline" in second["model, start"].tolist()


def test_a_group_whose_only_variant_is_not_called_plain_fills_the_cells_of_its_method():
    rows = scores({("dog2cat", 10, "tgan", "source"): 20.0}).assign(variant="slow")
    table = cells(group(members=[member("slow")]), rows)
    assert table[table.method == "tgan"].variant.unique().tolist() == ["slow"]
    assert table["mean"].count() == 1 and len(table) == 16


def test_every_file_is_written_with_what_the_cells_cost_and_the_truncation(tmp_path):
    record = {"iterations": 240, "images_seen": 20, "clip_calls": 0, "wall_seconds": 10.0}
    (tmp_path / "cost.json").write_text(json.dumps(record))
    own = {"iterations": 240, "published_iterations": 5000, "ema_kimg": 1.25, "catchup_steps": 50}
    run = {"method": "tgan", "task": "dog2cat", "hyperparameters": own}
    (tmp_path / "run.json").write_text(json.dumps({"spec": run}))
    costs = (str(tmp_path / "cost.json"),)
    row = member("plain", runs=(RowRun(seed=0, curves="-", costs=costs),))
    one = group(members=[row]).model_copy(update={"truncation_psi": 0.7})
    write(one, scores(full("table1")), str(tmp_path / "t"))
    assert {p.suffix for p in tmp_path.glob("t*")} == {".csv", ".md", ".html", ".tex"}
    text = (tmp_path / "t.md").read_text()
    assert "Not comparable" in text and "All images are generated at truncation 0.7." in text
    assert "240 of the 5,000 published iterations, s = 0.048" in text
    assert "| 5,000       | 0.048 |" in text  # the table of costs
    assert "<b>" in (tmp_path / "t.html").read_text()
    assert "s = 0.048" in (tmp_path / "t.tex").read_text()
    assert pd.read_csv(tmp_path / "t_cost.csv").s.tolist() == [0.048]


def test_a_world_like_another_is_not_comparable_and_is_not_said_to_hold_what_that_one_holds():
    assert reason_of("mine", None) == "another world: other images and networks"
    for like, near in (("near", "rehearsal", "paper"), "rehearsal"), (("paper",), "paper"), (("mini",), "mini"):
        assert reason_of("mine", like) == f"a world like {near}, with changes"
    assert reason_of("rehearsal", ("paper",)) == "random weights"
    assert reason_of("paper", None) == ""
