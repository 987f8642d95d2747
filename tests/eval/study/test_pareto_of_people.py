"""The Pareto plot with people's answers in place of the automatic judge."""

import numpy as np
import pandas as pd

from eval.figures import pareto
from eval.score import COLUMNS
from eval.study.shares_table import RESULT
from nada.run.spec.base import CONDITION_KEYS
from nada.run.spec.group_spec import GroupSpec, ModelSpec, RowSpec, TaskSpec
from tests.eval.study.conftest import OURS, RIVALS


def group_of(world="mini"):
    """The group of OURS and RIVALS, which prefers OURS."""
    rows = tuple(
        RowSpec(**dict(zip(CONDITION_KEYS, condition, strict=True)), observation="-") for condition in [OURS, *RIVALS]
    )
    return GroupSpec(
        name="pareto", title="t", world=world, preset="default", device="cpu", rows=rows,
        tasks={"dog2cat": TaskSpec()},
        preference=ModelSpec(**dict(zip(CONDITION_KEYS[1:], OURS[1:], strict=True))),
    )  # fmt: skip


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
        columns=list(RESULT),
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


def test_the_axis_says_who_judged(tmp_path, monkeypatch):
    rows = [
        ("mini", *condition, 0, "last", "final", metric, value, 9)
        for condition, diversity in zip([OURS, *RIVALS], (1.5, 1.2, 1.0), strict=True)
        for metric, value in (("intra_cluster_lpips", diversity), ("preference", 0.1))
    ]
    scores, axes = pd.DataFrame(rows, columns=COLUMNS), []
    monkeypatch.setattr(pareto.drawing, "save", lambda figure, *_: axes.append(figure.axes[0].get_xlabel()))
    asked = pd.DataFrame([(*RIVALS[0], 218, 1200, 0.4, 0.35, 0.45)], columns=list(RESULT))
    asked.to_csv(tmp_path / "shares.csv", index=False)
    pareto.draw(group_of(), scores, str(tmp_path / "p"))
    pareto.draw(group_of(), scores, str(tmp_path / "p"), answers=str(tmp_path / "shares.csv"))
    assert "automatic judge" in axes[0] and "judged by people, n = 218" in axes[1]
