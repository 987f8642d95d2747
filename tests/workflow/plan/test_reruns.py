"""What an edit runs again: the table of docs/architecture.md is the one that follows from the code.

A stage is a rule's jobs of one kind (`workflow.plan.stages`). It runs again where the digest of its
modules changes, what it is told, or a file that it reads. Stages that read what those write follow.
"""

import ast
import re

import pytest

from baselines.registry import methods
from nada.run.spec.base import REAL
from tests.workflow.conftest import copy_project
from workflow.plan.code_digest import ROOT, closure, module_path
from workflow.plan.figure_kinds import kinds
from workflow.plan.inputs import (
    adapt_inputs,
    observation_inputs,
    published_inputs,
    report_inputs,
)
from workflow.plan.layout import reference_file
from workflow.plan.methods import descriptions
from workflow.plan.specs import group_spec, observation_spec, run_spec
from workflow.plan.stages import FILES, MODULES, modules
from workflow.plan.world import HELD_OUT


def classes(root):
    """The words of the table that stand for all methods of a class, {word: names}, by what they declare."""
    declared, described = methods(root / "baselines"), descriptions(methods(root / "baselines"), root)
    return {
        "from source models": {name for name, method in declared.items() if method.generator == "source"},
        "few-shot": {name for name in declared if described[name]["adversarial"]},
        "from images": {name for name, method in declared.items() if method.supervision == "images"},
    }


FEW_SHOT = [name for name in sorted(classes(ROOT)["few-shot"]) if methods()[name].supervision != "text"]
#: Columns of the table: {column: {what a cell calls the stage: (rule, kind)}}.
STAGES = {
    "convert": {"yes": ("convert", "")},
    "adapt": {name: ("adapt", name) for name in sorted(methods())},
    "references": {
        "drawn": ("references", "workflow.worlds.mini.references"),
        "read": ("references", "nada.images.sets"),
    },
    "observe": {"runs": ("observe", "runs"), "real": ("observe", REAL), "held-out CLIP": ("observe", HELD_OUT)},
    "scores, tables, figures": {
        **{name: (name, "") for name in ("score", "table", "paper_table", "preference", "grid", "claims")},
        **{kind: ("figure", kind) for kind in kinds()},
        "report": ("html", ""),
    },
    "mini world": {name.removeprefix("pretrain_"): (name, "") for name in MODULES if "pretrain" in name},
}
#: Stages that are told of a group by its spec.
OF_A_GROUP = [name for name in STAGES["scores, tables, figures"] if name not in ("claims", "preference")]
#: Modules that only some stages may hold; a name that ends in a dot is a whole package.
LOSSES = ("nada.losses", "nada.objective", "nada.layers", "nada.mapper", "nada.augment", "nada.training")
STEERING = ("nada.clip.", *LOSSES)
READERS = tuple(f"nada.stylegan2.readers.{name}" for name in ("layouts", "rosinality", "nvlabs", "nvlabs_tf"))
IMAGE_FILES = ("nada.images.sets", "nada.images.files", "nada.images.containers")
FORBIDDEN = {
    **{("adapt", name): (*STEERING, "nada.stylegan2.readers.", "eval.") for name in FEW_SHOT},
    **{
        ("adapt", name): (*STEERING, *IMAGE_FILES, "nada.stylegan2.readers.", "baselines.adversarial.")
        for name in ("source", "checkpoint")
    },
    ("adapt", "replay"): (*STEERING, "nada.stylegan2.readers.", "nada.stylegan2.source_model"),
    ("adapt", "nada"): (*READERS, "nada.stylegan2.adversarial", "nada.stylegan2.ada", "baselines.adversarial."),
    ("observe", "runs"): (*STEERING, *READERS, "nada.stylegan2.adversarial", "nada.run.job", "baselines."),
    ("observe", REAL): (
        *(*STEERING, *READERS, "nada.stylegan2.generator", "nada.stylegan2.source_model"),
        *("nada.latent_maps", "nada.run.artifact", "nada.run.job", "baselines."),
    ),
    ("observe", HELD_OUT): (
        *(*LOSSES, *READERS, "nada.stylegan2.generator", "nada.stylegan2.source_model", "nada.images.sets"),
        *("nada.latent_maps", "nada.run.artifact", "nada.run.job", "baselines."),
    ),
    **{
        stage: ("nada.stylegan2.", "nada.clip.", "nada.run.artifact", "nada.latent_maps", "eval.networks.")
        for stage in STAGES["scores, tables, figures"].values()
    },
    ("convert", ""): (*STEERING, "nada.run.job", "nada.run.artifact", "nada.images.", "baselines."),
}


