"""`snakemake estimate`: costs measured in one folder of results, forecast for another plan."""

import json
import shutil

import pytest

from nada.run.spec.base import as_json
from nada.run.spec.observation_spec import Counts, ObservationSpec, ObservedRun, RefereeSpec
from workflow.estimate import core_seconds
from workflow.forecast import forecast, main, measured, page, places
from workflow.plan.plan import load_plan

METHOD = {"nada": {"iterations": 4, "snapshots": 2}, "tgan": {"iterations": 4, "snapshots": [2, 4]}}


@pytest.fixture
def results(tmp_path):
    """A run of NADA and one of TGAN at 32 px on the CPU: 2 and 6 seconds for four steps."""
    for method, seconds in (("nada", 2.0), ("tgan", 6.0)):
        folder = tmp_path / f"runs/dog2cat/{method}-plain/seed0"
        folder.mkdir(parents=True)
        spec = {"method": method, "resolution": 32, "hyperparameters": METHOD[method]}
        (folder / "run.json").write_text(json.dumps({"device": "cpu", "spec": spec}))
        cost = {
            "wall_seconds": seconds, "peak_gpu_memory_bytes": None, "peak_memory_bytes": 2**30,
            "host": {"gpu": None, "cpu": "a CPU"},
        }  # fmt: skip
        (folder / "cost.json").write_text(json.dumps(cost))
        (folder / "model.safetensors").write_bytes(bytes(1000))
        (folder / "snapshots.safetensors").write_bytes(bytes(400))
    spec = tmp_path / "observations/dog2cat/nada-plain.json"
    spec.parent.mkdir(parents=True)
    told = ObservationSpec(
        world="mini", task="dog2cat", method="nada", variant="plain", device="cpu", resolution=32,
        source="dog.safetensors", referee=RefereeSpec(perceptual="perceptual.safetensors"),
        counts=Counts(fid_images=100, diversity_images=50, gallery_images=50),
        runs=(ObservedRun(id="dog2cat/nada-plain/seed0", seed=0, folder="-", latent_seed=0),),
    )  # fmt: skip
    spec.write_text(as_json(told))
    timed = tmp_path / "benchmarks/observations/dog2cat/nada-plain.tsv"
    timed.parent.mkdir(parents=True)
    timed.write_text("s\tmax_rss\n5.0\t1\n")
    return tmp_path


@pytest.fixture(scope="module")
def plan(root):
    return load_plan(root, {"seeds": [0, 1]})


def test_steps_looks_disk_and_memory_are_read_from_records(results):
    costs = measured(results, "cpu")
    assert costs.step == {("nada", 32): 0.5, ("tgan", 32): 1.5}
    assert costs.observation == {32: 0.05}
    assert costs.model[("nada", 32)] == 1000 and costs.snapshot[("tgan", 32)] == 200
    assert costs.memory[("nada", 32)] == 2**30
    assert measured(results, "cuda").step == {}


def test_a_forecast_multiplies_measured_steps_by_those_of_the_plan(results, plan):
    lines = {line.kind: line for line in forecast(plan, measured(results, "cpu"))}
    runs = [run for run in plan.runs.values() if run.condition.method == "tgan"]
    assert lines["tgan", 32].runs == len(runs)
    assert lines["tgan", 32].hours == pytest.approx(len(runs) * 600 * 1.5 / 3600)
    assert lines["tgan", 32].disk == len(runs) * (1000 + 5 * 200)
    observed = lines["observe", 32]
    assert observed.hours == pytest.approx(observed.runs * 2 * 1000 * 0.05 / 3600)


def test_what_a_run_takes_to_start_is_not_multiplied_by_the_steps_of_the_plan(results, plan):
    """The rehearsal's runs have four steps: reading weights and making kernels takes longer."""
    record = results / "runs/dog2cat/tgan-plain/seed0/cost.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "seconds_per_step": 0.5}))
    costs = measured(results, "cpu")
    assert (costs.step["tgan", 32], costs.start["tgan", 32]) == (0.5, 4.0)
    line = next(line for line in forecast(plan, costs) if line.kind == ("tgan", 32))
    assert line.hours == pytest.approx(line.runs * (600 * 0.5 + 4.0) / 3600)


