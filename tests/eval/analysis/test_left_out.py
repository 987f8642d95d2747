"""What a table leaves out: columns without a value go, a sentence says which and why."""

import json

import pandas as pd
import pytest

from eval import tables
from eval.score import COLUMNS
from nada.run.spec.group_spec import read_group_spec

BARE = {
    "judge": "the task names no target",
    "references": "the task has 40 real images, and 100 are needed",
    "new_images": "with 40 shots 0 real images are new to the model, and 20 are needed",
}


def scores(*rows):
    """A table of scores of (task, shots, metric, value)."""
    return pd.DataFrame(
        [["tiny", task, "tgan", "plain", shots, "source", 0, "last", "final", name, value, 60]
         for task, shots, name, value in rows],
        columns=COLUMNS,
    )  # fmt: skip


@pytest.fixture
def made(tmp_path):
    """made({task: what it lacks}, columns, scores): the four files of a group of tgan on 10 and 40 images."""

    def files(lacks, columns, table):
        entries = [(task, shots) for task in lacks for shots in (10, 40)]
        group = {
            "name": "own", "title": "own", "world": "tiny", "preset": "default", "device": "cpu",
            "tasks": {task: {"not_measured": why} if why else {} for task, why in lacks.items()},
            "rows": [{"task": task, "method": "tgan", "variant": "plain", "shots": shots, "observation": "o.npz"}
                     for task, shots in entries],
            "table": columns,
        }  # fmt: skip
        path = tmp_path / "group.json"
        path.write_text(json.dumps(group))
        return tables.make(read_group_spec(path), table)

    return files


def test_what_no_task_can_measure_is_no_column_and_one_sentence_for_each_reason(made):
    table = scores(("a", 10, "mean_lpips", 0.5), ("a", 40, "mean_lpips", 0.4))
    text = made({"a": BARE}, ["fid", "kid", "target_rate", "accepted_lpips", "mean_lpips"], table)[".md"]
    assert "FID ↓" not in text and "mean pairwise LPIPS" in text
    assert "- Not measured: FID, KID; the task has 40 real images, and 100 are needed.\n" in text
    assert "- Not measured: target rate, mean LPIPS of accepted; the task names no target.\n" in text
    assert "memorised" not in text and "No row has a value" not in text


def test_a_column_that_some_rows_have_stays_and_the_sentence_says_in_some(made):
    table = scores(("a", 10, "memorised", 0.1), ("a", 40, "mean_lpips", 0.4))
    text = made({"a": BARE}, ["memorised", "mean_lpips"], table)[".md"]
    assert "memorised ↓" in text
    assert f"- Not measured in every row: memorised; {BARE['new_images']}.\n" in text


def test_a_task_that_lacks_something_beside_one_that_does_not_is_named(made):
    table = scores(
        ("a", 10, "fid", 9.0), ("a", 40, "fid", 8.0), ("b", 10, "mean_lpips", 0.5), ("b", 40, "mean_lpips", 0.4)
    )
    text = made({"a": None, "b": BARE}, ["fid", "mean_lpips"], table)[".md"]
    assert "FID ↓" in text
    assert f"- Not measured of b: FID; {BARE['references']}.\n" in text


def test_a_task_that_lacks_nothing_changes_no_table(made):
    table = scores(("a", 10, "mean_lpips", 0.5), ("a", 40, "mean_lpips", 0.4))
    text = made({"a": None}, ["fid", "mean_lpips"], table)[".md"]
    assert "FID ↓" in text and "Not measured" in text  # as before: no row has one, and the tasks have no images
