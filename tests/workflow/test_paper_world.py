"""The paper's world and its rehearsal as plans: official files waited for, published hyperparameters, sizes."""

import pytest
import yaml

from baselines.adversarial.scaling import CATCH_UP_FLOOR
from baselines.nada_presets import presets
from nada.run.hyperparameters import read_hyperparameters
from nada.training import NadaHyperparameters
from workflow.lines import read_jobs
from workflow.plan.checking import ConfigError
from workflow.plan.config import load
from workflow.plan.inputs import (
    adapt_inputs,
    conversions,
    group_inputs,
    observation_inputs,
    reference_arguments,
    reference_inputs,
)
from workflow.plan.layout import ready, reference_file
from workflow.plan.plan import load_plan
from workflow.plan.specs import group_spec, observation_spec, run_spec

DOMAINS = {"FFHQ": "face", "LSUN Church": "church", "AFHQ-Dog": "dog", "LSUN Car": "car"}
NAMES = {"Cat": ("dog2cat", "adaptive"), "Bear": ("dog2bear", "adaptive")}
CLIPS = {"ViT-B/32": "b32", "ViT-B/16": "b16"}


@pytest.fixture(scope="module")
def paper(root):
    return load_plan(root, {"world": "paper"})


@pytest.fixture(scope="module")
def rehearsal(root):
    return load_plan(root, {"world": "rehearsal"})


@pytest.mark.parametrize("name", list(presets()))
def test_every_published_adaptation_is_a_task_with_its_texts_and_hyperparameters(paper, name):
    preset = presets()[name]
    if name == "pencil sketch":
        task, variant = "face2sketch", "pencil_sketch"
    else:
        key = name.lower().replace(" ", "_")
        task, variant = NAMES.get(name, (key, key))
    entry = paper.config["tasks"][task]
    assert tuple(entry["text"].values()) == preset.texts
    assert paper.resolution(task) == preset.resolution
    assert entry["source"].removesuffix("256") == DOMAINS[preset.domain]
    condition = paper.conditions[task, f"nada-{variant}"]
    assert condition in paper.conditions_of(paper.shown)
    found = read_hyperparameters(NadaHyperparameters, paper.hyperparameters(condition), name)
    wanted = preset.hyperparameters
    assert (found.iterations, found.batch, found.lr) == (wanted["iterations"], 2, 0.002)
    assert found.style_mixing == wanted["style_mixing"]
    assert (found.layers.policy, found.layers.k) == ("adaptive", wanted["layers"]["k"])
    assert (found.layers.n_w, found.layers.n_i) == (8, 1)
    clips = tuple(found.clips or [clip["name"] for clip in paper.world["clips"]])
    assert clips == tuple(CLIPS[clip] for clip in preset.clips)


def test_the_fourteen_rows_of_table_3_are_all_planned(paper):
    in_group = {(s.task, s.variant) for s in paper.members("table3") if s.method == "nada"}
    rows = [name for name in presets() if presets()[name].where.startswith("Table 3")]
    assert len(rows) == 14
    for name in rows:
        key = name.lower().replace(" ", "_")
        assert NAMES.get(name, (key, key)) in in_group


def test_every_sketch_is_made_with_the_hyperparameters_of_sketches(paper):
    """Table 2's pre-training and Fig. 26 too: not with 2,000 iterations of three layers, as animals."""
    used = {s.variant for s in paper.conditions_of(paper.shown) if (s.task, s.method) == ("face2sketch", "nada")}
    assert used == {"pencil_sketch", "pencil_images"}
    for method in ("ojha", "minegan", "tgan", "tgan_ada"):
        run = paper.run("face2sketch", f"{method}-plain-10shot-nada_catchup", 0)
        assert run.parent_id == "face2sketch/nada-pencil_sketch/seed0"
        cats = paper.run("dog2cat", f"{method}-plain-10shot-nada_catchup", 0)
        assert cats.parent_id == "dog2cat/nada-adaptive/seed0"