def test_what_was_not_measured_is_named_and_not_guessed(results, plan):
    text = page(plan, results)
    assert "ojha at 32 px" in text and "not measured on this device" in text
    unknown = next(line for line in forecast(plan, measured(results, "cpu")) if line.kind[0] == "ojha")
    assert unknown.hours is None and unknown.disk is None
    assert "nothing is measured: no cpu run in elsewhere" in page(plan, "elsewhere")


def test_a_fresh_clone_forecasts_from_the_published_records(root, plan, monkeypatch, tmp_path):
    monkeypatch.chdir(root)
    fresh = load_plan(root, {"seeds": [0, 1], "results": str(tmp_path / "none")})
    text = page(fresh, *places(fresh))
    assert "from results/published/mini (" in text and "not measured" not in text
    total = next(line for line in text.splitlines() if line.startswith("together")).split()
    seconds = sum(core_seconds(fresh).values())  # those that world.yaml names
    assert seconds / 4 < 3600 * float(total[1]) < 4 * seconds
    assert total[2] == "–" and "disk use is unknown:" in text
    assert "observations: 8 seconds per thousand images, from world.yaml" in text


def test_own_results_come_before_the_published_ones(results, plan):
    assert f"from {results} (a CPU)" in page(plan, results, "results/published/mini")
    assert f"from {results} (a CPU)" in page(plan, "elsewhere", results)


def test_a_world_without_any_measured_run_says_so_and_shows_no_zero(root, monkeypatch):
    monkeypatch.chdir(root)
    paper = load_plan(root, {"world": "paper"})
    text = page(paper, *places(paper))
    assert "nothing is measured: no cuda run in results/rehearsal or results/published/rehearsal." in text
    assert "Measure first: snakemake at_256" in text
    assert "0.00" not in text and "–" not in text


def test_a_table_of_costs_serves_where_only_that_was_published(results, plan, tmp_path):
    table = tmp_path / "published/costs_cpu.csv"
    assert main(["--results", str(results), "--device", "cpu", "--out", str(table)]) == 0
    found, costs = measured(tmp_path / "published", "cpu"), measured(results, "cpu")
    assert (found.step, found.observation, found.memory) == (costs.step, costs.observation, costs.memory)
    assert found.model == pytest.approx(costs.model, rel=1e-3) and found.host == "a CPU"


def test_records_of_interrupted_runs_are_skipped_and_counted(results, plan):
    before = measured(results, "cpu")
    cut = results / "runs/dog2cat/ojha-plain/seed0"
    cut.mkdir(parents=True)
    (cut / "run.json").write_text('{"device": "cpu"}')  # and no cost.json
    empty = cut.with_name("seed1")
    empty.mkdir()
    (empty / "run.json").write_text("")
    (empty / "cost.json").write_text("{}")
    for name, timed in (("a", "s\n"), ("b", "s\tmax_rss\n-\t-\n")):
        spec = results / "observations/dog2cat/nada-plain.json"
        spec.with_name(f"{name}.json").write_text(spec.read_text())
        (results / f"benchmarks/observations/dog2cat/{name}.tsv").write_text(timed)
    after = measured(results, "cpu")
    assert (after.step, after.model, after.observation) == (before.step, before.model, before.observation)
    said = f"records that cannot be read, the first {cut / 'run.json'}"
    assert f"skipped: 4 {said}" in page(plan, results)
    shutil.rmtree(cut.parents[1] / "nada-plain")
    shutil.rmtree(cut.parents[1] / "tgan-plain")
    broken = page(plan, results)  # nothing else is left
    assert "nothing is measured" in broken and f"skipped: 4 {said}" in broken


def test_the_table_of_measurements_has_a_row_for_each_kind_and_for_observations(results, tmp_path, capsys):
    out = tmp_path / "costs.csv"
    assert main(["--results", str(results), "--device", "cpu", "--out", str(out)]) == 0
    assert out.read_text().splitlines()[1:] == [
        "nada,32,a CPU,0.5,,1.0,0.0009537", "tgan,32,a CPU,1.5,,1.0,0.0009537", "observation,32,a CPU,,0.05,,"
    ]  # fmt: skip
    assert main(["--results", str(results), "--device", "cuda", "--out", str(out)]) == 2
    assert "has no run on cuda" in capsys.readouterr().err
