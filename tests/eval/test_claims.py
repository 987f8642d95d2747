"""Verdicts on constructed scores, and the claims that are committed."""

import itertools
from dataclasses import replace

import pandas as pd
import pytest

from eval.claims import FEW_SHOT, Scores, decide, differences, read_claims, write
from eval.score import COLUMNS
from nada.errors import UserError

ENTRY = {"sentence": "s", "where": "w", "metric": "fid", "direction": "lower", "margin": 0}


def claim(tmp_path, **entry):
    import yaml

    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump({"claims": {"one": {**ENTRY, **entry}}}))
    return read_claims(path)[0]


def scores(rows):
    """rows: (task, method, variant, shots, warm_start, seed, metric, value)."""
    table = [
        ("mini", t, m, v, shots, start, seed, "last", "final", name, value, 10)
        for t, m, v, shots, start, seed, name, value in rows
    ]
    return Scores(pd.DataFrame(table, columns=COLUMNS), "mini")


def test_better_takes_the_least_advantage_over_all_rivals_and_tasks(tmp_path):
    rows = []
    for task, seed in itertools.product(("a", "b"), range(5)):
        rows += [
            (task, "nada", "adaptive", 0, "source", seed, "fid", 10.0),
            (task, "tgan", "plain", 5, "source", seed, "fid", 12.0 + seed),
            (task, "tgan", "plain", 10, "source", seed, "fid", 11.0 if task == "a" else 10.5),
        ]
    found = differences(
        claim(
            tmp_path, statistic="better", tasks=["a", "b"],
            ours={"method": "nada", "variant": "adaptive"},
            theirs=[{"method": "tgan", "variant": "plain", "shots": [5, 10]}],
        ),
        scores(rows),
    )  # fmt: skip
    assert found.tolist() == [0.5] * 5
    gone = [row for row in rows if row[5] != 4 or row[1] != "tgan"]
    fewer = differences(
        claim(
            tmp_path, statistic="better", tasks=["a"],
            ours={"method": "nada", "variant": "adaptive"},
            theirs=[{"method": "tgan", "variant": "plain", "shots": [5]}],
        ),
        scores(gone),
    )  # fmt: skip
    assert len(fewer) == 4  # only paired seeds count


def grid(values: dict, seeds=5):
    """FID of every few-shot method under each warm start, the same for all seeds."""
    return [
        ("dog2cat", method, "plain", 10, start, seed, "fid", fid)
        for start, fids in values.items()
        for method, fid in zip(FEW_SHOT, fids, strict=True)
        for seed in range(seeds)
    ]


def test_cells_count_the_share_of_lowered_fid(tmp_path):
    rows = grid({"source": [4, 4, 4, 4], "nada": [3, 3, 3, 5], "nada_catchup": [3, 5, 5, 5]})
    cells = [{"tasks": ["dog2cat"], "shots": [10], "warm_starts": ["nada", "nada_catchup"]}]
    found = differences(claim(tmp_path, statistic="cells", cells=cells), scores(rows))
    assert found.tolist() == [0.0] * 5  # four of eight


def test_the_steadiest_lowers_fid_in_more_methods(tmp_path):
    rows = grid({"source": [4, 4, 4, 4], "nada": [3, 3, 5, 5], "nada_catchup": [3, 3, 3, 5]})
    entry = {"statistic": "steadiest", "tasks": ["dog2cat"], "shots": [10]}
    found = differences(
        claim(tmp_path, **entry, ours="nada_catchup", theirs=["nada"]), scores(rows)
    )
    assert found.tolist() == [1.0] * 5


def test_a_threshold_is_subtracted(tmp_path):
    rows = [("dog2cat", "minegan", "plain", 5, "source", s, "memorised", 0.75) for s in range(5)]
    entry = {"statistic": "above", "metric": "memorised", "direction": "higher", "threshold": 0.5}
    one = claim(
        tmp_path, **entry, tasks=["dog2cat"],
        ours={"method": "minegan", "variant": "plain", "shots": [5]},
    )  # fmt: skip
    table = decide([one], scores(rows))
    assert table["mean"].tolist() == [0.25] and table.verdict.tolist() == ["holds"]
    few = decide([one], scores(rows[:4]))
    assert few.verdict.tolist() == ["undecided"] and few.seeds.tolist() == [4]
    none = decide([one], scores([]))
    assert none.verdict.tolist() == ["undecided"] and none.seeds.tolist() == [0]
    write(none, "mini", str(tmp_path / "claims"))
    assert "not run" in (tmp_path / "claims.md").read_text()


def test_a_claim_that_its_world_cannot_test_is_dropped_with_the_reason(tmp_path):
    rows = [
        ("a", "minegan", "plain", 5, "source", seed, "memorised", 0.75) for seed in range(5)
    ]  # fmt: skip
    told = {
        "statistic": "above", "metric": "memorised", "direction": "higher", "threshold": 0.5,
        "tasks": ["a"], "ours": {"method": "minegan", "variant": "plain", "shots": [5]},
    }  # fmt: skip
    tested = claim(tmp_path, **told)
    dropped = replace(claim(tmp_path, **told, dropped={"mini": "no <cats>"}), name="two")
    table = decide([tested, dropped], scores(rows))
    assert table.verdict.tolist() == ["holds", "dropped"]  # one test: Holm leaves 1/32 alone
    write(table, "mini", str(tmp_path / "claims"))
    assert "Dropped: no <cats>." in (tmp_path / "claims.md").read_text()
    assert "(1 here): fewer than 5 seeds" in (tmp_path / "claims.md").read_text()
    assert "no &lt;cats&gt;" in (tmp_path / "claims.html").read_text()
    elsewhere = replace(dropped, rest={**dropped.rest, "dropped": {"paper": "no money"}})
    assert decide([tested, elsewhere], scores(rows)).verdict.tolist() == ["undecided"] * 2
    with pytest.raises(UserError, match="must name worlds and reasons"):
        claim(tmp_path, **told, dropped=["mini"])


def test_the_committed_claims_name_runs_that_the_benchmark_makes(root):
    from workflow.plan import load_plan
    from workflow.runs import Setting

    plan = load_plan(root)
    for one in read_claims(root / "claims.yaml"):
        entries = [one.rest.get("ours"), *one.rest.get("theirs", [])]
        for entry in [e for e in entries if isinstance(e, dict)]:
            for task, shots in itertools.product(one.rest["tasks"], entry.get("shots", [0])):
                wanted = Setting(task, entry["method"], entry["variant"], shots)
                assert (task, wanted.name) in plan.settings, (one.name, wanted)
        for cells in one.rest.get("cells", []):
            for task, shots, start in itertools.product(*cells.values()):
                for method in FEW_SHOT:
                    wanted = Setting(task, method, "plain", shots, start)
                    assert (task, wanted.name) in plan.settings, (one.name, wanted)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"statistic": "beter"}, "statistic 'beter'"),
        ({"statistic": "above", "direction": "up"}, "must be 'higher' or 'lower'"),
        ({"statistic": "above", "metric": "fidd"}, "no metric is called 'fidd'"),
    ],
)
def test_a_mistake_in_the_claims_is_named(tmp_path, entry, message):
    with pytest.raises(UserError, match=message):
        claim(tmp_path, **entry)
