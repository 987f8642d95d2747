"""What each job waits for: models, images, clips, curves."""


import pytest

from workflow.plan.inputs import (
    adapt_inputs,
    conversions,
    figure_inputs,
    observation_inputs,
    parent_argument,
    published_inputs,
    reference_count,
)
from workflow.plan.specs import run_spec


def test_a_method_reads_only_what_its_supervision_names(default):
    nada = adapt_inputs(default, default.runs["dog2cat/nada-global/seed0"])
    source = adapt_inputs(default, default.runs["dog2cat/source-unchanged/seed0"])
    assert set(nada) == {"source", "clips", "templates"}
    assert set(source) == {"source"}


def test_a_run_reads_the_model_of_its_parent_and_has_its_folder_as_argument(default):
    mapper = default.runs["dog2bear/nada-mapper/seed1"]
    model = "results/mini/runs/dog2bear/nada-adaptive/seed1/model.safetensors"
    assert adapt_inputs(default, mapper)["parent"] == [model]
    assert (
        parent_argument(default, mapper) == f"--parent {model.removesuffix('/model.safetensors')}"
    )


@pytest.mark.parametrize(
    ("file", "converted"),
    [("fox.pt", True), ("fox.pkl", True), ("fox.safetensors", False), ("run.1/model.safetensors", False)],
)
def test_a_checkpoint_of_other_people_is_converted_before_a_run_reads_it(
    plan_with, tmp_path, file, converted
):
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.touch()
    weights = str(path.parent if path.stem == "model" else path)  # a run's folder, or a file
    theirs = {"hyperparameters": {}, "variants": {"theirs": {"hyperparameters": {"weights": weights}}}}
    rows = [{"methods": ["checkpoint"], "variants": ["theirs"], "shots": [0], "warm_starts": ["source"]}]
    group = {"title": "theirs", "like": "table1", "rows": rows, "paper": None}
    plan = plan_with(seeds=[0], methods={"checkpoint": theirs}, groups={"theirs": group})
    run = plan.runs["dog2cat/checkpoint-theirs/seed0"]
    read = run_spec(plan, run).hyperparameters["weights"]
    if converted:
        (name,) = conversions(plan)
        assert conversions(plan) == {name: weights} and name.startswith("fox-")
        assert read == f"results/mini/converted/{name}.safetensors"
        assert adapt_inputs(plan, run)["weights"] == [read]
    else:
        assert conversions(plan) == {} and read == weights
        assert adapt_inputs(plan, run)["weights"] == [str(path)]


def test_few_shot_runs_read_the_reference_images(plan_with):
    rows = [{"methods": ["nada"], "variants": ["global"], "shots": [5]}]
    few = plan_with(seeds=[0], groups={"ablation": {"rows": rows}})
    run = few.runs["dog2cat/nada-global-5shot/seed0"]
    assert adapt_inputs(few, run)["references"] == ["results/mini/references/cat.npz"]


def test_the_observation_of_runs_that_see_no_images_waits_for_none(default):
    assert "references" not in observation_inputs(default, "dog2cat", "nada-global")
    shown = observation_inputs(default, "dog2cat", "replay-images-10shot")
    assert shown["references"] == ["results/mini/references/cat.npz"]


def test_a_figure_of_neighbours_reads_the_images_that_its_models_were_trained_on(default):
    trained = figure_inputs(default, "table1", "neighbours")["references"]
    assert trained == ["results/mini/references/cat.npz"]


def test_a_control_with_shots_reads_the_target_images_of_every_seed(default):
    assert "nada-replay" not in default.conditions
    run = default.runs["dog2cat/replay-images-10shot/seed1"]
    assert adapt_inputs(default, run)["references"] == ["results/mini/references/cat.npz"]
    assert run.condition.shots == 10


def test_the_observation_of_the_reals_depends_on_no_model(default):
    assert "models" not in observation_inputs(default, "dog2cat", "real")


def test_a_figure_of_losses_reads_the_curves_of_every_run_and_a_sweep_none(default):
    curves = figure_inputs(default, "ablation", "losses")["curves"]
    assert "results/mini/runs/dog2bear/nada-global/seed1/curves.csv" in curves
    assert "curves" not in figure_inputs(default, "k_sweep", "sweep")
    assert "curves" not in figure_inputs(default, "ablation", "training_curves")  # it reads scores and costs


def test_a_figure_over_training_reads_what_every_run_cost_with_those_that_it_goes_on_from(default):
    records = figure_inputs(default, "ablation", "training_curves")["records"]
    for variant in ("mapper", "adaptive"):
        assert f"results/mini/runs/dog2bear/nada-{variant}/seed1/cost.json" in records
    assert "records" not in figure_inputs(default, "ablation", "chosen_layers")


def test_published_numbers_are_inputs_of_the_tables_that_show_them(root):
    assert published_inputs() == ["eval/paper/lengths.csv"]
    assert published_inputs("table1") == ["eval/paper/lengths.csv", "eval/paper/table1.csv"]
    files = {f"eval/paper/{path.name}" for path in (root / "eval/paper").iterdir()}
    assert files == {*published_inputs("table1"), *published_inputs("table2")}


def test_references_are_drawn_once_in_the_largest_number_asked(plan_with):
    tasks = {
        "dog2cat": {"references": {"domain": "cat", "count": 500}},
        "dog2bear": {"references": {"domain": "cat", "count": 700}},
    }
    assert reference_count(plan_with(tasks=tasks), "cat") == 700
