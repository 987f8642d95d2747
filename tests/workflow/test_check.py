"""`make check`: a fresh run against the published one, on made-up scores."""

import json

import numpy as np
import pytest

from eval.score import COLUMNS
from workflow.check import AGREES, ALONE, DIFFERS, HINT, PARTLY, Interval, compared, main

FACTS = {"world": "mini", "preset": "full", "device": "cpu"}
FID = [9.0, 10.0, 11.0, 10.5, 9.5]
CLAIM = "claim,mean,half_width,verdict\nkeeps_diversity,{},{},{}\ndropped_here,,,dropped\n"


def folder(path, values=None, about=None, seeds=5, claim=(0.4, 0.1, "holds"), lr=0.002, published=False):
    """A run's folder, published or not: values = {(variant, metric): one number per seed}."""
    values = {("adaptive", "fid"): FID, ("global", "fid"): [12.0] * 5} if values is None else values
    about, runs = {**FACTS, **(about or {})}, []
    lines = [",".join(COLUMNS)]
    for (variant, name), numbers in values.items():
        for seed, value in enumerate(numbers[:seeds]):
            lines.append(f"mini,dog2cat,nada,{variant},0,source,{seed},last,final,{name},{value},1000")
            lines.append(f"mini,dog2cat,nada,{variant},0,source,{seed},100,final,{name},{9 * value},1000")
            record = path / f"runs/dog2cat/nada-{variant}/seed{seed}/run.json"
            record.parent.mkdir(parents=True, exist_ok=True)
            record.write_text(json.dumps({"spec": {"hyperparameters": {"lr": lr, "layers": {"k": 3}}}}))
    lines.append("mini,dog2cat,real,,0,source,0,last,final,fid,0.25,1000")
    runs = [{"seed": k, "curves": "-", "costs": []} for k in range(seeds)]
    row = {"task": "dog2cat", "method": "nada", "variant": "adaptive", "observation": "-", "runs": runs}
    spec = {"name": "ablation", "title": "Ablation", **about, "tasks": {"dog2cat": {}}, "rows": [row]}
    (path / "scores").mkdir(parents=True)
    (path / "scores/ablation.json").write_text(json.dumps(spec))
    for file in ("scores.csv", "scores/ablation.csv"):
        (path / file).write_text("\n".join(lines) + "\n")
    (path / "claims.csv").write_text(CLAIM.format(*claim))
    told = {**about, "seeds": list(range(seeds)), "groups": ["ablation"]}
    if published:
        (path / "publication.json").write_text(json.dumps(told))
    return path


@pytest.fixture
def check(tmp_path, capsys):
    """Call the command on two folders made with the given differences; (exit code, what it prints)."""

    def call(new=None, old=None, *words):
        results = folder(tmp_path / "new", **(new or {}))
        published = folder(tmp_path / "published", published=True, **(old or {}))
        code = main(["--results", str(results), "--published", str(published), *words])
        said = capsys.readouterr()
        return code, said.out + said.err

    return call


def test_the_same_numbers_are_confirmed(check):
    code, said = check()
    assert code == 0 and "3 published numbers: 3 agree, 0 lie" in said and "1 published claims: 1 agree" in said
    assert said.endswith("confirmed: no published number differs\n") and "seeds 0 to 4" in said


def test_an_unpacked_archive_is_compared_as_a_run_is(check):
    code, said = check({"published": True})
    assert code == 0, said


def test_other_seeds_of_the_same_distribution_agree(check):
    code, said = check({"values": {("adaptive", "fid"): FID[::-1], ("global", "fid"): [12.05] * 5}})
    assert code == 0, said


def test_a_number_outside_of_both_intervals_is_named_with_both(check):
    values = {("adaptive", "fid"): [x + 5 for x in FID], ("global", "fid"): [12.0] * 5}
    code, said = check({"values": values})
    assert code == 1 and "1 differ, 0 are missing" in said
    assert "differs: dog2cat, NADA adaptive: FID is 15 ± 0.982, published 10 ± 0.982" in said
    assert said.rstrip().endswith(HINT)


def test_a_claim_outside_of_both_intervals_is_named(check):
    code, said = check({"claim": (0.1, 0.1, "undecided")})
    assert code == 1 and "differs: claim keeps_diversity is 0.1 ± 0.1, published 0.4 ± 0.1" in said
    assert "verdict of claim keeps_diversity: undecided, published: holds" in said


def test_another_verdict_with_a_number_that_agrees_is_said_and_is_no_failure(check):
    code, said = check({"claim": (0.38, 0.1, "undecided")})
    assert code == 0 and "verdict of claim keeps_diversity: undecided, published: holds" in said