def test_the_official_k_is_every_layer_of_the_model_that_it_is_compared_on(paper):
    of = {s.variant: paper.trained_layers(s) for s in paper.members("departures")}
    assert of["official_k"] == of["all_layers"] == 15


def test_jobs_wait_for_the_marks_of_the_files_that_they_open(paper):
    run = paper.run("dog2cat", "tgan-plain-10shot", 0)
    inputs = adapt_inputs(paper, run)
    assert inputs["source"] == ["results/paper/converted/dog.safetensors"]
    assert inputs["references"] == ["results/paper/references/cat.json"]
    assert reference_inputs(paper, "cat") == ["assets/.fetched/afhq"]
    nada = adapt_inputs(paper, paper.run("dog2cat", "nada-adaptive", 0))
    assert nada["clips"] == ["assets/.fetched/clip_vit_b_32", "assets/.fetched/clip_vit_b_16"]
    spec = observation_spec(paper, "dog2cat", "nada-adaptive")
    assert spec.source == "results/paper/converted/dog.safetensors"
    assert list(spec.referee.inception) == ["clean", "legacy_pytorch"] and spec.referee.judge is None
    assert spec.target is None  # only a judge needs it
    assert run_spec(paper, run).resolution == 512


def test_every_official_model_is_converted_from_the_file_that_its_mark_stands_for(paper):
    files = conversions(paper)
    assert files == {domain: source["weights"] for domain, source in paper.world["sources"].items()}
    assert {name: ready(paper, file) for name, file in files.items()} == {
        "dog": ["assets/.fetched/afhq_dog_512"],
        "face": ["assets/.fetched/ffhq_1024"],
        "face256": ["assets/.fetched/ffhq_256"],
        "church": ["assets/.fetched/lsun_church_256"],
        "car": ["assets/.fetched/lsun_car_512"],
    }


def test_a_snakemake_plan_converts_a_model_once_and_before_its_runs(snakemake):
    target = "results/none/runs/dog2cat/source-unchanged/seed0/model.safetensors"
    words = [target, "-n", "-p", "--nolock", "--config", "world=rehearsal", "results=results/none"]
    done = snakemake(*words)
    assert done.returncode == 0, done.stdout[-2000:]
    jobs = {job.rule: job for job in read_jobs(done.stdout)}
    assert set(jobs) == {"asset", "convert", "run_spec", "adapt"}
    assert "results/none/converted/dog.safetensors" in jobs["adapt"].reads
    assert jobs["convert"].reads == ["assets/rehearsal/.fetched/afhq_dog_512"]
    command = "-m nada.stylegan2.convert convert assets/rehearsal/afhqdog.pkl results/none/converted/dog.safetensors"
    assert command in jobs["convert"].shell


def test_sketches_are_trained_on_the_ten_of_ojha_et_al_and_measured_against_theirs_for_fid(paper):
    run = paper.run("face2sketch", "ojha-plain-10shot", 0)
    ten = "results/paper/references/ten_sketches.json"
    assert adapt_inputs(paper, run)["references"] == [ten]
    assert run_spec(paper, run).training_images == ten
    spec = observation_spec(paper, "face2sketch", run.condition.name)
    assert spec.training_images == ten
    assert spec.references == "results/paper/references/sketch.json"
    files = observation_inputs(paper, "face2sketch", run.condition.name)["references"]
    assert files == [spec.references, ten]
    assert reference_inputs(paper, "ten_sketches") == ["assets/.fetched/sketches_10_shot"]
    assert "--limit 10" in reference_arguments(paper, "ten_sketches")
    rows = {(row.task, row.shots, row.training_images) for row in group_spec(paper, "table2").rows}
    cat, sketch = "results/paper/references/cat.json", "face2sketch"
    assert rows == {("dog2cat", 0, None), ("dog2cat", 10, cat), ("dog2cat", 100, cat), (sketch, 0, None), (sketch, 10, ten)}
    shots = {s.shots for s in paper.members("table2") if s.method == "replay"}
    of_sketches = {s.shots for s in paper.members("table2") if s.task == "face2sketch"}
    assert shots == {10, 100} and of_sketches == {0, 10}
    cats = paper.run("dog2cat", "ojha-plain-10shot", 0)
    assert run_spec(paper, cats).training_images == cat


