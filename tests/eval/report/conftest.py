"""The report of a small results folder, and that of a finished run if SMOKE_RESULTS names one."""

import os
from pathlib import Path

import pytest

from eval.report.__main__ import main
from tests.eval.report.small_results import build


@pytest.fixture(scope="session")
def small_report(tmp_path_factory):
    """The page of a small folder with three seeds."""
    return made(tmp_path_factory.mktemp("report"), 3)


@pytest.fixture(scope="session")
def one_seed_report(tmp_path_factory):
    """The page of a small folder with one seed."""
    return made(tmp_path_factory.mktemp("one_seed"), 1)


def made(folder: Path, seeds: int) -> Path:
    page = folder / "results/report.html"
    assert main(["--spec", str(build(folder, seeds)), "--out", str(page)]) == 0
    return page


@pytest.fixture(scope="session")
def pages(small_report):
    """Every page that the browser opens."""
    finished = os.environ.get("SMOKE_RESULTS")
    return [small_report, *([Path(finished) / "report.html"] if finished else [])]
