"""Verdicts on constructed scores: every statistic, what cannot be tested, contradicting rows."""

import itertools
from dataclasses import replace

import pandas as pd
import pytest
import yaml

from eval.analysis.evidence import (
    BASELINE,
    FEW_SHOT,
    NEEDED,
    STATISTICS,
    NotTestable,
    Scores,
    evidence,
    models,
)
from eval.analysis.evidence import rivals as rivals_of
from eval.claims import UNITS, decide, main, read_claims, shown, write
from eval.metrics.catalogue import needs
from eval.metrics.metric import NEEDS
from eval.paper_table import KEYS, published
from eval.score import COLUMNS, read_scores
from nada.run.errors import UserError
from workflow.plan.plan import load_plan
from workflow.plan.runs import Condition

ENTRY = {"sentence": "s", "where": "w", "metric": "fid", "direction": "lower", "margin": 0}
OURS = {"method": "nada", "variant": "adaptive"}
TGAN = {"method": "tgan", "variant": "plain"}
SEEDS = range(5)


def claim(tmp_path, **entry):
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump({"claims": {"one": {**ENTRY, **entry}}}))
    return read_claims(path)[0]


def table(rows, weights="final"):
    """rows: (task, method, variant, shots, warm_start, seed, metric, value)."""
    found = [
        ("mini", t, m, v, shots, start, seed, "last", weights, name, value, 10)
        for t, m, v, shots, start, seed, name, value in rows
    ]
    return pd.DataFrame(found, columns=COLUMNS)


def scores(rows, **how):
    return Scores(table(rows), "mini", **how)


def numbers(one, found) -> list[float]:
    return evidence(one, found).values.tolist()


def test_an_advantage_says_in_which_unit_it_is(tmp_path):
    assert set(UNITS) == set(STATISTICS)
    rows = [
        ("a", "nada", variant, 0, "source", seed, "fid", value)
        for seed in SEEDS
        for variant, value in (("adaptive", 10.0), ("global", 12.0 + seed))
    ]
    theirs = [{"method": "nada", "variant": "global"}]
    one = claim(tmp_path, statistic="better", ours=OURS, theirs=theirs, tasks=["a"])
    row = shown(decide([one], scores(rows))).iloc[0]
    assert row["advantage"].startswith("+4.000 ± ") and row["in"] == "FID"


def test_better_takes_the_least_advantage_over_all_rivals_and_tasks(tmp_path):
    rows = []
    for task, seed in itertools.product(("a", "b"), SEEDS):
        rows += [
            (task, "nada", "adaptive", 0, "source", seed, "fid", 10.0),
            (task, "tgan", "plain", 5, "source", seed, "fid", 12.0 + seed),
            (task, "tgan", "plain", 10, "source", seed, "fid", 11.0 if task == "a" else 10.5),
        ]
    told = {"statistic": "better", "ours": OURS, "tasks": ["a", "b"]}
    both = claim(tmp_path, **told, theirs=[{**TGAN, "shots": [5, 10]}])
    assert numbers(both, scores(rows)) == [0.5] * 5
    one = claim(tmp_path, **{**told, "tasks": ["a"]}, theirs=[{**TGAN, "shots": [5]}])
    gone = [row for row in rows if row[5] != 4 or row[1] != "tgan"]
    assert len(numbers(one, scores(gone))) == 4  # only paired seeds count


