"""Two-alternative comparisons by people: what is shown, how answers are counted, where they go."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from eval.study.comparison import SIDES, main, page, pairs, read_answers, read_result, score
from scipy import stats

from eval.figures import pareto
from eval.observation import Observation, save_observation
from eval.score import COLUMNS
from nada.run.errors import UserError
from nada.run.spec.base import CONDITION_KEYS, Target
from nada.run.spec.group_spec import GroupSpec, ModelSpec, RowRun, RowSpec, TaskSpec

OURS = ("dog2cat", "nada", "mapper", 0, "source")
RIVALS = [("dog2cat", "tgan", "plain", 10, "source"), ("dog2cat", "ojha", "plain", 5, "source")]


def group_of(files=("-",) * 3, world="mini", curves="-", target=None):
    """The group of OURS and RIVALS, which prefers OURS. curves: of each run."""
    rows = tuple(
        RowSpec(
            **dict(zip(CONDITION_KEYS, condition, strict=True)),
            observation=file,
            runs=(RowRun(seed=0, curves=curves),),
        )
        for condition, file in zip([OURS, *RIVALS], files, strict=True)
    )
    return GroupSpec(
        name="pareto", title="t", world=world, preset="default", device="cpu", rows=rows,
        tasks={"dog2cat": TaskSpec(target=target)},
        preference=ModelSpec(**dict(zip(CONDITION_KEYS[1:], OURS[1:], strict=True))),
    )  # fmt: skip


@pytest.fixture
def files(tmp_path):
    """Our images are red, TGAN's green, Ojha's blue; the shade tells seed and latent."""
    files = []
    for channel, condition in enumerate([OURS, *RIVALS]):
        arrays = {}
        for seed in (0, 1):
            images = np.zeros((12, 8, 8, 3), np.uint8)
            images[..., channel] = 100 + 50 * seed + np.arange(12)[:, None, None]
            arrays[f"seed{seed}/images"] = images
        meta = {**dict(zip(CONDITION_KEYS, condition, strict=True)), "target": None}  # no judge
        meta["runs"] = [{"seed": 0}, {"seed": 1}]
        files.append(str(tmp_path / f"{condition[1]}.npz"))
        save_observation(files[-1], Observation(meta, arrays))
    return files


@pytest.fixture
def group(files):
    return group_of(files, target=Target("class", "cat"))


@pytest.mark.parametrize(
    ("target", "text", "name"),
    [
        (("class", "cat"), {"source": "Dog", "target": "Cat"}, "cat"),
        (("style", "sketch"), {"source": "Dog", "target": "Cat"}, "sketch"),
        (None, {"source": "Dog", "target": "Cat"}, "Cat"),
        (None, None, "picture"),
    ],
)
def test_the_question_names_the_target_by_class_style_or_text_and_needs_no_judge(
    files, tmp_path, target, text, name
):
    told = {"method": "nada", **({"text": text} if text else {})}
    (tmp_path / "run.json").write_text(json.dumps({"spec": told}))
    target = target and Target(*target)
    group = group_of(files, curves=str(tmp_path / "curves.csv"), target=target)
    shown, _ = pairs(group, 2, seed=0)
    assert {question for _, _, question in shown} == {f"Which is the better {name}?"}


def test_a_target_with_neither_class_nor_style_needs_the_records_of_the_runs(files, tmp_path):
    with pytest.raises(UserError, match=r"run\.json: no run record .*; make the run again"):
        pairs(group_of(files, curves=str(tmp_path / "curves.csv")), 2, seed=0)


def test_every_rival_meets_ours_as_often_on_random_sides_with_one_latent(group):
    shown, key = pairs(group, 10, seed=0)
    assert len(shown) == len(key) == 20 and key.number.tolist() == list(range(1, 21))
    assert key.groupby("method").size().to_dict() == {"ojha": 10, "tgan": 10}
    assert set(key.side) == set(SIDES)
    for (left, right, question), row in zip(shown, key.itertuples(), strict=True):
        theirs, ours = (left, right) if row.side == "left" else (right, left)
        channel = {"tgan": 1, "ojha": 2}[row.method]
        shade = 100 + 50 * row.seed + row.latent
        assert theirs[0, 0, channel] == shade and ours[0, 0, 0] == shade
        assert question == "Which is the better cat?"
    assert pairs(group, 10, seed=0)[1].equals(key)
    assert not pairs(group, 10, seed=1)[1].equals(key)
    with pytest.raises(UserError, match="12 kept images, 13 pairs"):
        pairs(group, 13, seed=0)


def test_the_page_holds_every_pair_and_no_name(group):
    shown, _ = pairs(group, 3, seed=0)
    text = page(shown, "Which?", "identity")
    assert len(re.findall("data:image/png;base64,", text)) == 12
    assert not any(name in text for name in ("tgan", "ojha", "nada", "{pairs}", "{{"))


def answered(key, won) -> pd.DataFrame:
    """Answers in which the rival wins the pairs for which `won` is true."""
    other = key.side.map({"left": "right", "right": "left"})
    return pd.DataFrame({"number": key.number, "choice": key.side.where(won, other)})


def test_answers_become_shares_with_intervals(group, tmp_path):
    _, key = pairs(group, 10, seed=0)
    won = (key.method == "tgan") | (key.latent < 3)
    (tmp_path / "answers").mkdir()
    answered(key, won).to_csv(tmp_path / "answers/anna.csv", index=False)
    key.to_csv(tmp_path / "key.csv", index=False)
    assert main(["score", "--folder", str(tmp_path)]) == 0
    table = read_result(tmp_path / "result.csv").set_index("method")
    wins = int((won & (key.method == "ojha")).sum())
    assert table.won["tgan"] == 1 and table.won["ojha"] == wins / 10
    wilson = stats.binomtest(wins, 10).proportion_ci(method="wilson")
    assert (table.low["ojha"], table.high["ojha"]) == pytest.approx(wilson, abs=1e-6)
    # a second person who never prefers a rival: the interval is over people
    answered(key, won & False).to_csv(tmp_path / "answers/ben.csv", index=False)
    both = score(key, read_answers(tmp_path, set(key.number))).set_index("method")
    assert both.people["tgan"] == 2 and both.answers["tgan"] == 20 and both.won["tgan"] == 0.5
    assert (both.low["tgan"], both.high["tgan"]) == (0, 1)


def test_a_sheet_that_people_have_answered_is_not_made_anew(tmp_path, capsys):
    (tmp_path / "answers").mkdir()
    (tmp_path / "answers/anna.csv").write_text("number,choice\n1,left\n")
    (tmp_path / "key.csv").write_text("the key to Anna's answers")
    assert main(["sheet", "--spec", "group.json", "--out", str(tmp_path)]) == 2
    assert "answers has answers to the sheet that is there" in capsys.readouterr().err
    assert (tmp_path / "key.csv").read_text() == "the key to Anna's answers"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,left\n", "the columns number, choice"),
        ("number,choice\n1,middle\n", "line 2 is not"),
        ("number,choice\n1,left\n99,left\n", "line 3 is not"),
        ("number,choice\n1,left\n1,right\n", "double answer"),
    ],
)
def test_a_wrong_answer_file_is_named(tmp_path, text, message):
    (tmp_path / "answers").mkdir()
    with pytest.raises(UserError, match="no person's answers"):
        read_answers(tmp_path, {1, 2})
    (tmp_path / "answers/x.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        read_answers(tmp_path, {1, 2})


def test_peoples_answers_take_the_place_of_the_automatic_judge():
    rows = [
        ("mini", *condition, 0, "last", "final", metric, value, 9)
        for condition, diversity in zip([OURS, *RIVALS], (1.5, 1.2, 1.0), strict=True)
        for metric, value in (("intra_cluster_lpips", diversity), ("preference", 0.1))
    ]
    scores = pd.DataFrame(rows, columns=COLUMNS)
    one = group_of()
    asked = pd.DataFrame(
        [(*RIVALS[0], 3, 60, 0.8, 0.7, 0.9)],
        columns=[*CONDITION_KEYS, "people", "answers", "won", "low", "high"],
    )
    table = pareto.data(one, scores, asked)
    quality = table[table.metric == "intra_cluster_lpips"].set_index("method").quality
    assert quality["tgan"] == 0.8 and quality["nada"] == 0.5 and np.isnan(quality["ojha"])
    assert pareto.data(one, scores).set_index("method").quality["tgan"] == 0.1


def test_without_a_judge_the_pareto_plot_has_one_panel_and_says_so(tmp_path, monkeypatch):
    rows = [
        ("paper", *condition, 0, "last", "final", metric, value, 9)
        for condition, diversity in zip([OURS, *RIVALS], (1.5, 1.2, 1.0), strict=True)
        for metric, value in (("intra_cluster_lpips", diversity), ("preference", 0.1))
    ]
    one = group_of(world="paper")
    titles, panels = [], []
    monkeypatch.setattr(pareto.drawing, "title", lambda figure, text: titles.append(text))
    save = pareto.drawing.save
    monkeypatch.setattr(
        pareto.drawing, "save", lambda f, *rest: (panels.append(len(f.axes)), save(f, *rest))
    )
    pareto.draw(one, pd.DataFrame(rows, columns=COLUMNS), str(tmp_path / "p"))
    assert panels == [1] and "this world has no judge of classes" in titles[0]
    assert set(pd.read_csv(tmp_path / "p.csv").metric) == {"intra_cluster_lpips"}
