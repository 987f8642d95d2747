"""Hundreds of simulated raters of known preference: what they answer comes back as shares, within the intervals."""

import json

import numpy as np
import pandas as pd
import pytest

from eval.study.__main__ import main
from eval.study.answers import COLUMNS, AnswerStore
from eval.study.pairs import CHECK, PAIR, REPEAT
from eval.study.shares import attentive, quality, rater_interval, read_answers, shares
from eval.study.shares import main as shares_main
from eval.study.shares_table import read_shares
from nada.run.errors import UserError
from tests.eval.study.conftest import RIVALS

pytest.importorskip("statsmodels", reason="the packages of the extra `study` are not installed")
krippendorff = pytest.importorskip("krippendorff", reason="the packages of the extra `study` are not installed")

#: What the simulated raters prefer: the mean and the spread of the chance that a rival wins.
PREFERENCE = {"tgan": (0.3, 0.15), "ojha": (0.75, 0.1)}


def beta(draw, mean, spread, size=None):
    """Chances in [0,1] with this mean and standard deviation."""
    both = mean * (1 - mean) / spread**2 - 1
    return draw.beta(mean * both, (1 - mean) * both, size)


def answer_all(store, draw, careless=False, stop=None):
    """One rater answers a booklet by their preference; a careless one at random."""
    study, token = store.study, store.start().result()
    likes = {method: beta(draw, *values) for method, values in PREFERENCE.items()}
    key = study.pairs.set_index("pair")
    for position, question in enumerate(study.questions_of(store.progress(token).booklet)[:stop]):
        pair = key.loc[question.pair]
        chance = 0.5 if careless else 0.0 if question.kind == CHECK else likes[pair.method]
        rival = draw.random() < chance
        store.answer(token, position, "left" if rival == (question.left == pair.rival) else "right", 1000)
    store.answer(token, -1, "left", 0).result()  # waits until all are stored
    return token


def test_hundreds_of_raters_prefer_in_the_table_what_they_prefer(study, tmp_path, capsys):
    store, draw = AnswerStore(study), np.random.default_rng(0)
    store._base.execute("PRAGMA synchronous = OFF")  # 5,000 answers without waiting for the disk
    for number in range(400):
        answer_all(store, draw, careless=number % 8 == 0, stop=5 if number % 10 == 1 else None)
    assert main(["export", str(study.folder), "--out", str(tmp_path / "answers.csv")]) == 0
    assert shares_main(["--answers", str(tmp_path / "answers.csv"), "--out", str(tmp_path / "shares")]) == 0
    table = read_shares(tmp_path / "shares.csv").set_index("method")
    for method, (mean, _) in PREFERENCE.items():
        row = table.loc[method]
        assert row.low <= mean <= row.high and row.high - row.low < 0.08
        assert 340 < row.people <= 400 and row.answers > 1200
    trust = quality(read_answers(tmp_path / "answers.csv"))
    assert trust.raters == 400 and 35 <= trust.excluded <= 50  # a guess passes three checks in one of eight
    assert abs(trust.left - 0.5) < 0.03 and trust.same[0] > 0.55 and 0 < trust.alpha < 0.4
    text = (tmp_path / "shares.md").read_text()
    assert "TGAN, 10-shot" in text and f"{trust.excluded} failed an attention check" in text
    assert "Krippendorff" in (tmp_path / "shares.html").read_text() and "α" in capsys.readouterr().out


@pytest.mark.parametrize("raters", [5, 20, 200])
@pytest.mark.parametrize(("mean", "spread"), [(0.5, 0.2), (0.8, 0.15), (0.95, 0.05)])
def test_the_interval_holds_the_true_share_as_often_as_it_says(raters, mean, spread):
    draw, studies = np.random.default_rng(1), 400
    inside = 0
    for _ in range(studies):
        of = draw.integers(1, 9, raters)
        won = draw.binomial(of, beta(draw, mean, spread, raters))
        low, high = rater_interval(won, of)
        inside += low <= mean <= high
    # 95 % within three standard errors of 400 studies; few raters get an interval that is too wide
    assert inside / studies >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / studies)


def test_answers_of_one_rater_do_not_count_as_independent():
    apart = rater_interval([5, 5, 5, 5, 5, 5, 5, 5], [10] * 8)
    alike = rater_interval([10, 0, 10, 0, 10, 0, 10, 0], [10] * 8)
    assert alike[1] - alike[0] > 0.6 > apart[1] - apart[0]
    assert rater_interval([3], [4]) == (0.0, 1.0)  # one person says nothing about others
    assert rater_interval([4, 4, 4], [4, 4, 4])[0] < 0.5  # nor do three who agree say much


def test_repeats_and_checks_are_no_comparisons_and_half_a_booklet_counts(study):
    store = AnswerStore(study)
    answer_all(store, np.random.default_rng(0), stop=6)
    answer_all(store, np.random.default_rng(1))
    answers = store.export()
    table = shares(attentive(answers))
    assert table.answers.sum() == (answers.kind == PAIR).sum() < len(answers)
    assert (answers.kind == REPEAT).sum() >= 2 and (answers.kind == CHECK).sum() >= 3


def test_agreement_is_krippendorffs_alpha_over_pairs_that_two_raters_saw(study):
    store = AnswerStore(study)
    for _ in range(4):
        answer_all(store, np.random.default_rng(7))  # four raters of one mind, but of different booklets
    answers = store.export()
    assert quality(answers[answers.rater == 1]).alpha is None
    counted = answers[answers.kind == PAIR]
    assert counted.groupby("pair").size().max() == 2  # a booklet and its mirror image
    values = counted.pivot(index="rater", columns="pair", values="won").to_numpy(dtype=float)
    expected = krippendorff.alpha(values, level_of_measurement="nominal")
    assert quality(answers).alpha == pytest.approx(expected)
    same = counted.assign(won=(counted.pair % 2).astype(int))
    assert quality(pd.concat([same, answers[answers.kind == CHECK]])).alpha == 1.0