def test_published_rows_that_the_run_lacks_are_named_and_new_ones_counted(check):
    code, said = check({"values": {("adaptive", "fid"): FID, ("mapper", "fid"): FID}})
    assert code == 1 and "1 are missing" in said and "1 new numbers are not published" in said
    assert "missing: dog2cat, NADA global loss: FID, published 12 ± 0" in said


def test_a_wide_interval_confirms_nothing_more_than_that_the_published_value_is_possible(check):
    wide = {("adaptive", "fid"): [2.0, 40.0, 8.0, 30.0, 15.0], ("global", "fid"): [12.0] * 5}
    code, said = check({"values": wide})
    assert code == 0 and "2 agree, 1 lie in one of the two intervals only, 0 differ" in said


def test_another_preset_is_one_sentence(check):
    code, said = check({"about": {"preset": "smoke"}, "lr": 0.1})
    assert code == 2 and len(said.splitlines()) == 1
    assert "made with the preset 'smoke'" in said and "with 'full'" in said and "run snakemake all --config" in said
    assert "other hyperparameters (lr: 0.1 in place of 0.002 in dog2cat/nada-adaptive/seed0)" in said


def test_another_preset_with_the_same_hyperparameters_is_compared(check):
    code, said = check({"about": {"preset": "default"}, "seeds": 3, "values": None})
    assert code == 0, said


def test_other_hyperparameters_of_the_same_preset_are_a_note(check):
    code, said = check({"lr": 0.1})
    assert code == 0 and "note: the new runs have other hyperparameters (lr: 0.1 in place of 0.002" in said


@pytest.mark.parametrize(
    ("new", "part"),
    [
        ({"about": {"world": "paper"}}, "is of the world 'paper'"),
        ({"seeds": 1}, "has one seed, and an interval needs two or more"),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(check, new, part):
    code, said = check(new)
    assert code == 2 and part in said and len(said.splitlines()) == 1


def test_without_a_publication_or_a_run_the_sentence_says_what_to_do(tmp_path, capsys):
    results = folder(tmp_path / "new")
    assert main(["--results", str(results), "--published", str(tmp_path / "none")]) == 2
    assert "nothing is published there" in capsys.readouterr().err
    published = folder(tmp_path / "earlier", published=True)
    assert main(["--results", str(tmp_path / "none"), "--published", str(published)]) == 2
    assert "run the groups first: snakemake all" in capsys.readouterr().err
    (results / "claims.csv").unlink()
    assert main(["--results", str(results), "--published", str(folder(tmp_path / "old", published=True))]) == 2
    assert "make it: snakemake claims" in capsys.readouterr().err


def test_groups_alone_are_compared_with_their_own_rows_and_no_claim(tmp_path, capsys):
    results, published = folder(tmp_path / "new"), folder(tmp_path / "old", published=True)
    (results / "scores.csv").unlink()
    (results / "claims.csv").unlink()
    with (published / "scores.csv").open("a") as file:
        file.write("mini,dog2bear,nada,global,0,source,0,last,final,fid,3,1000\n")
    assert main(["--results", str(results), "--published", str(published), "--groups", "ablation"]) == 0
    said = capsys.readouterr().out
    assert "3 published numbers: 3 agree" in said and "claims" not in said


@pytest.mark.parametrize(
    ("new", "old", "outcome"),
    [
        (Interval(1.0, 0.2), Interval(1.1, 0.2), AGREES),
        (Interval(1.0, 0.05), Interval(1.1, 0.2), PARTLY),
        (Interval(1.0, 0.2), Interval(1.3, 0.2), DIFFERS),
        (Interval(1.0, None), Interval(1.3, 0.2), ALONE),
        (Interval(100.0, 0.0), Interval(100.9, 0.0), AGREES),  # rounding
        (Interval(0.0, 0.0, 1000), Interval(0.001, 0.0, 1000), AGREES),  # one image
        (Interval(0.0, 0.0), Interval(0.001, 0.0), DIFFERS),
    ],
)
def test_two_intervals(new, old, outcome):
    assert compared(new, old) == outcome


def test_of_two_independent_runs_the_share_that_the_hint_names_differs_by_chance():
    from eval.analysis.statistics import t_interval

    draws = np.random.default_rng(0).normal(size=(2000, 2, 8))
    pairs = [[Interval(*t_interval(run)) for run in pair] for pair in draws]
    share = np.mean([compared(*pair) == DIFFERS for pair in pairs])
    assert abs(share - 0.08) < 0.02 and "about 8 of 100" in HINT