@pytest.fixture(scope="module")
def closures(root):
    """The modules of every stage: {(rule, kind): names}."""
    stages = [stage for column in STAGES.values() for stage in column.values()]
    return {stage: set(closure(*modules(*stage), root=root)) for stage in stages}


@pytest.mark.parametrize("stage", FORBIDDEN, ids=" ".join)
def test_a_stage_holds_no_module_that_it_does_not_use(closures, stage):
    def forbidden(name):
        return any(name == f or (f.endswith(".") and name.startswith(f)) for f in FORBIDDEN[stage])

    assert [name for name in sorted(closures[stage]) if forbidden(name)] == []


def test_a_file_that_a_module_reads_beside_itself_is_an_input_of_its_rule(closures, root):
    """A name in the module's text that is a file of its folder."""
    found = {}
    for stage, names in closures.items():
        for path in (module_path(name, root) for name in names):
            nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            texts = {n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)}
            read = [path.parent / text for text in texts if re.fullmatch(r"[\w.]+\.\w+", text)]
            files = {file.relative_to(root).as_posix() for file in read if file.is_file()}
            found.setdefault(stage[0], set()).update(files)
    # the images that are drawn are told all that they need; the world's file checks what is typed by hand
    found["references"].discard("workflow/worlds/mini/world.yaml")
    assert {rule: files for rule, files in found.items() if files} == {k: set(v) for k, v in FILES.items()}


# ---- the table ------------------------------------------------------------------------------------


def table(root, title):
    """{first cell: [other cells]} of the table under a heading of docs/architecture.md, its head first."""
    text = (root / "docs/architecture.md").read_text(encoding="utf-8")
    section = text[text.index(f"\n## {title}\n") :].split("\n## ")[1]
    lines = re.findall(r"^\| (.*) \|$", section, re.MULTILINE)
    rows = [[cell.strip() for cell in line.split(" | ")] for line in lines]
    assert rows, title
    return {row[0].strip("`"): row[1:] for row in rows}


def cells(stages, words, columns=STAGES):
    """One row of the table: the stages that run again, column by column.

    words: {word: names of stages that it stands for together}, beside `all` of a column.
    """
    row = []
    for column in columns.values():
        names = [name for name, stage in column.items() if stage in stages]
        for word, several in {"all": column, **words}.items():
            if 1 < len(several) and set(several) <= set(names):
                names = [*(name for name in names if name not in several), word]
        row.append(", ".join(names) or "–")
    return row


def of_code(file, closures):
    """The stages whose modules hold a file."""
    name = file.removesuffix(".py").replace("/", ".")
    assert module_path(name) is not None, file
    return {stage for stage, held in closures.items() if name in held}


def of_input(file, plan):
    """The stages that read a file of the project."""
    read = {("adapt", r.condition.method) for r in plan.runs.values() if file in flat(adapt_inputs(plan, r))}
    for task, name in observations(plan):
        if file in flat(observation_inputs(plan, task, name)):
            read.add(("observe", REAL if name == REAL else "runs"))
    told = {"table": published_inputs(), "paper_table": published_inputs("table1"), "html": report_inputs(plan)}
    return read | {(name, "") for files in (told, FILES) for name in files if file in files[name]}


def observations(plan):
    """(task, condition) of every observation, that of real images among them."""
    tasks = {task for task, _ in plan.conditions if reference_file(plan, task)}
    return [*plan.conditions, *((task, REAL) for task in tasks)]


def flat(files):
    return {path for paths in files.values() for path in ([paths] if isinstance(paths, str) else paths)}


def of_value(before, after):
    """The stages that are told something else by another plan."""
    told = set()
    for run in before.runs.values():
        if run_spec(before, run) != run_spec(after, after.runs[run.id]):
            told.add(("adapt", run.condition.method))
    for task, name in observations(before):
        if observation_spec(before, task, name) != observation_spec(after, task, name):
            told.add(("observe", REAL if name == REAL else "runs"))
    if any(group_spec(before, name) != group_spec(after, name) for name in before.groups):
        told |= {STAGES["scores, tables, figures"][name] for name in OF_A_GROUP}
    return told


#: What the rows of the table that are no files change in the configuration.
VALUES = {
    "text of a task (config.yaml)": {"tasks": {"dog2cat": {"text": {"target": "white cat"}}}},
    "hyperparameter of NADA": {"methods": {"nada": {"hyperparameters": {"lr": 0.001}}}},
    "hyperparameter of TGAN": {"methods": {"tgan": {"hyperparameters": {"g_lr": 0.001}}}},
    "number of measured images": {"evaluation": {"fid_images": 400}},
    "columns of a table": {"groups": {"table1": {"table": ["fid", "kid"]}}},
}


