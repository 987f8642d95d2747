"""A results folder that has results already: of another world, or without Snakemake's own records."""

import json
import os
import shutil

import pytest

from nada.run.errors import UserError
from tests.workflow.conftest import quick_copy
from workflow.plan.earlier_results import check_world


def test_results_of_another_world_are_refused_while_planning(tmp_path):
    check_world("results/x", "mini", tmp_path)
    run = tmp_path / "results/x/runs/dog2cat/nada-global/seed0"
    run.mkdir(parents=True)
    for harmless in ("", "[]", "{}", '{"world": "mini"}'):
        (run / "spec.json").write_text(harmless)
        check_world("results/x", "mini", tmp_path)
    with pytest.raises(UserError, match="'results/x', which holds runs of the world 'mini', but the world is 'paper'"):
        check_world("results/x", "paper", tmp_path)


@pytest.fixture(scope="module")
def copied(root, tmp_path_factory, snakemake):
    """A project with the results of `ablation_global`, but without Snakemake's records of them."""
    project = quick_copy(root, tmp_path_factory.mktemp("copied"), snakemake)
    project.run("ablation_global")
    shutil.rmtree(project.folder / ".snakemake/metadata")
    return project


def edited(path, **changes):
    """Change keys of a spec file, as if another configuration had made it; its time stamp is kept."""
    before = path.stat()
    path.write_text(json.dumps(json.loads(path.read_text()) | changes, indent=2) + "\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.slow
def test_copied_results_of_the_same_plan_are_current(copied):
    assert copied.planned("ablation_global") == {}


@pytest.mark.slow
def test_copied_results_whose_spec_differs_from_the_plan_are_made_again(copied):
    edited(copied.folder / "results/mini/runs/dog2cat/nada-global/seed0/spec.json", resolution=64)
    planned = copied.planned("ablation_global")
    assert [planned[rule] for rule in ("run_spec", "adapt", "observe", "score", "table")] == [1] * 5
    assert copied.planned("results/mini/tables/ablation_global.md")["run_spec"] == 1
    assert "run_spec" not in copied.planned("ablation_global", "--rerun-triggers", "mtime")
    assert "run_spec" not in copied.planned("estimate")


@pytest.mark.slow
def test_a_dry_run_refuses_results_of_another_world(copied):
    edited(copied.folder / "results/mini/runs/dog2cat/nada-global/seed0/spec.json", world="elsewhere")
    done = copied.snakemake("-n", "ablation_global", cwd=copied.folder)
    assert done.returncode == 2
    assert "error: config: 'results' is 'results/mini', which holds runs of the world 'elsewhere'" in done.stdout