# ---- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "column", "value", "message"),
    [
        (0, "won", 7, "line 2: 'won' must be one of 0, 1"),
        (3, "choice", "middle", "line 5: 'choice' must be one of left, right"),
        (1, "kind", "<b>", "line 3: 'kind' must be one of pair, repeat, check"),
        (2, "position", 1, "line 4: this rater answered that question before"),
    ],
)
def test_a_faulty_table_of_answers_is_named_with_its_line(study, tmp_path, line, column, value, message):
    store = AnswerStore(study)
    answer_all(store, np.random.default_rng(0))
    table = store.export().astype(object)
    table.loc[line, column] = value
    table.to_csv(tmp_path / "answers.csv", index=False)
    with pytest.raises(UserError, match=message):
        read_answers(tmp_path / "answers.csv")


def test_wins_that_contradict_the_choices_are_refused(study, tmp_path):
    store = AnswerStore(study)
    answer_all(store, np.random.default_rng(0))
    table = store.export()
    table.assign(won=1 - table.won).to_csv(tmp_path / "answers.csv", index=False)
    with pytest.raises(UserError, match="line 2: 'won' contradicts 'rival' and 'choice'"):
        read_answers(tmp_path / "answers.csv")


def test_files_of_another_kind_are_one_sentence(tmp_path):
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    for read, what in ((read_answers, "not the answers of a study"), (read_shares, "not the shares of a study")):
        with pytest.raises(UserError, match=what):
            read(tmp_path / "other.csv")
        with pytest.raises(UserError, match="no such file"):
            read(tmp_path / "none.csv")


def test_the_export_holds_no_secret_and_replaces_only_its_own_file(study, tmp_path, capsys):
    store, out = AnswerStore(study), tmp_path / "answers.csv"
    assert main(["export", str(study.folder), "--out", str(out)]) == 2
    assert "nobody has answered yet" in capsys.readouterr().err
    token = answer_all(store, np.random.default_rng(0))
    assert main(["export", str(study.folder), "--out", str(out)]) == 0
    assert token not in out.read_text() and out.read_text().split("\n")[0] == ",".join(COLUMNS)
    assert set(pd.read_csv(out).method) == {rival[1] for rival in RIVALS} | {"nada"}
    assert main(["export", str(study.folder), "--out", str(out)]) == 0
    assert main(["export", str(study.folder), "--out", str(study.folder / "pairs.csv")]) == 2


# ---- answers of the page without a server ------------------------------------------------------------


def saved(study, tmp_path, rater="a" * 32, count=None, changes=()):
    """A file as the page saves it."""
    count = study.length if count is None else count
    answers = [{"position": n, "choice": "left", "milliseconds": 800} for n in range(count)]
    path = tmp_path / f"answers-{rater[:4]}-{count}.json"
    content = {"study": study.identity, "rater": rater, "booklet": 1, "answers": answers}
    path.write_text(json.dumps(content | dict(changes)))
    return path


def test_saved_answers_are_imported_once(study, tmp_path):
    first, whole, other = (
        saved(study, tmp_path, count=4), saved(study, tmp_path), saved(study, tmp_path, rater="b" * 32)
    )  # fmt: skip
    for files in ([first], [first, first], [whole], [whole, first, other], [other]):
        assert main(["import", str(study.folder), *map(str, files)]) == 0
    table = AnswerStore(study).export()
    assert len(table) == 2 * study.length and not table.duplicated(["rater", "position"]).any()
    assert set(table.booklet) == {1}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"study": "another"}, "answers to another study"),
        ({"booklet": 99}, "a booklet or answers that the study does not have"),
        ({"booklet": -1}, "not a file of answers"),
        ({"rater": "'; DROP TABLE answers; --"}, "not a file of answers"),
        ({"rater": "<script>"}, "not a file of answers"),
        ({"answers": [{"position": 1, "choice": "left", "milliseconds": 1}]}, "not those to the first questions"),
        ({"answers": [{"position": 0, "choice": "both", "milliseconds": 1}]}, "not a file of answers"),
        ({"more": "x" * (1 << 20)}, "more than 1048576 bytes"),
    ],
)
def test_a_file_that_is_none_of_the_study_imports_nothing(study, tmp_path, capsys, changes, message):
    good, bad = saved(study, tmp_path), saved(study, tmp_path, rater="c" * 32, changes=changes)
    assert main(["import", str(study.folder), str(good), str(bad)]) == 2
    assert message in capsys.readouterr().err
    assert AnswerStore(study).counts() == (0, 0, 0)


def test_a_person_cannot_change_booklets(study, tmp_path, capsys):
    assert main(["import", str(study.folder), str(saved(study, tmp_path, count=2))]) == 0
    assert main(["import", str(study.folder), str(saved(study, tmp_path, changes={"booklet": 0}))]) == 2
    assert "another booklet" in capsys.readouterr().err


def test_answers_to_one_study_are_not_taken_for_those_to_another(study, make_study, tmp_path):
    AnswerStore(study)  # the server was started, but nobody answered
    other = make_study(seed=5)
    assert other.identity != study.identity
    answer_all(AnswerStore(other), np.random.default_rng(0), stop=1)
    with pytest.raises(UserError, match="has answers to another study"):
        AnswerStore(study, other.folder / "answers.sqlite")
    (tmp_path / "no.sqlite").write_text("hello" * 1000)
    with pytest.raises(UserError, match="cannot be used as the file of answers"):
        AnswerStore(study, tmp_path / "no.sqlite")
