"""The declarations of metrics are checked while planning: one sentence per mistake."""

import subprocess
import sys

import pytest

from eval.metrics import catalogue
from workflow.plan.checking import ConfigError
from workflow.plan.metric_kinds import COMPARED, OTHERS, metric_names
from workflow.plan.plan import load_plan

GOOD = """
from eval.metrics.metric import Metric, Value

SHARP = Metric("sharpness", "sharpness", "", maximize=True, digits=2)
METRICS = (SHARP,)


def values(sample):
    yield Value(SHARP, 1.0, 1)
"""
# what is wrong: (text replaced, its replacement, what the sentence says)
WRONG = {
    "a name that is no literal": ('"sharpness", "s', 'NAME, "s', "line 4: 'name' of Metric is NAME; write a text"),
    "a blank name": ('"sharpness", "s', '" ", "s', "'name' of Metric is ' '"),
    "a direction that is a text": ("maximize=True", 'maximize="up"', "'maximize' .* is 'up'; write True, False or None"),
    "a direction that is computed": ("maximize=True", "maximize=not False", "'maximize' .* is not False; write"),
    "no direction": ("maximize=True, ", "", r"lacks 'maximize'; add it \(True, False or None\)"),
    "no digits": (", digits=2", "", "lacks 'digits'"),
    "digits that are a text": ("digits=2", "digits='2'", "'digits' of Metric is '2'; write a whole number"),
    "negative digits": ("digits=2", "digits=-1", "'digits' of Metric is -1; write a whole number"),
    "an unknown need": ("digits=2", "digits=2, needs='judges'", "'needs' .* is 'judges'; write one of '', 'references'"),
    "an unknown argument": ("digits=2", "digits=2, arrow='x'", "Metric takes name, label, unit, maximize, digits, needs"),
    "too many arguments": ('"", maximize=True, digits=2', '"", True, 2, "", 1', "leave out the other arguments"),
    "no METRICS": ("METRICS", "METRIX", r"has no METRICS; add METRICS = \(SHARP,\)"),
    "METRICS without the metric": ("(SHARP,)", "()", "METRICS lacks SHARP"),
    "METRICS that is no tuple": ("(SHARP,)", "SHARP", "METRICS must be a tuple"),
    "no values": ("def values", "def value", r"has no function values\(sample\)"),
    "torch": ("from eval", "import torch.nn\nfrom eval", "line 2: scores are computed without torch"),
    "a function of torch": ("from eval", "from torch import nn\nfrom eval", "without torch"),
    "a syntax error": ("digits=2)", "digits=2", "line 4: Python cannot read it"),
    "no metric": (GOOD, "x = 1\n", "declares no metric"),
    "a taken name": ('"sharpness", "s', '"fid", "s', "'fid' is declared in eval/metrics/fid.py and eval/metrics/sharpness.py; rename one"),
    "a taken label": ('"sharpness", "",', '"FID", "",', "the label 'FID' is declared in eval/metrics/fid.py and"),
    "a name twice in a file": ("METRICS =", 'B = Metric("sharpness", "b", "", None, 1)\nMETRICS = B,', "declared twice in eval/metrics/sharpness.py"),
}  # fmt: skip


@pytest.fixture
def project(root, tmp_path):
    """A folder with a copy of the project's metrics."""
    folder = tmp_path / "eval/metrics"
    folder.mkdir(parents=True)
    for path in (root / "eval/metrics").glob("*.py"):
        (folder / path.name).write_bytes(path.read_bytes())
    return tmp_path


def test_a_new_file_is_a_metric_with_its_direction(project):
    (project / "eval/metrics/sharpness.py").write_text(GOOD)
    assert metric_names(project)["sharpness"] is True


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_declaration_is_one_sentence_with_its_file(project, what):
    old, new, said = WRONG[what]
    assert old in GOOD
    (project / "eval/metrics/sharpness.py").write_text(GOOD.replace(old, new, 1))
    with pytest.raises(ConfigError, match="eval/metrics/sharpness.py") as error:
        metric_names(project)
    error.match(said)
    assert "\n" not in str(error.value)


def test_the_plan_and_the_catalogue_leave_out_the_same_files():
    assert {*OTHERS} == {"__init__", *catalogue.OTHERS}
    without = [file.__name__ for file in catalogue.FILES if not hasattr(file, "values")]
    assert without == [f"eval.metrics.{name}" for name in COMPARED]


def test_a_plan_refuses_a_wrong_declaration(root, project):
    for name in ("baselines", "workflow", "config.yaml"):
        (project / name).symlink_to(root / name)
    (project / "eval/metrics/sharpness.py").write_text(GOOD.replace("maximize=True, ", ""))
    with pytest.raises(ConfigError, match="eval/metrics/sharpness.py, line 4: Metric lacks 'maximize'"):
        load_plan(project)


def test_declarations_are_read_without_torch(root):
    code = "import sys; import workflow.plan.metric_kinds; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert done.stdout == "False\n", done.stderr
