"""The report: every number is in scores.csv, the page needs no other file, and it says how sure it is."""

import json
import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from eval.metrics.catalogue import metric
from eval.report import facts
from eval.report.__main__ import main
from eval.study.answers import COLUMNS as ANSWERED
from tests.eval.report.reading import NUMBER, details, numbers, section, words
from tests.eval.report.small_results import PICTURES, build

KEYS = ["task", "method", "variant", "shots", "warm_start"]


def expected(scores: pd.DataFrame, key: list, column: str) -> str:
    """The text of a number, computed from scores.csv alone."""
    name = column.removesuffix("_oracle").removesuffix("_raw")
    rows = scores[(scores[KEYS] == key).all(axis=1) & (scores.metric == name)]
    rows = rows[rows.weights == ("raw" if column.endswith("_raw") else "final")]
    if column.endswith("_oracle"):
        by_seed = rows[rows.step != "last"].groupby("seed").value
        values = by_seed.max() if metric(name).maximize else by_seed.min()
    else:
        values = rows[rows.step == "last"].value
    values, digits = values.to_numpy(float), metric(name).digits
    text = f"{values.mean():z.{digits}f}"
    if len(values) < 2 or key[1] == "real":
        return text
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return f"{text} ± {half:.{digits}f}"


def check_numbers(page):
    """Every number of a page is the one that scores.csv gives; returns how many there are."""
    scores = pd.read_csv(page.with_name("scores.csv"), dtype={"step": str}, keep_default_na=False)
    conditions = details(page)["conditions"]
    found = numbers(page.read_text(encoding="utf-8"))
    for condition, column, shown in found:
        assert shown.rstrip("★") == expected(scores, conditions[condition]["key"], column), (condition, column)
    return len(found)


@pytest.mark.parametrize("report", ["small_report", "one_seed_report"])
def test_every_number_of_the_page_is_found_again_in_scores_csv(report, request):
    page = request.getfixturevalue(report)
    assert check_numbers(page) > 40
    scores = pd.read_csv(page.with_name("scores.csv"), dtype={"step": str}, keep_default_na=False)
    for one in details(page)["conditions"]:  # values by seed
        rows = scores[(scores[KEYS] == one["key"]).all(axis=1) & (scores.step == "last")].set_index(["metric", "seed"])
        for name, by_seed in one["values"].items():
            if name.endswith("_oracle"):
                continue
            for seed, value in by_seed.items():
                assert value == round(rows.loc[(name, int(seed)), "value"], metric(name).digits + 2)


def test_tables_of_scores_hold_no_other_number(small_report):
    text = small_report.read_text(encoding="utf-8")
    for table in re.findall(r'<table class="scores".*?</table>', text, re.DOTALL):
        for row in re.findall(r"<tr.*?</tr>", table, re.DOTALL)[1:]:
            *cells, seeds = re.findall(r"<td.*?</td>", row, re.DOTALL)
            assert re.fullmatch(r"\d|–", words(seeds))
            assert not re.search(r"\d", "".join(words(re.sub(NUMBER, "", cell)) for cell in cells))


def test_the_sentences_hold_no_number_that_is_not_linked_to_its_runs(small_report):
    sentences = re.findall(r"<li>(.*?)</li>", section(small_report, "result"), re.DOTALL)
    assert len(sentences) == 5
    for sentence in sentences[:4]:
        rest = words(re.sub(NUMBER, "", sentence)).replace("dog2cat", "").replace("10-shot", "")
        assert NUMBER.search(sentence) and not re.search(r"\d", rest), rest
    claims = pd.read_csv(small_report.with_name("claims.csv"))
    assert re.findall(r"\d+", words(sentences[4])) == ["3", "95", str(len(claims))]


def test_the_sentences_say_what_came_out_and_how_sure_it_is(small_report, one_seed_report):
    many, one = (words(section(page, "result")) for page in (small_report, one_seed_report))
    for told in (many, one):
        assert "on dog2cat, by NADA adaptive (unchanged source " in told
        assert "in which the judge sees the target is 0." in told
        assert "of the few-shot models, TGAN + ADA, 10-shot, from D catch-up" in told
    assert "(the intervals do not overlap)" in many and "Numbers are means over 3 seeds" in many
    assert "each from one seed" in one and "differences between models may be chance" in one
    assert "with one seed" in words(one_seed_report.read_text(encoding="utf-8").split("<main>")[0])


def test_overlapping_intervals_are_not_called_a_difference(tmp_path):
    spec = build(tmp_path, 3)
    scores = pd.read_csv(tmp_path / "results/scores.csv", keep_default_na=False)
    few = (scores.method == "tgan_ada") & (scores.metric == "fid")
    scores.loc[few, "value"] = [11.0, 12.0, 13.0, 14.0, 15.0, 16.0]
    scores.to_csv(tmp_path / "results/scores.csv", index=False)
    assert main(["--spec", str(spec), "--out", str(tmp_path / "r.html")]) == 0
    assert "the intervals overlap, so neither is shown to be better" in words(section(tmp_path / "r.html", "result"))


