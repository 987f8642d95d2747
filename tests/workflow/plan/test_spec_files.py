"""The files in a job's spec, in the inputs of its rule and in its record are the same.

For every method and kind of job of the mini world, the paper's and its rehearsal.
"""

import numpy as np
import pytest

from nada.images.arrays import save_images
from nada.run.job import Job
from nada.run.spec.base import REAL, Spec
from workflow.plan.inputs import adapt_inputs, group_inputs, observation_inputs, record_inputs
from workflow.plan.layout import ready, reference_file, run_folder, training_file
from workflow.plan.plan import load_plan
from workflow.plan.specs import group_spec, observation_spec, run_spec

WORLDS = ("mini", "paper", "rehearsal")
STEERING = {"text", "templates", "clips"}  # only in specs of methods with text supervision


@pytest.fixture(scope="module", params=WORLDS)
def plan(request, root):
    """The whole benchmark of a world, with two seeds."""
    return load_plan(root, {"world": request.param, "seeds": [0, 1]})


def named(spec):
    """Every path that a spec names, at any depth."""
    if isinstance(spec, Spec):
        return named(spec.model_dump(mode="json"))
    if isinstance(spec, dict):
        return {path for value in spec.values() for path in named(value)}
    if isinstance(spec, (list, tuple)):
        return {path for value in spec for path in named(value)}
    return {spec} if isinstance(spec, str) and "/" in spec else set()


def waited_for(files):
    """The inputs of a rule as one set, from its named inputs."""
    lists = [[value] if isinstance(value, str) else value for value in files.values()]
    return {path for paths in lists for path in paths}


def test_a_run_depends_on_exactly_the_files_in_its_spec(plan):
    for run in plan.runs_of(plan.shown):
        spec = run_spec(plan, run)
        files = named(spec.model_copy(update={"parent": None}))
        assert files == {path for path in waited_for(spec.files()) if "/" in path}  # others are names
        expected = set(ready(plan, *files))
        if run.parent is not None:
            expected.add(f"{run_folder(plan, run.parent_id)}/model.safetensors")
        assert waited_for(adapt_inputs(plan, run)) == expected, run.id


def test_an_observation_depends_on_exactly_the_files_in_its_spec(plan):
    tasks = {task for task, _ in plan.conditions if reference_file(plan, task)}
    for task, name in [*plan.conditions, *((task, REAL) for task in tasks)]:
        spec = observation_spec(plan, task, name)
        models = {f"{run.folder}/model.safetensors" for run in spec.runs}
        files = named(spec.model_dump(mode="json", exclude={"runs"})) | models
        assert files == {path for path in waited_for(spec.files()) if "/" in path}  # others are names
        expected = set(ready(plan, *files))
        assert waited_for(observation_inputs(plan, task, name)) == expected, (task, name)


def test_a_group_names_the_files_that_its_jobs_wait_for(plan):
    for name in plan.groups:
        spec = named(group_spec(plan, name))
        waits = {*group_inputs(plan, name), *record_inputs(plan, name)}
        for condition in plan.members(name):
            waits |= {f"{run_folder(plan, r.id)}/curves.csv" for r in plan.seeds_of(condition)}
            waits |= {training_file(plan, condition)} - {None}
        kept = {path for path in waits if not path.endswith("/run.json")}  # beside each cost.json
        assert spec == kept


def test_the_spec_of_a_run_has_what_its_supervision_needs_and_nothing_more(plan):
    seen = set()
    for run in plan.runs_of(plan.shown):
        spec, condition = set(run_spec(plan, run).model_dump()), run.condition
        supervision = plan.methods[condition.method].supervision
        seen.add(supervision)
        assert spec & STEERING == (STEERING if supervision == "text" else set()), run.id
        learns = supervision == "images" or (supervision == "text" and condition.shots > 0)
        assert ("training_images" in spec) == learns, run.id
        assert ("source" in spec) == (condition.method != "replay"), run.id
    assert seen == {"text", "images", "none"}


def test_the_spec_of_a_run_has_only_the_clips_that_its_hyperparameters_name(root):
    paper = load_plan(root, {"world": "paper"})
    sketch = paper.run("face2sketch", "nada-pencil_sketch", 0)
    assert [clip.name for clip in run_spec(paper, sketch).clips] == ["b32"]
    assert adapt_inputs(paper, sketch)["clips"] == ["assets/.fetched/clip_vit_b_32"]
    cat = paper.run("dog2cat", "nada-adaptive", 0)
    assert [clip.name for clip in run_spec(paper, cat).clips] == ["b32", "b16"]


def test_no_observation_spec_has_a_prompt_and_that_of_the_reals_has_no_model(plan):
    spec = observation_spec(plan, "dog2cat", REAL).model_dump()
    assert not set(spec) & {*STEERING, "source", "training_images"}
    spec = observation_spec(plan, "dog2cat", "source-unchanged").model_dump()
    assert not set(spec) & {*STEERING, "references", "training_images"}
    assert ("target" in spec) == ("judge" in plan.world)


def test_the_spec_of_a_group_has_no_text_and_no_network(plan):
    for name in plan.groups:
        spec = group_spec(plan, name)
        keys = {*spec.model_dump(), *(key for task in spec.tasks.values() for key in task.model_dump())}
        assert not {*STEERING, "referee", "source"} & keys, name


@pytest.mark.parametrize(
    ("condition", "roles"),
    [
        ("tgan-plain-10shot", {"source", "references"}),
        ("source-unchanged", {"source"}),
        ("replay-images-10shot", {"references"}),
        ("nada-global", {"source", "templates", *(f"clip {n}{c}" for n in "abc" for c in ("", " config"))}),
    ],
)  # fmt: skip
def test_the_record_of_a_run_lists_the_files_in_its_spec(root, tmp_path, monkeypatch, condition, roles):
    monkeypatch.chdir(root)
    mini = load_plan(root, {"results": str(tmp_path)})
    (tmp_path / "references").mkdir()
    save_images(tmp_path / "references/cat.npz", np.zeros((10, 32, 32, 3), np.uint8))
    job = Job(run_spec(mini, mini.run("dog2cat", condition, 0)), tmp_path / "out", tmp_path / "state")
    assert set(job.inputs) == roles