def test_a_claim_is_tested_on_those_of_its_tasks_that_a_world_can_test(tmp_path):
    rows = [
        ("a", method, variant, 0, "source", seed, "fid", value)
        for method, variant, value in (("nada", "adaptive", 10.0), ("nada", "global", 12.0))
        for seed in SEEDS
    ]
    rows += [("b", "nada", "adaptive", 0, "source", seed, "fid", 10.0) for seed in SEEDS]
    rows += [("c", "nada", "adaptive", 0, "source", seed, "intra_cluster_lpips", 1.0) for seed in SEEDS]
    told = {"statistic": "better", "ours": OURS, "theirs": [{**OURS, "variant": "global"}]}
    found = evidence(claim(tmp_path, **told, tasks=["a", "b", "c", "d"]), scores(rows))
    assert found.tasks == ("a",) and found.values.tolist() == [2.0] * 5
    for task, why in (
        ("b", "FID of NADA global loss is missing on b"),
        ("c", r"FID is not measured on c \(it needs reference images\)"),
        ("d", "there is no task d"),
    ):
        with pytest.raises(NotTestable, match=why):
            evidence(claim(tmp_path, **told, tasks=[task]), scores(rows))
    judged = claim(tmp_path, **{**told, "metric": "target_rate"}, tasks=["a"])
    with pytest.raises(NotTestable, match="it needs a judge of classes"):
        evidence(judged, scores(rows))
    for metric, needed in (("zero_shot_share", "a held-out CLIP and two texts"), ("memorised", "real images that are new")):
        with pytest.raises(NotTestable, match=f"is not measured on a .it needs {needed}"):
            evidence(claim(tmp_path, **{**told, "metric": metric}, tasks=["a"]), scores(rows))


def test_everything_that_a_metric_may_need_has_words():
    assert {"", *NEEDED} == set(NEEDS)


@pytest.mark.parametrize("asked, other", [("preference", "fid"), ("accepted_lpips", "target_rate")])
def test_a_metric_that_was_not_asked_for_is_no_lack_of_the_world(tmp_path, asked, other):
    """The task has its reference images, the world its judge, since another metric read them."""
    rows = [("a", "nada", "adaptive", 0, "source", seed, other, 1.0) for seed in SEEDS]
    told = {"statistic": "above", "ours": OURS, "tasks": ["a"], "threshold": 0.5}
    with pytest.raises(NotTestable, match="is not measured on a$"):
        evidence(claim(tmp_path, **told, metric=asked), scores(rows))


def grid(values: dict, task="dog2cat", shots=10):
    """FID of every few-shot method under each warm start, the same for all seeds."""
    return [
        (task, method, "plain", shots, start, seed, "fid", fid)
        for start, fids in values.items()
        for method, fid in zip(FEW_SHOT, fids, strict=True)
        for seed in SEEDS
    ]


def test_cells_with_lowered_fid_are_counted_and_no_count_is_a_tie(tmp_path):
    rows = grid({"source": [4, 4, 4, 4], "nada": [3, 3, 3, 5], "nada_catchup": [3, 5, 5, 4]})
    cells = [{"tasks": ["dog2cat"], "shots": [10], "warm_starts": ["nada", "nada_catchup"]}]
    four = claim(tmp_path, statistic="cells", cells=cells, at_least=4)
    assert numbers(four, scores(rows)) == [0.5] * 5  # four of eight; an equal FID is not lower
    five = claim(tmp_path, statistic="cells", cells=cells, at_least=5)
    assert numbers(five, scores(rows)) == [-0.5] * 5
    assert numbers(claim(tmp_path, statistic="cells", cells=cells), scores(rows)) == [-0.5] * 5
    fewer = [row for row in rows if row[1:3] != ("ojha", "plain") or row[4] != "nada"]
    with pytest.raises(NotTestable, match="FID of Ojha et al., 10-shot, from pre-trained G is missing"):
        evidence(five, scores(fewer))


def test_the_steadiest_lowers_fid_in_more_methods_and_a_tie_is_no_win(tmp_path):
    told = {"statistic": "steadiest", "tasks": ["dog2cat"], "shots": [10], "ours": "nada_catchup"}
    one = claim(tmp_path, **told, theirs=["nada"])
    rows = grid({"source": [4, 4, 4, 4], "nada": [3, 3, 5, 5], "nada_catchup": [3, 3, 3, 5]})
    assert numbers(one, scores(rows)) == [1.0] * 5
    tied = grid({"source": [4, 4, 4, 4], "nada": [3, 3, 5, 5], "nada_catchup": [3, 5, 3, 5]})
    assert numbers(one, scores(tied)) == [0.0] * 5
    assert decide([one], scores(tied)).verdict.tolist() == ["undecided"]