def test_images_to_train_on_need_references_to_be_measured_against(root):
    own = {"few_shot": {"domain": "ten_sketches", "count": 10}, "references": None}
    with pytest.raises(ConfigError, match=r"'tasks\.face2sketch\.few_shot' .*no references"):
        load(root, {"world": "paper", "tasks": {"face2sketch": own}})


def test_few_shot_methods_run_as_long_as_published_on_five_thousand_images(paper):
    for method in ("tgan", "tgan_ada", "minegan", "ojha", "freezed"):
        assert paper.config["methods"][method]["hyperparameters"]["iterations"] == 5000
    assert paper.config["evaluation"]["fid_images"] == 5000
    cats = {s for s in paper.members("pareto") if s.method == "ojha"}
    assert {s.shots for s in cats} == {5, 10, 100}


def test_the_departures_of_few_shot_methods_are_planned_at_their_published_length(paper):
    runs = [s for s in paper.members("few_shot_departures") if s.method not in ("source", "replay")]
    assert {s.task for s in runs} == {"dog2cat"} and {s.shots for s in runs} == {10}
    assert {paper.hyperparameters(s)["iterations"] for s in runs} == {5000}
    assert group_spec(paper, "few_shot_departures").paper is None


def test_every_asset_of_the_world_is_in_the_registry_and_asked_for_by_its_mark(root, paper):
    registry = yaml.safe_load((root / "workflow/worlds/paper/assets.yaml").read_text())["assets"]
    assert set(paper.world["fetched"].values()) <= set(registry)


def test_the_rehearsal_is_the_papers_world_in_a_folder_of_its_own(paper, rehearsal):
    for key in ("sources", "clips", "inception", "vgg"):
        theirs = str(paper.world[key]).replace("assets/", "assets/rehearsal/")
        assert str(rehearsal.world[key]) == theirs
    assert rehearsal.world["assets"]["command"] == "workflow.worlds.rehearsal.make"
    trained = {
        (s.method, rehearsal.resolution(s.task)) for s in rehearsal.conditions_of(rehearsal.shown)
        if rehearsal.hyperparameters(s).get("iterations")
    }  # fmt: skip
    assert trained >= {(m, size) for m in ("nada", "ojha", "minegan", "tgan", "tgan_ada", "freezed")
                       for size in (256, 512)} | {("nada", 1024)}  # fmt: skip
    steps = {s.method: rehearsal.hyperparameters(s).get("iterations", 0) for s in rehearsal.conditions_of(rehearsal.shown)}
    # a few of each, but for D's catch-up, whose ten steps no length shortens
    assert steps["nada"] == 4 and steps["tgan"] == CATCH_UP_FLOOR + 2 == max(steps.values())


@pytest.mark.parametrize("world", ["paper", "rehearsal"])
def test_snakemake_plans_the_whole_world_without_any_of_its_files(world, snakemake):
    words = ["all", "-n", "--quiet", "--nolock", "--config", f"world={world}", "results=results/none"]
    done = snakemake(*words)
    assert done.returncode == 0, done.stdout[-2000:]
    assert f"world '{world}' (256x256, 512x512, 1024x1024, cuda)" in done.stdout


def test_a_task_without_images_has_no_reference_observation(paper):
    assert reference_file(paper, "white_walker") is None
    assert group_spec(paper, "table3").tasks["white_walker"].real is None
    assert not any("white_walker/real" in path for path in group_inputs(paper, "table3"))