def test_the_table_of_what_an_edit_runs_again_follows_from_the_code(root, closures, plan_with):
    documented = table(root, "What an edit runs again")
    head = documented.pop("edited")
    assert head == list(STAGES)
    documented = {row: found for row, found in documented.items() if set(row) != {"-"}}
    plan = plan_with(seeds=[0])  # no task of the mini world asks a held-out CLIP
    ran = {run.condition.method for run in plan.runs.values()}
    declared = {**classes(root), "figures": kinds()}
    planned = {word: ran.intersection(names) for word, names in classes(root).items()} | {"figures": kinds()}
    computed = {}
    for row in documented:
        if row in VALUES:
            stages = of_value(plan, plan_with(seeds=[0], **VALUES[row]))
        elif row.endswith(".py"):
            stages = of_code(row, closures)
        else:
            stages = of_input(row, plan)
        computed[row] = cells(stages, declared if row.endswith(".py") else planned)
    for row, cells_of_row in computed.items():
        if documented[row] != cells_of_row:  # as the page must have it
            print(f"| `{row}` | {' | '.join(cells_of_row)} |")
    assert documented == computed


def test_a_new_method_changes_no_row_of_the_table(root, tmp_path):
    """The template of docs/add-a-method.md, in a copy of the project."""
    folder = copy_project(root, tmp_path)
    template = (root / "docs/method_template.py").read_text(encoding="utf-8")
    (folder / "baselines/l2_anchor.py").write_text(template.replace("my_method", "l2_anchor"), encoding="utf-8")
    columns = {**STAGES, "adapt": {**STAGES["adapt"], "l2_anchor": ("adapt", "l2_anchor")}}
    adapts = {stage: closure(*modules(*stage), root=folder) for stage in columns["adapt"].values()}
    words = classes(folder)
    assert all("l2_anchor" in names for names in words.values())
    for row, documented in table(root, "What an edit runs again").items():
        if row.endswith(".py"):
            assert cells(of_code(row, adapts), words, {"adapt": columns["adapt"]}) == [documented[1]], row


def test_every_kind_of_module_has_a_row(root):
    named = ["nada/losses.py", "nada/layers.py", "nada/mapper.py", "nada/augment.py", "nada/training.py", "nada/clip/encoder.py", "nada/latent_maps.py", "nada/stylegan2/ada.py", "nada/stylegan2/adversarial.py", "nada/stylegan2/generator.py", "nada/stylegan2/readers/nvlabs.py", "nada/stylegan2/source_model.py", "nada/run/artifact.py", "nada/run/job.py", "nada/images/sets.py", "baselines/ojha.py", "baselines/adversarial/few_shot.py", "eval/metrics/fid.py", "eval/analysis/statistics.py", "eval/figures/pareto.py", "eval/networks/referee.py", "workflow/worlds/mini/templates.txt", "workflow/worlds/mini/weights/dog.safetensors"]
    assert {*named, *VALUES} <= set(table(root, "What an edit runs again"))


# ---- through Snakemake ----------------------------------------------------------------------------


RUN = "results/mini/runs/dog2cat/{}/seed0/model.safetensors"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "retrained"),
    [
        ("nada/losses.py", {"nada-global"}),
        ("nada/clip/encoder.py", {"nada-global"}),
        ("nada/stylegan2/readers/nvlabs.py", set()),
        ("baselines/adversarial/few_shot.py", {"tgan-plain-10shot"}),
        ("nada/latent_maps.py", {"nada-global", "tgan-plain-10shot", "source-unchanged"}),
    ],
)
def test_snakemake_trains_what_the_edit_can_change_and_nothing_else(finished_project, file, retrained):
    runs = ("nada-global", "tgan-plain-10shot", "source-unchanged")
    with finished_project.edited(file, lambda text: text + "\n\nNEW = 1\n"):
        planned = finished_project.planned(*(RUN.format(run) for run in runs))
    assert planned.get("adapt", 0) == len(retrained)


@pytest.mark.slow
def test_an_edit_of_the_observation_of_reals_observes_no_run_again(finished_project):
    with finished_project.edited("eval/observe_real.py", lambda text: text + "\n\nNEW = 1\n"):
        planned = finished_project.planned("all")
    assert planned["observe"] == 1 and "adapt" not in planned