def rivals(values: dict, seeds=SEEDS):
    """{(method, shots): (comparisons won, diversity)} of few-shot models; ours has 1.5."""
    rows = [("a", "nada", "adaptive", 0, "source", s, "intra_cluster_lpips", 1.5) for s in seeds]
    for (method, shots), (won, diversity) in values.items():
        for seed in seeds:
            head = ("a", method, "plain", shots, "source", seed)
            rows += [(*head, "preference", won), (*head, "intra_cluster_lpips", diversity)]
    return rows


BY_PREFERENCE = {"metric": "preference", "direction": "lower", "threshold": 0.5, "tasks": ["a"]}


def test_most_counts_the_share_of_rivals_that_lose_the_comparison(tmp_path):
    theirs = [{**TGAN, "shots": [5, 10]}, {"method": "ojha", "variant": "plain", "shots": [5, 10]}]
    one = claim(tmp_path, **BY_PREFERENCE, statistic="most", theirs=theirs)
    won = {("tgan", 5): 0.4, ("tgan", 10): 0.1, ("ojha", 5): 0.49, ("ojha", 10): 0.5}
    found = scores(rivals({key: (value, 1.0) for key, value in won.items()}))
    assert numbers(one, found) == [0.25] * 5  # three of four; half of the comparisons is no win


@pytest.mark.parametrize(
    ("won", "diversity", "number"),
    [(0.6, 1.4, 0.5), (0.4, 1.6, 0.5), (0.6, 1.6, -0.5), (0.5, 1.6, 0.5), (0.6, 1.5, 0.5)],
)
def test_a_model_is_on_the_front_unless_a_rival_beats_it_in_both(tmp_path, won, diversity, number):
    one = claim(
        tmp_path, **BY_PREFERENCE, statistic="front", second="intra_cluster_lpips", ours=OURS,
        theirs=[{**TGAN, "shots": [5, 10]}],
    )  # fmt: skip
    found = scores(rivals({("tgan", 5): (0.1, 0.1), ("tgan", 10): (won, diversity)}))
    assert numbers(one, found) == [number] * 5


def memorising(tmp_path, **more):
    told = {
        "statistic": "above", "metric": "memorised", "direction": "higher", "threshold": 0.5,
        "tasks": ["a"], "ours": {"method": "minegan", "variant": "plain", "shots": [5]}, **more,
    }  # fmt: skip
    return claim(tmp_path, **told)


MEMORISED = [("a", "minegan", "plain", 5, "source", s, "memorised", 0.75) for s in SEEDS]


def test_a_threshold_is_subtracted(tmp_path):
    decided = decide([memorising(tmp_path)], scores(MEMORISED))
    assert decided["mean"].tolist() == [0.25] and decided.verdict.tolist() == ["holds"]


def test_what_a_world_cannot_test_is_neither_decided_nor_counted_and_the_page_says_why(tmp_path):
    tested, few = memorising(tmp_path), memorising(tmp_path, tasks=["b"])
    few = replace(few, name="few", sentence="Few <seeds>.")
    judged = {"metric": "target_rate", "direction": "higher", "threshold": 0.9, "tasks": ["a"]}
    judged = replace(claim(tmp_path, **judged, statistic="above", ours=OURS), name="judged")
    dropped = replace(memorising(tmp_path, dropped={"mini": "no cats"}), name="dropped")
    rows = MEMORISED + [("b", *row[1:]) for row in MEMORISED[:4]]
    decided = decide([tested, few, judged, dropped], scores(rows)).set_index("claim")
    assert decided.verdict["one"] == "holds" and decided.p["one"] == 2.0**-5  # Holm over one claim
    assert decided.verdict[["few", "judged"]].tolist() == ["not testable here"] * 2
    assert decided.verdict["dropped"] == "dropped"
    assert decided.loc["few", ["mean", "seeds"]].tolist() == [0.25, 4]
    write(decided.reset_index(), "mini", str(tmp_path / "claims"), truncation_psi=0.7)
    text = (tmp_path / "claims.md").read_text()
    assert "(1 here): fewer than 5 seeds" in text
    assert (
        "Not testable here: “Few <seeds>.” Reason: paired seeds: 4; the exact test needs 5." in text
    )
    assert "Reason: target rate is not measured on a (it needs a judge of classes)." in text
    assert "Dropped: “s” Reason: no cats." in text
    assert "All images are generated at truncation 0.7." in text
    assert "Few &lt;seeds&gt;" in (tmp_path / "claims.html").read_text()
    own = Scores(table(rows).assign(world="mine"), "mine", like=("near", "mini"))
    assert decide([tested, dropped], own).verdict.tolist() == ["holds", "dropped"]
    elsewhere = replace(dropped, rest={**dropped.rest, "dropped": {"paper": "no money"}})
    assert decide([tested, elsewhere], scores(rows)).verdict.tolist() == ["undecided"] * 2
    with pytest.raises(UserError, match="must map worlds to reasons"):
        memorising(tmp_path, dropped=["mini"])


