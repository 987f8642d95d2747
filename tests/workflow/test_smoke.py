"""The whole pipeline, for real and end to end: the smoke preset, run once for the test session."""

import json
import os
import struct
import zipfile

import numpy as np
import pandas as pd
import pytest

from workflow.plan.plan import load_plan
from workflow.publish import main as publish

pytestmark = pytest.mark.slow

CORRESPONDENCE = ("factor_correlation", "retrieval_top1")


@pytest.fixture(scope="module")
def plan(root):
    return load_plan(root, {"preset": "smoke"})


@pytest.fixture(scope="module")
def expected(plan):
    """The hyperparameters that the smoke preset's tables must show."""
    groups = plan.config["groups"]
    shown = {condition for group in plan.shown for condition in plan.members(group)}
    return {
        "tasks": {condition.task for condition in shown},
        "hyperparameters": {
            (s.method, s.variant, s.shots, s.warm_start) for s in shown if s.task == "dog2cat"
        },
        "columns": groups["ablation"]["table"],
    }


def test_every_condition_has_a_finite_score_in_every_column_of_the_table(smoke_results, expected):
    scores = pd.read_csv(smoke_results / "scores.csv", keep_default_na=False)
    assert set(scores["task"]) == expected["tasks"]
    adapted = scores[scores["method"] != "real"]
    keys = ["method", "variant", "shots", "warm_start"]
    found = set(adapted[keys].itertuples(index=False, name=None))
    assert found == expected["hyperparameters"]
    last = adapted[(adapted["step"].astype(str) == "last") & (adapted["weights"] == "final")]
    for condition in expected["hyperparameters"]:
        own = last[(last[keys] == list(condition)).all(axis=1)]
        values = own.set_index("metric")["value"].astype(float)
        for column in expected["columns"]:
            if condition[0] == "replay" and column in CORRESPONDENCE:
                assert column not in values  # its latents are not the source model's
            else:
                assert np.isfinite(values[[column]]).all(), (condition, column)


def test_the_unchanged_source_is_at_no_distance_from_itself(smoke_results):
    scores = pd.read_csv(smoke_results / "scores.csv", keep_default_na=False)
    source = scores[(scores["method"] == "source") & (scores["metric"] == "source_lpips")]
    assert source["value"].astype(float).abs().max() < 1e-5


def test_tables_figures_and_report_exist_and_are_whole(smoke_results):
    tables = smoke_results / "tables"
    assert "FID" in (tables / "ablation.md").read_text()
    assert "\\begin{tabular}" in (tables / "ablation.tex").read_text()
    assert len(pd.read_csv(tables / "ablation.csv")) >= 6
    png = (smoke_results / "figures/ablation_grid.png").read_bytes()
    assert png.startswith(b"\x89PNG")
    assert png.rstrip(b"\0").endswith(b"IEND\xaeB`\x82")
    width, height = struct.unpack(">II", png[16:24])
    assert min(width, height) >= 200
    for name in (
        "ablation_training_curves", "ablation_chosen_layers", "departures_training_curves", "k_sweep_sweep"
    ):
        assert "<svg" in (smoke_results / f"figures/{name}.svg").read_text()
        assert len(pd.read_csv(smoke_results / f"figures/{name}.csv"))
    assert "paired over seeds" in (tables / "departures.md").read_text()
    assert 500_000 < (smoke_results / "report.html").stat().st_size < 15_000_000
    assert (smoke_results / "provenance.html").stat().st_size > 1_000_000


def test_every_run_leaves_its_identity_its_cost_and_its_log(smoke_results):
    folders = sorted((smoke_results / "runs").glob("*/*/seed*"))
    assert folders
    for folder in folders:
        identity = json.loads((folder / "run.json").read_text())
        assert "date" not in identity
        assert json.loads((folder / "cost.json").read_text())
        log = smoke_results / "logs" / folder.relative_to(smoke_results).with_suffix(".log")
        assert log.read_text().strip()
        assert (folder / "curves.csv").is_file()


def test_its_archive_has_what_a_reader_needs_and_no_weights(smoke_results, tmp_path):
    archive = tmp_path / "publication.zip"
    assert publish(["--results", str(smoke_results), "--archive", str(archive)]) == 0
    with zipfile.ZipFile(archive) as packed:
        names = {name.removeprefix("mini/") for name in packed.namelist()}
        about = json.loads(packed.read("mini/publication.json"))
    assert about["preset"] == "smoke" and about["world"] == "mini" and "ablation" in about["groups"]
    whole = {"report.html", "provenance.html", "claims.csv", "scores.csv", "SHA256SUMS", "tables/ablation.md"}
    assert whole | {"figures/ablation_grid.svg", "figures/k_sweep_sweep.svg"} <= names
    assert {name for name in names if name.endswith("run.json")} == {
        path.relative_to(smoke_results).as_posix() for path in smoke_results.glob("runs/*/*/*/run.json")
    }
    assert not [name for name in names if name.endswith((".safetensors", ".npz")) or "state/" in name]
    assert 500_000 < archive.stat().st_size < 20_000_000


def test_a_second_call_has_nothing_to_do(smoke_results, snakemake, root):
    config = ["--config", "preset=smoke"]
    elsewhere = "SMOKE_RESULTS" in os.environ  # results/smoke of another folder, made there
    folder = smoke_results.parent.parent if elsewhere else root
    again = snakemake(
        "all", "-n", *config, *([] if elsewhere else [f"results={smoke_results}"]), cwd=folder
    )
    assert again.returncode == 0
    assert "Nothing to be done" in again.stdout
