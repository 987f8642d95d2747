"""How long runs are beside the published ones, and what they cost with what they go on from."""

import json

import pytest
import yaml

from eval.analysis.costs import LENGTHS, frame, known_length
from eval.analysis.lengths import notes
from nada.run.errors import UserError
from nada.run.spec.base import CONDITION_KEYS, Target
from nada.run.spec.group_spec import GroupSpec, RowRun, RowSpec, TaskSpec

FEW_SHOT = {"iterations": 240, "published_iterations": 5000, "ema_kimg": 1.25, "catchup_steps": 50}


def run(folder, task, method, spec, seconds=10.0, iterations=None):
    """A run's records; returns the path of its cost record."""
    folder.mkdir(parents=True)
    own = spec.get("mapper") or spec
    cost = {
        "iterations": own.get("iterations", 0) if iterations is None else iterations,
        "images_seen": 20, "clip_calls": 3, "wall_seconds": seconds,
    }  # fmt: skip
    (folder / "cost.json").write_text(json.dumps(cost))
    told = {"method": method, "task": task, "hyperparameters": spec}
    (folder / "run.json").write_text(json.dumps({"spec": told}))
    return str(folder / "cost.json")


def group(*members, targets=None):
    """members: (condition, {seed: cost records of the run and of what it goes on from})."""
    rows = tuple(
        RowSpec(
            **dict(zip(CONDITION_KEYS, condition, strict=True)),
            observation="-",
            runs=tuple(RowRun(seed=s, curves="-", costs=of_seed) for s, of_seed in costs.items()),
        )
        for condition, costs in members
    )
    tasks = {row.task: TaskSpec(target=(targets or {}).get(row.task)) for row in rows}
    return GroupSpec(
        name="g", title="Title", world="mini", preset="default", device="cpu", tasks=tasks, rows=rows
    )


def nada(task="dog2cat", variant="adaptive"):
    return (task, "nada", variant, 0, "source")


def test_costs_add_up_over_the_lineage_and_s_is_of_the_run_itself(tmp_path):
    seeds = {}
    for seed in (0, 1):
        own = run(tmp_path / f"tgan{seed}", "dog2cat", "tgan", FEW_SHOT, seconds=10.0 + 4 * seed)
        parent = run(tmp_path / f"nada{seed}", "dog2cat", "nada", {"iterations": 100}, seconds=30.0)
        seeds[seed] = (own, parent)
    row = frame(group((("dog2cat", "tgan", "plain", 10, "nada"), seeds))).iloc[0]
    assert row.iterations == 240 and row.iterations_before == 100
    assert row.published_iterations == 5000 and row.s == pytest.approx(0.048)
    assert row.wall_seconds == 42.0 and row.images_seen == 40 and row.clip_calls == 6 and row.n == 2


def test_every_training_has_a_sentence_with_its_s(tmp_path):
    adapted = run(tmp_path / "a", "dog2cat", "nada", {"iterations": 240})
    sketch = run(tmp_path / "s", "face2sketch", "nada", {"iterations": 240})
    mapper = {"iterations": 240, "mapper": {"iterations": 200}}
    mapped = run(tmp_path / "m", "dog2cat", "nada", mapper)
    tgan = run(tmp_path / "t", "dog2cat", "tgan", FEW_SHOT)
    source = run(tmp_path / "c", "dog2cat", "source", {})
    found = notes(
        group(
            (("dog2cat", "source", "unchanged", 0, "source"), {0: (source,)}),
            (nada("face2sketch"), {0: (sketch,)}),
            (nada(variant="mapper"), {0: (mapped, adapted)}),
            (("dog2cat", "tgan", "plain", 10, "nada"), {0: (tgan, adapted)}),
        )
    )
    assert found == [
        "Length of NADA on face2sketch: 240 of the 300 published iterations (Table 3), s = 0.8.",
        "Length of the mapper of NADA: 200 of the 50,000 published iterations (StyleCLIP), s = 0.004.",
        "Length of NADA on dog2cat: 240 of the 2,000 published iterations (Table 3), s = 0.12.",
        (
            "Length of TGAN: 240 of the 5,000 published iterations, s = 0.048; so half-life of the"
            " average 0.06 kimg, D's catch-up 10 steps."  # the floor of the catch-up
        ),
    ]


def test_a_task_of_ones_own_takes_the_published_length_of_its_kind_or_says_that_there_is_none(
    tmp_path,
):
    costs = {
        task: run(tmp_path / task, task, "nada", {"iterations": 30}) for task in ("a", "b", "c")
    }
    kinds = {"a": Target("class", "owl"), "b": Target("style", "ink")}
    one = group(*((nada(task), {0: (cost,)}) for task, cost in costs.items()), targets=kinds)
    table = frame(one).set_index("task")
    assert table.published_iterations[["a", "b"]].tolist() == [2000, 300]
    assert table.s.isna().tolist() == [False, False, True]
    assert notes(one)[-1] == "Length of NADA on c: 30 iterations; no published number is known."
    stated = run(tmp_path / "d", "c", "nada", {"iterations": 30, "published_iterations": 60})
    assert frame(group((nada("c"), {0: (stated,)}))).s.tolist() == [0.5]  # the run's own word


def test_the_published_lengths_of_nada_are_those_of_its_presets(root):
    presets = yaml.safe_load((root / "baselines/nada_presets.yaml").read_text())["presets"]
    for name, preset in presets.items():
        named = {"Cat": "dog2cat", "Bear": "dog2bear", "pencil sketch": "face2sketch"}
        task = named.get(name, name.lower().replace(" ", "_"))
        assert known_length("adaptation", task)[0] == preset["hyperparameters"]["iterations"], name
    tasks = {line.split(",")[1] for line in LENGTHS.read_text().splitlines()[1:]}
    assert {"dog2cat", "face2sketch", "a target class"} <= tasks


def test_a_missing_record_is_named(tmp_path):
    cost = run(tmp_path / "a", "dog2cat", "tgan", FEW_SHOT)
    one = group((("dog2cat", "tgan", "plain", 10, "source"), {0: (cost,)}))
    (tmp_path / "a/run.json").write_text("{}")
    with pytest.raises(UserError, match="no run record"):
        notes(one)
    (tmp_path / "a/cost.json").unlink()
    with pytest.raises(UserError, match="no cost record"):
        frame(one)