def test_a_verdict_that_the_raw_weights_do_not_share_is_shown_with_theirs(tmp_path):
    rows = grid({"source": [4, 4, 4, 4], "nada_catchup": [3, 3, 3, 3]})
    cells = [{"tasks": ["dog2cat"], "shots": [10], "warm_starts": ["nada_catchup"]}]
    one = claim(tmp_path, statistic="cells", cells=cells)
    behind = table(grid({"source": [4, 4, 4, 4], "nada_catchup": [5, 5, 5, 3]}), weights="raw")
    other = memorising(tmp_path)
    for tested, rows_of, wanted in ((one, rows, "fails"), (other, MEMORISED, "")):
        both = pd.concat([table(rows_of), behind])
        decided = decide([tested], *(Scores(both, "mini", raw) for raw in (False, True)))
        assert decided.verdict.tolist() == ["holds"] and decided.raw_verdict.tolist() == [wanted]
        write(decided, "mini", str(tmp_path / "claims"))
        text = (tmp_path / "claims.md").read_text()
        assert ("holds (raw weights: fails)" in text) == bool(wanted)


def test_rows_that_contradict_each_other_are_named_and_equal_ones_are_merged(tmp_path):
    rows = table(MEMORISED)
    path = tmp_path / "scores.csv"
    pd.concat([rows, rows.iloc[:2]]).to_csv(path, index=False)
    assert len(read_scores(path)) == len(rows)
    pd.concat([rows, rows.iloc[:1].assign(value=0.5)]).to_csv(path, index=False)
    with pytest.raises(
        UserError, match=r"memorised of a, minegan, plain, 5, source, 0, last, final has 2 differ"
    ):
        read_scores(path)
    memorising(tmp_path)
    told = ["--claims", str(tmp_path / "claims.yaml"), "--scores", str(path), "--world", "mini"]
    assert main([*told, "--out", str(tmp_path / "c")]) == 2


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"statistic": "beter"}, "statistic 'beter'"),
        ({"statistic": "above", "direction": "up"}, "lacks the key 'tasks'"),
        ({"statistic": "cells", "cells": [], "direction": "up"}, "must be 'higher' or 'lower'"),
        ({"statistic": "cells", "cells": [], "metric": "fidd"}, "no metric is called 'fidd'"),
        ({"statistic": "cells", "cells": [], "second": "x"}, "no metric is called 'x'"),
        ({}, "lacks the key 'statistic'"),
    ],
)
def test_a_mistake_in_the_claims_is_named(tmp_path, entry, message):
    with pytest.raises(UserError, match=message):
        claim(tmp_path, **entry)


# ---- the committed claims -------------------------------------------------------------------------


def plan_of(root, world):
    return load_plan(root, {"world": world, "seeds": list(range(8))})