def test_what_people_prefer_is_shown_with_how_far_their_answers_can_be_trusted(tmp_path):
    pytest.importorskip("krippendorff", reason="the packages of the extra `study` are not installed")
    condition, won = ("dog2cat", "tgan_ada", "plain", 10, "source"), {0: (1, 1), 1: (1, 0), 2: (0, 0)}
    rows = [  # the rival's picture is on the left; the third rater fails the check
        (rater, 0, place, place, kind, *condition, 0, place, "left", "left" if chosen else "right", right, 900)
        for rater, choices in won.items()
        for place, (kind, chosen, right) in enumerate(
            [*(("pair", chosen, chosen) for chosen in choices), ("check", rater == 2, int(rater != 2))]
        )
    ]
    pd.DataFrame(rows, columns=ANSWERED).to_csv(tmp_path / "answers.csv", index=False)
    spec = build(tmp_path, 1)
    asked = {"preferences": [{"group": "table1", "answers": str(tmp_path / "answers.csv")}]}
    spec.write_text(json.dumps(json.loads(spec.read_text()) | asked))
    assert main(["--spec", str(spec), "--out", str(tmp_path / "r.html")]) == 0
    shown = section(tmp_path / "r.html", "pareto")
    told = words(shown)
    assert "TGAN + ADA, 10-shot</td><td>0.75 [" in shown and "3 people answered; 1 failed an attention check" in told
    assert "What people prefer: Title of table1" in told and "tables/table1_preference.csv" in shown


def test_the_published_numbers_stand_in_the_cells_of_the_papers_table(small_report, root):
    known = pd.read_csv(root / "eval/paper/table1.csv")
    fid = known[(known.method == "tgan_ada") & (known.warm_start == "nada_catchup")].fid.item()
    row = re.search(r"<th scope=\"row\">D catch-up</th>.*?</tr>", section(small_report, "paper"), re.DOTALL)[0]
    assert f"paper {fid:.2f}" in words(row) and len(numbers(row)) == 1


def test_the_page_has_the_sections_in_their_order_and_needs_no_other_file(small_report):
    text = small_report.read_text(encoding="utf-8")
    found = re.findall(r'<section id="(\w+)"', text)
    assert found == ["result", "lead", "paper", "claims", "galleries", "training", "costs", "licences", "environment"]
    loaded = re.findall(r'(?:src|href)="([^"]*)"', re.sub(r"<a [^>]*>", "", text)) + re.findall(r"url\(([^)]*)\)", text)
    assert loaded and all(address.startswith("data:") for address in loaded)
    assert "@import" not in text and "fetch(" not in text
    links = {link for link in re.findall(r'<a href="([^"#]+)', text)}
    exist = {link for link in links if (small_report.parent / link).is_file()}
    missing = {link for link in links - exist if not link.startswith(("figures/", "provenance.html"))}
    assert not missing, missing  # the figures of the small folder have no files beside their SVG


def test_a_number_opens_seeds_hyperparameters_hashes_and_pictures(small_report):
    one = next(c for c in details(small_report)["conditions"] if c["name"] == "NADA adaptive")
    assert [run["seed"] for run in one["runs"]] == [0, 1, 2]
    assert one["runs"][1]["id"] == "dog2cat/nada-adaptive/seed1" and one["runs"][0]["outputs"]
    assert one["hyperparameters"]["layers.k"] == "3" and "ab" * 32 in one["inputs"]["source"]
    [[strip, count, truncation]] = one["strips"]
    assert (count, truncation) == (PICTURES, "0.7")
    assert f".s{strip}{{background-image:url(data:image/png" in small_report.read_text(encoding="utf-8")


def test_a_picture_names_its_model_seed_latent_code_and_truncation(small_report):
    assert 'aria-label="NADA adaptive, dog2cat, seed 0, latent code 2, truncation 0.7"' in section(small_report, "lead")


def test_ids_are_not_shown_as_names(small_report):
    text = words(re.sub(r"<(script|style).*?</\1>", "", small_report.read_text(encoding="utf-8"), flags=re.DOTALL))
    for raw in ("tgan_ada", "nada_catchup", "warm_start", "240.0"):
        assert raw not in text


def test_equal_results_give_an_equal_page_and_another_file_is_not_overwritten(small_report, tmp_path, capsys):
    spec = str(small_report.with_name("report.json"))
    assert main(["--spec", spec, "--out", str(tmp_path / "again.html")]) == 0
    assert (tmp_path / "again.html").read_bytes() == small_report.read_bytes()
    (tmp_path / "mine.html").write_text("mine")
    assert main(["--spec", spec, "--out", str(tmp_path / "mine.html")]) == 2
    assert "remove it, or name another file" in capsys.readouterr().err


def test_a_misspelled_key_of_the_spec_is_reported(small_report, tmp_path, capsys):
    spec = json.loads(small_report.with_name("report.json").read_text())
    (tmp_path / "r.json").write_text(json.dumps({**spec, "seed": 1}))
    assert main(["--spec", str(tmp_path / "r.json"), "--out", str(tmp_path / "r.html")]) == 2
    assert "seed" in capsys.readouterr().err


@pytest.mark.slow
def test_the_report_of_the_smoke_run_is_small_and_its_numbers_are_scores(smoke_results):
    page = smoke_results / "report.html"
    assert page.stat().st_size < 15e6
    assert check_numbers(page) > 300


def test_a_world_like_one_of_ours_says_whose_its_networks_are_and_whose_its_own_files():
    def told(world, like=None, assets=()):
        return facts.licences(SimpleNamespace(spec=SimpleNamespace(world=world, like=like, assets=assets)))

    assert told("mini").endswith("MIT.")
    assert told("mine", ("near", "mini")) == told("mini") + (
        " Files that the world mine adds are under the terms of their owners."
    )
    assert told("mine", ("paper",)) == "" == told("rehearsal", ("paper",), assets=("a",))
