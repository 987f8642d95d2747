"""Plans; a copy of the project whose jobs write small files at once; a loopback server for downloads.

Of the copy only the entry modules are changed, by one line at their top; everything that they
import, and so every code digest, is the project's own.
"""

import ast
import contextlib
import json
import re
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from baselines import registry
from tests.workflow.toy_assets import Site
from workflow.plan.config import load
from workflow.plan.methods import KEPT, descriptions
from workflow.plan.plan import Plan

JOBS = (
    "baselines/adapt.py",
    "eval/observe.py",
    "eval/score.py",
    "eval/tables.py",
    "eval/figures/grid.py",
    "eval/figures/training_curves.py",
    "eval/figures/chosen_layers.py",
    "eval/figures/sweep.py",
    "eval/figures/pareto.py",
    "eval/figures/neighbours.py",
    "eval/figures/losses.py",
    "eval/paper_table.py",
    "eval/claims.py",
    "eval/report/__main__.py",
    "workflow/worlds/mini/references.py",
)
# A smaller benchmark than the default, since a dry run takes the time that its jobs are many.
SEEDS, TASKS, VARIANTS = [0, 1], ["dog2cat"], ["global", "adaptive", "mapper"]
SWEPT = ["adaptive", "all_layers"]
FEW_SHOT = [
    {"methods": ["tgan"], "variants": ["plain"], "shots": [10], "warm_starts": ["source", "nada_finetuned_gd"]}
]  # fmt: skip
SHOWN = ("ablation", "k_sweep", "table1")
QUICK = 'if __name__ == "__main__":\n    import quick_job\n\n    quick_job.run()\n\n'
QUICK_JOB = """
import pathlib, sys

def run():
    out = sys.argv[sys.argv.index("--out") + 1]
    module = pathlib.Path(sys.argv[0]).stem
    names = {
        "adapt": ["/model.safetensors", "/snapshots.safetensors", "/curves.csv", "/run.json", "/cost.json"],
        "tables": [".csv", ".md", ".html", ".tex"],
        "paper_table": [".csv", ".md", ".html", ".tex", "_cost.csv"],
        "claims": [".csv", ".md", ".html"],
        **dict.fromkeys(
            ("grid", "gallery", "training_curves", "losses", "chosen_layers", "sweep", "pareto", "neighbours", "bias"),
            [".svg", ".pdf", ".png", ".csv"],
        ),
    }.get(module, [""])
    for name in names:
        pathlib.Path(out + name).write_text("task,value\\n" + out + ",1\\n")
    sys.exit(0)
"""


@dataclass
class Project:
    """A folder with the workflow in it, and how to plan and run there."""

    folder: Path
    snakemake: callable
    output: str = ""  # of the run that finished it

    def run(self, *words):
        done = self.snakemake(*words, "--cores", "4", cwd=self.folder)
        assert done.returncode == 0, done.stdout[-4000:]
        return done.stdout

    def planned(self, *words):
        """{rule: number of jobs} that a dry run announces; {} when there is nothing to do."""
        output = self.run(*words, "-n")
        if "Nothing to be done" in output:
            return {}
        table = output[output.rindex("Job stats:") :].split("\n\n")[0]
        counts = dict(re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE))
        counts.pop("total")
        return {rule: int(count) for rule, count in counts.items()}

    @contextlib.contextmanager
    def edited(self, file, change):
        """Change a file's text while the block runs."""
        path = self.folder / file
        before = path.read_text()
        try:
            path.write_text(change(before))
            yield
        finally:
            path.write_text(before)


def with_shortcut(source):
    """The source of a job's module, made to write its files and stop before it imports anything."""
    lines = source.splitlines(keepends=True)
    for statement in ast.parse(source).body:
        docstring = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        if not docstring and getattr(statement, "module", None) != "__future__":
            return (
                "".join(lines[: statement.lineno - 1])
                + QUICK
                + "".join(lines[statement.lineno - 1 :])
            )
    raise ValueError("no statement in this module")


def copy_project(root, folder):
    """Copy what the workflow needs; a weight file is replaced by a few bytes."""
    ignored = shutil.ignore_patterns("__pycache__", "*.safetensors", "manifest.json", "weights")
    for name in ("nada", "baselines", "eval", "workflow", "profiles"):
        shutil.copytree(root / name, folder / name, ignore=ignored)
    for name in ("Snakefile", "claims.yaml"):
        shutil.copy(root / name, folder / name)
    descriptions(registry.methods(root / "baselines"), root)  # which a copy would make anew, in seconds
    if (root / KEPT).is_dir():
        shutil.copytree(root / KEPT, folder / KEPT)
    config = yaml.safe_load((root / "config.yaml").read_text())
    config["seeds"] = SEEDS
    config["show"] = list(SHOWN)
    groups = config["groups"] = {name: config["groups"][name] for name in SHOWN}
    groups["ablation"].update(tasks=TASKS, rows=[{"methods": ["nada"], "variants": VARIANTS}], controls=["source"])
    groups["k_sweep"].update(tasks=TASKS, rows=[{"methods": ["nada"], "variants": SWEPT}])
    groups["table1"]["rows"] = FEW_SHOT
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    place = folder / "workflow/worlds/mini"
    world = yaml.safe_load((place / "world.yaml").read_text())
    clips = [clip[key] for clip in world["clips"] for key in ("config", "weights")]
    for file in [*world["sources"].values(), *clips, world["perceptual"], world["judge"]]:
        (place / file).parent.mkdir(parents=True, exist_ok=True)
        if file.endswith(".json"):  # a plan reads the words of a CLIP
            shutil.copy(root / "workflow/worlds/mini" / file, place / file)
        else:
            (place / file).write_text(json.dumps(file))
    return folder


def quick_copy(root, folder, snakemake):
    """A copy of the project with quick jobs, in which nothing has run."""
    copy_project(root, folder)
    (folder / "quick_job.py").write_text(QUICK_JOB)
    for file in JOBS:
        path = folder / file
        path.write_text(with_shortcut(path.read_text()))
    return Project(folder, snakemake)


@pytest.fixture(scope="session")
def plan_with(root):
    """The plan of the published configuration with some keys overridden: plan_with(seeds=[0])."""

    def made(**overrides):
        config, world = load(root, overrides)
        return Plan(config, world, registry.methods(root / "baselines"))

    return made


@pytest.fixture(scope="session")
def default(plan_with):
    """The plan of the published configuration with two seeds."""
    return plan_with(seeds=[0, 1])


@pytest.fixture(scope="session")
def bare_project(root, tmp_path_factory, snakemake):
    """A fresh copy in which nothing has run."""
    return Project(copy_project(root, tmp_path_factory.mktemp("bare")), snakemake)


@pytest.fixture(scope="session")
def finished_project(root, tmp_path_factory, snakemake):
    """A copy in which `all` has run, with quick jobs."""
    project = quick_copy(root, tmp_path_factory.mktemp("finished"), snakemake)
    project.output = project.run("all", "--verbose")
    return project


@pytest.fixture
def site(monkeypatch):
    """A loopback server; a test says in `site.routes` what it answers."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    site = Site()
    thread = threading.Thread(target=site.server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield site
    site.server.shutdown()
    site.server.server_close()
    thread.join(5)
