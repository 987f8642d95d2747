"""Boxes of text on real figures: no name covers another, a marker or the frame, and no title is cut."""

import numpy as np
import pandas as pd
import pytest

from eval.figures import drawing, files, labels, pareto, training_curves
from eval.metrics.catalogue import metric
from eval.score import COLUMNS
from nada.run.spec.group_spec import GroupSpec

FEW = ("ojha", "minegan", "tgan", "tgan_ada", "freezed")
MODELS = [("source", "unchanged", 0), ("nada", "adaptive", 0), ("nada", "mapper", 0)]
MODELS += [(method, "plain", shots) for method in FEW for shots in (5, 10, 100)]
SEEDS = 3


@pytest.fixture(scope="module")
def group():
    rows = [
        {"task": "dog2cat", "method": m, "variant": v, "shots": s, "warm_start": "source", "observation": "-", "runs": ()}
        for m, v, s in MODELS
    ]
    return GroupSpec.model_validate({
        "name": "pareto", "world": "mini", "preset": "default", "device": "cpu", "rows": tuple(rows),
        "title": "Quality and diversity of NADA and of few-shot methods on 5, 10 and 100 cats, with a long title",
        "tasks": {"dog2cat": {"real": "-"}}, "preference": {"method": "nada", "variant": "mapper"},
    })  # fmt: skip


@pytest.fixture(scope="module")
def scores():
    """Scores of eighteen models, three of them in one place, with wide intervals."""
    rng, rows = np.random.default_rng(0), []
    for number, (method, variant, shots) in enumerate(MODELS):
        crowded = method == "ojha" or method == "source"
        at = np.array([0.02, 2.1]) if crowded else rng.uniform([0.05, 0.4], [0.6, 2.2])
        for seed in range(SEEDS):
            head = ["mini", "dog2cat", method, variant, shots, "source", seed]
            won, spread = at + rng.normal(0, 0.02, 2)
            values = {"preference": won, "intra_cluster_lpips": spread, "accepted_lpips": spread + number / 20}
            rows += [[*head, "last", "final", name, value, 300] for name, value in values.items()]
            if method != "source":
                rows += [[*head, step, "final", "kid", won + 1 / int(step), 64] for step in ("10", "20", "30")]
    return pd.DataFrame(rows, columns=COLUMNS)


def inside(figure, text) -> bool:
    """Whether a text's box lies within the figure."""
    box, page = text.get_window_extent(), figure.bbox
    return page.x0 - 1 <= box.x0 and box.x1 <= page.x1 + 1 and page.y0 - 1 <= box.y0 and box.y1 <= page.y1 + 1


def test_no_name_on_the_pareto_plot_covers_a_name_a_marker_or_the_frame(group, scores, monkeypatch):
    placed, place = {}, labels.place

    def recorded(axis, points, *rest):
        placed[axis] = points, place(axis, points, *rest)
        return placed[axis][1]

    monkeypatch.setattr(labels, "place", recorded)
    figure = pareto.picture(group, pareto.data(group, scores))
    figure.canvas.draw()
    assert len(placed) == 2
    for axis, (points, names) in placed.items():
        assert len(names.texts) == len(points) == len(MODELS)
        assert labels.overlaps(axis, names.texts, points) == []  # after the last layout
    assert all(inside(figure, text) for text in [figure._suptitle, *(a.xaxis.label for a in figure.axes)])


def test_an_overlap_is_seen():
    figure, panels = drawing.axes(1, 1)
    axis = panels[0][0]
    axis.set(xlim=(0, 1), ylim=(0, 1))
    figure.canvas.draw()
    names = {"one": (0.5, 0.5), "two": (0.51, 0.5), "edge": (1.0, 0.9), "free": (0.2, 0.2)}
    texts = [axis.text(*at, name, ha="center") for name, at in names.items()]
    found = labels.overlaps(axis, texts, np.array([[0.5, 0.52]]))
    assert {name for name, _ in found} == {"one", "two", "edge"}
    assert ("two", "one") in found and ("one", "marker 0") in found and ("edge", "frame") in found


def test_titles_labels_and_legends_of_training_curves_are_not_cut(group, scores):
    figure = training_curves.picture(group, training_curves.data(group, scores))
    figure.canvas.draw()
    legends = [text for axis in figure.axes if axis.get_legend() for text in axis.get_legend().get_texts()]
    titles = [axis.title for axis in figure.axes] + [axis._left_title for axis in figure.axes]
    labelled = [label for axis in figure.axes for label in (axis.xaxis.label, axis.yaxis.label)]
    texts = [text for text in [figure._suptitle, *legends, *titles, *labelled] if text.get_text()]
    assert len(legends) == 3 * 7  # in three panels the five few-shot methods and the two that see no image
    assert [text.get_text() for text in texts if not inside(figure, text)] == []
    assert figure.get_figwidth() * files.DPI < 2000


def test_an_axis_says_what_it_measures_which_way_is_better_and_of_how_many():
    table = pd.DataFrame({"images": [64, 1000], "n": [5, 7]})
    assert drawing.metric_label(metric("fid"), table) == "FID ↓\nn = 64–1,000 images, 5–7 seeds"
    assert drawing.metric_label(metric("fid"), table[:1]) == "FID ↓\nn = 64 images, 5 seeds"
    assert drawing.seeds([1]) == "1 seed"


def test_the_judge_of_the_quality_is_on_the_axis(group, scores):
    table = pareto.data(group, scores)
    assert pareto.judged_by(table, None) == "automatic judge (realism), n = 300 comparisons, 3 seeds"
    people = pd.DataFrame({"people": [218, 200]})
    assert pareto.judged_by(table, people) == "judged by people, n = 218"