@pytest.mark.parametrize("world", ["mini", "paper"])
def test_every_committed_claim_names_runs_that_the_world_makes(root, world):
    plan = plan_of(root, world)
    made = {(c.task, c.name) for c in plan.conditions_of(plan.shown)}
    for one in read_claims(root / "claims.yaml"):
        if needs(one.metric) == "judge" and "judge" not in plan.world:
            continue
        if one.statistic in ("cells", "steadiest"):
            starts = [one.rest.get("ours"), *one.rest.get("theirs", [])]
            entries = one.rest.get("cells", [{**one.rest, "warm_starts": starts}])
            wanted = [
                Condition(task, method, "plain", shots, start)
                for entry in entries
                for task in entry["tasks"]
                for shots in entry["shots"]
                for start in (BASELINE, *entry["warm_starts"])
                for method in FEW_SHOT
            ]
        else:
            ours = models(one.rest["ours"]) if "ours" in one.rest else []
            theirs = rivals_of(one) if "theirs" in one.rest else []
            task = one.rest["tasks"][0]  # a world may lack the others
            wanted = [Condition(task, **model) for model in (*ours, *theirs)]
        for condition in wanted:
            assert (condition.task, condition.name) in made, (one.name, condition)


def as_the_paper_says(plan, measured) -> pd.DataFrame:
    """Made-up scores of every run of a plan, by which each sentence of the paper is true.

    measured: metric -> tasks on which the world can measure it.
    """
    rows = []
    for condition in plan.conditions_of(plan.shown):
        task = condition.task
        ours = condition.method == "nada"
        helped = condition.warm_start != BASELINE
        adaptive = condition.variant in ("adaptive", "mapper")
        caught_up = condition.warm_start == "nada_catchup" or condition.method == "ojha"
        values = {
            "fid": 20.0 - 5 * adaptive - 2 * (helped and caught_up),
            "intra_cluster_lpips": 1.0 + ours - (condition.variant == "global"),
            "preference": 0.3,
            "memorised": 0.9 if condition.method == "minegan" else 0.0,
            "retrieval_top1": 0.9 if ours else 0.4,
            "target_rate": 0.99,
        }
        head = (plan.world["name"], task, condition.method, condition.variant, condition.shots)
        for seed, (name, value) in itertools.product(plan.config["seeds"], values.items()):
            if task in measured.get(name, ()):
                more = (condition.warm_start, seed, "last", "final", name, value + seed / 1000, 9)
                rows.append((*head, *more))
    return pd.DataFrame(rows, columns=COLUMNS)


def test_the_papers_world_decides_every_claim_that_needs_no_judge(root):
    plan = plan_of(root, "paper")
    everywhere = {condition.task for condition in plan.conditions_of(plan.shown)}
    with_images = {task for task in everywhere if plan.config["tasks"][task].get("references")}
    measured = {
        "fid": with_images, "preference": {"dog2cat"}, "memorised": with_images,
        "intra_cluster_lpips": everywhere, "retrieval_top1": everywhere,
    }  # fmt: skip
    assert "judge" not in plan.world and with_images == {"dog2cat", "face2sketch"}
    table = as_the_paper_says(plan, measured)
    decided = decide(read_claims(root / "claims.yaml"), Scores(table, "paper")).set_index("claim")
    lacking = decided.loc["textures_from_a_prompt"]
    assert lacking.verdict == "not testable here" and "judge of classes" in lacking.reason
    others = decided.drop("textures_from_a_prompt")
    assert len(others) == 10 and (others.verdict == "holds").all(), others[["verdict", "reason"]]
    fewer = Scores(table[table.seed < 7], "paper")
    of_seven = decide(read_claims(root / "claims.yaml"), fewer)
    assert not of_seven.verdict.isin(["holds", "fails"]).any()  # 2^-7 times ten claims: over 5 %


def test_the_published_numbers_of_the_paper_support_its_claims_on_fid(root):
    both = pd.concat([published("table1"), published("table2")]).drop_duplicates(KEYS)
    rows = [
        (row.task, row.method, "plain", row.shots, row.warm_start, seed, "fid", row.fid)
        for row in both.itertuples()
        for seed in SEEDS
    ]
    known = {one.name: one for one in read_claims(root / "claims.yaml")}
    assert numbers(known["pretraining_lowers_fid"], scores(rows)) == [0.5] * 5  # 9 of 12 cells
    assert numbers(known["catchup_is_steadiest"], scores(rows)) == [2.0] * 5  # 4 methods, 2 and 2
