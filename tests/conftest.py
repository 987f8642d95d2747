"""Fixtures that the whole suite shares: the smoke benchmark, run once, and the project's folder."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def root():
    """The project's folder."""
    return ROOT


@pytest.fixture(scope="session")
def scikit_learn_extra():
    """For tests that compute K-medoids: skipped where that package is missing or of another numpy."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import sklearn_extra.cluster  # noqa: F401
    except (ImportError, ValueError) as error:
        pytest.skip(f"scikit-learn-extra cannot be imported: {error}")


@pytest.fixture(scope="session")
def snakemake():
    """Call Snakemake as a user would and return the finished process, its output in `stdout`.

    snakemake(*words, cwd=…, entry=False): entry=True types the installed `snakemake` command,
    else `python -m snakemake`, which takes the packages from `cwd`.
    """

    def call(*words, cwd=ROOT, entry=False):
        script = [str(Path(sys.executable).with_name("snakemake"))]
        command = script if entry else [sys.executable, "-m", "snakemake"]
        environ = {k: v for k, v in os.environ.items() if not k.startswith("SNAKEMAKE")}
        environ["OMP_NUM_THREADS"] = "1"
        return subprocess.run(
            [*command, *words],
            cwd=cwd,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    return call


@pytest.fixture(scope="session")
def smoke_results(tmp_path_factory, snakemake, scikit_learn_extra):
    """The results folder of one real run of the smoke preset: every rule, every variant.

    The variable SMOKE_RESULTS names a finished one, so that CI makes it once.
    """
    if finished := os.environ.get("SMOKE_RESULTS"):
        return Path(finished)
    results = tmp_path_factory.mktemp("smoke") / "results"
    words = ["--cores", "2", "--resources", "gpu=1", "--config", "preset=smoke"]
    done = snakemake(*words, f"results={results}", "all", entry=True)  # typed as in the README
    assert done.returncode == 0, done.stdout[-6000:]
    return results
