"""Tables 1 and 2: the published numbers, marks of winners, costs with parents, every format."""

import json

import pandas as pd
import pytest

from eval.lengths import notes
from eval.paper_table import (
    KEYS,
    LAYOUTS,
    WARM_STARTS,
    bounds,
    cells,
    costs,
    laid_out,
    latex,
    published,
    write,
)
from eval.score import COLUMNS
from eval.settings import Group, Member
from nada.errors import UserError


def group(paper="table1", members=()):
    return Group(
        name=paper, title="Title", world="mini", observations=("x",), members=(), real={},
        k_medoids=10, table=None, grid_rows=4, grid_psi=0.7, paper=paper, drawn=tuple(members),
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
    tgan = shown.set_index("")["TGAN"]
    assert tgan["pre-trained G"].startswith("21.0") and "[100.61]" in tgan["pre-trained G"]
    assert "±" in tgan["pre-trained G"] and tgan["baseline"] == "–"
    tex = latex(laid_out(table, LAYOUTS["table1"], bold=r"\textbf{{{}}}", plus_minus=r"$\pm$"))
    assert tex.count(r"\\") == 5 and r"\textbf{21.0" in tex and r"\toprule" in tex


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
    found = bounds(one, everything, cells(one, everything)).set_index("")
    assert (
        found.columns.tolist() == laid_out(cells(one, rows), LAYOUTS["table2"]).columns[1:].tolist()
    )
    assert found.loc["source model, unchanged"].tolist() == ["100.00", "100.00", "70.00"]
    assert found.loc["the target images, replayed"].tolist() == ["5.00", "2.00", "–"]
    assert found.loc["real images (two halves)"].tolist() == ["0.50", "0.50", "–"]


def test_costs_add_up_over_the_lineage_and_all_files_are_written(tmp_path):
    files = []
    for name, seconds in (("own", 10.0), ("parent", 30.0)):
        path = tmp_path / f"{name}.json"
        record = {"iterations": 5, "images_seen": 20, "clip_calls": 0, "wall_seconds": seconds}
        path.write_text(json.dumps(record))
        files.append(str(path))
    own = {"iterations": 240, "published_iterations": 5000, "ema_kimg": 1.25, "catchup_steps": 50}
    (tmp_path / "run.json").write_text(json.dumps({"settings": {"settings": own}}))
    setting = ("dog2cat", "tgan", "plain", 10, "nada")
    one = group(members=[Member(setting, None, False, {}, {0: tuple(files)})])
    found = costs(one)
    assert found.wall_seconds.tolist() == [40.0] and found.iterations.tolist() == [10]
    write(one, scores(full("table1")), str(tmp_path / "t"))
    assert {p.suffix for p in tmp_path.glob("t*")} == {".csv", ".md", ".html", ".tex"}
    text = (tmp_path / "t.md").read_text()
    assert "Not comparable" in text
    assert "240 of the 5,000 published iterations, s = 0.048" in text
    assert "half-life of the average 0.06 kimg, D's catch-up 10 steps" in text  # the floor of 10
    assert "<b>" in (tmp_path / "t.html").read_text()
    (tmp_path / "own.json").unlink()
    with pytest.raises(UserError, match="no cost record"):
        costs(one)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(UserError, match="no run record"):
        notes(one)
