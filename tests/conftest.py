"""Fixtures that the whole suite shares: the smoke benchmark, run once, and the project's folder."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from tests import fake_card

ROOT = Path(__file__).resolve().parent.parent


def pytest_collection_modifyitems(items):
    """Files that start Snakemake come first: the last file to end decides when parallel workers finish."""
    items.sort(key=lambda item: ROOT / "tests" / "workflow" not in item.path.parents)


@pytest.fixture(scope="session")
def root():
    """The project's folder."""
    return ROOT


@pytest.fixture(scope="session")
def scikit_learn_extra():
    """For tests that compute K-medoids: skipped where its package has to be compiled, and is not."""
    pinned = sys.version_info < (3, 12) and np.__version__ < "2"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import sklearn_extra.cluster  # noqa: F401
    except (ImportError, ValueError) as error:
        if pinned:  # there it is installed, or something is wrong
            raise
        pytest.skip(f"scikit-learn-extra cannot be imported: {error}")


@pytest.fixture(scope="session")
def snakemake():
    """Call Snakemake as a user would and return the finished process, its output in `stdout`.

    snakemake(*words, cwd=…, entry=False): entry=True types the installed `snakemake` command,
    else `python -m snakemake`. Both take the packages from `cwd`, the first as if it were installed.
    """

    def call(*words, cwd=ROOT, entry=False):
        script = [str(Path(sys.executable).with_name("snakemake"))]
        command = script if entry else [sys.executable, "-m", "snakemake"]
        environ = {k: v for k, v in os.environ.items() if not k.startswith("SNAKEMAKE")}
        environ["OMP_NUM_THREADS"] = "1"
        if entry:
            environ["PYTHONPATH"] = str(cwd)
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


#: Fused attention whose gradients no fixed order adds up, and whether each may be used.
ATTENTION = {
    torch.backends.cuda.enable_flash_sdp: torch.backends.cuda.flash_sdp_enabled,
    torch.backends.cuda.enable_mem_efficient_sdp: torch.backends.cuda.mem_efficient_sdp_enabled,
    torch.backends.cuda.enable_cudnn_sdp: torch.backends.cuda.cudnn_sdp_enabled,
}


@pytest.fixture
def flags():
    """Reads every flag of torch that a run may set; afterwards they are put back."""

    def read():
        return {
            "matmul": torch.backends.cuda.matmul.allow_tf32,
            "cudnn": torch.backends.cudnn.allow_tf32,
            "benchmark": torch.backends.cudnn.benchmark,
            "fixed": torch.backends.cudnn.deterministic,
            "algorithms": torch.are_deterministic_algorithms_enabled(),
            "attention": [enabled() for enabled in ATTENTION.values()],
        }

    before, workspace = read(), os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)
    filled = torch.utils.deterministic.fill_uninitialized_memory
    yield read
    torch.backends.cuda.matmul.allow_tf32 = before["matmul"]
    torch.backends.cudnn.allow_tf32 = before["cudnn"]
    torch.backends.cudnn.benchmark = before["benchmark"]
    torch.backends.cudnn.deterministic = before["fixed"]
    torch.use_deterministic_algorithms(before["algorithms"])
    for enable, enabled in zip(ATTENTION, before["attention"], strict=True):
        enable(enabled)
    torch.utils.deterministic.fill_uninitialized_memory = filled
    os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)
    if workspace is not None:
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = workspace


@pytest.fixture
def card(monkeypatch, flags):
    """A GPU for machines without one (see tests/fake_card.py): `with card:` around what uses it."""
    return fake_card.install(monkeypatch)
