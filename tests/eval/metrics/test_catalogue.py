"""The declarations of metrics: every file takes part, and headings follow the declaration."""

import ast
import importlib.util
from types import SimpleNamespace

import pytest

from eval.metrics import catalogue
from eval.metrics.metric import Metric
from eval.metrics.sample import Sample
from nada.run.errors import UserError
from workflow.plan.metric_kinds import metric_names


def test_a_metrics_heading_carries_its_unit_and_arrow():
    assert Metric("fid", "FID", "", False, 2).heading == "FID ↓"
    assert Metric("size", "size", "px", None, 0).heading == "size (px)"


def test_every_file_that_computes_a_metric_is_in_the_catalogue_with_all_that_it_declares(root):
    for path in (root / "eval/metrics").glob("*.py"):
        tree = ast.parse(path.read_text())
        assigned = [node.value for node in tree.body if isinstance(node, ast.Assign)]
        declared = {
            call.args[0].value
            for call in assigned
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "Metric"
        }
        assert declared <= set(catalogue.METRICS), path
        listed = path.stem in {file.__name__.rpartition(".")[2] for file in catalogue.FILES}
        assert listed == bool(declared), path


@pytest.mark.parametrize("key", ["name", "label"])
def test_no_two_declarations_of_all_files_share_a_name_or_label(key):
    given = [getattr(metric, key) for file in catalogue.FILES for metric in file.METRICS]
    assert sorted(given) == sorted(set(given))


def test_the_plan_accepts_every_declaration(root):
    assert set(metric_names(root)) <= set(catalogue.METRICS)


def test_only_metrics_that_compare_models_have_no_values_of_one_sample():
    without = [file.__name__ for file in catalogue.FILES if not hasattr(file, "values")]
    assert without == ["eval.metrics.realism"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("    raise ValueError('boom')\n    yield", r"sharpness.py:2\) failed on a/b/seed0: ValueError: boom$"),
        ("    yield len(sample.name + 1)", r"sharpness.py:2\) failed on a/b/seed0: TypeError: "),
        ("    yield 3", r"sharpness.py\) failed on a/b/seed0: TypeError: values\(\) yields 3, not a Value"),
        ("    pass", r"sharpness.py\) failed on a/b/seed0: TypeError: "),
    ],
)
def test_an_exception_of_a_metric_is_one_sentence_with_its_line_and_run(tmp_path, monkeypatch, body, said):
    path = tmp_path / "sharpness.py"
    path.write_text(f"def values(sample):\n{body}\n")
    spec = importlib.util.spec_from_file_location("sharpness", path)
    file = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(file)
    monkeypatch.setattr(catalogue, "FILES", [file])
    with pytest.raises(UserError, match=rf"^metric sharpness \(eval/metrics/{said}"):
        list(catalogue.values(Sample(None, "seed0", "a/b/seed0", None, 2)))


def test_a_users_mistake_in_a_metric_keeps_its_own_sentence(monkeypatch):
    def values(_):
        raise UserError("too few images.")

    monkeypatch.setattr(catalogue, "FILES", [SimpleNamespace(values=values)])
    with pytest.raises(UserError, match=r"^too few images\.$"):
        list(catalogue.values(Sample(None, "seed0", "a/b/seed0", None, 2)))


def test_an_unknown_metric_is_an_error_and_any_group_of_factors_is_known():
    assert catalogue.metric("factor_correlation_hair").label == "hair correlation"
    assert [catalogue.needs(name) for name in ("factor_correlation_hair", "kid", "x")] == [
        "judge", "references", "",
    ]  # fmt: skip
    with pytest.raises(UserError, match="no metric is called 'fidd'; known: accepted_lpips"):
        catalogue.metric("fidd")
