"""What methods declare reaches the plan: described once, kept, and every mistake found before a job starts."""

import json
import shutil
import subprocess
import sys

import pytest

from baselines import registry
from baselines.adversarial.warm_starts import WARM_STARTS
from tests.workflow.conftest import copy_project
from workflow.plan import methods
from workflow.plan.checking import ConfigError, coerce, schema, validate, whole_numbers
from workflow.plan.config import with_defaults
from workflow.plan.runs import Condition

PLAN = """
import json, sys
from nada.run.errors import UserError
from workflow.plan.plan import load_plan
try:
    plan = load_plan(overrides=json.loads(sys.argv[1]))
    mine = [c for c in plan.conditions.values() if c.method == "my_method"]
    print(json.dumps(plan.hyperparameters(mine[0], defaults=True)))
except UserError as error:
    print("error:", error)
print("torch" in sys.modules)
"""
ROW = {"methods": ["my_method"], "variants": ["plain"], "shots": [5], "warm_starts": ["source"]}


def plan(folder, hparams):
    """What a plan of that folder says of my_method's hyperparameters, with some set in config.yaml."""
    entry = {"hyperparameters": hparams, "variants": {"plain": {}}}
    overrides = {"methods": {"my_method": entry}, "groups": {"table1": {"rows": [ROW]}}}
    command = [sys.executable, "-c", PLAN, json.dumps(overrides)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said, torch = done.stdout.splitlines()
    assert torch == "False"  # the plan itself imports none
    return said


@pytest.fixture(scope="module")
def with_my_method(root, tmp_path_factory):
    """A copy of the project with one more file: the template of docs/add-a-method.md."""
    folder = copy_project(root, tmp_path_factory.mktemp("mine"))
    shutil.copy(root / "docs/method_template.py", folder / "baselines/my_method.py")
    return folder


@pytest.fixture
def code(tmp_path, monkeypatch):
    """A project of one method; `code.described` lists what had to be described."""

    class Code:
        folder = tmp_path
        described = []  # noqa: RUF012 (one for the test)

        def write(self, text="x = 1\n", comment=""):
            declared = 'METHOD = Method(name="a", paper="p", licence="MIT", supervision="text", hyperparameters=A)'
            (tmp_path / "baselines/a.py").write_text(f"{comment}\n{text}{declared}\n")

        def ask(self):
            methods._descriptions.cache_clear()
            self.described.clear()
            return methods.descriptions(["a", "unknown"], tmp_path)

    def describe(names, root):
        Code.described += names
        return {name: {"schema": {"properties": {}}, "lengths": [], "adversarial": False} for name in names}

    (tmp_path / "baselines").mkdir()
    for module in ("__init__", "describe"):
        (tmp_path / f"baselines/{module}.py").write_text("")
    monkeypatch.setattr(methods, "_described", describe)
    Code().write()
    yield Code()
    methods._descriptions.cache_clear()


# ---- described once


def test_a_method_is_described_once_and_again_when_its_code_changes(code):
    first = code.ask()
    assert code.described == ["a"] and set(first) == {"a"}
    assert list(first["a"]) == ["schema", "lengths", "adversarial"]  # and so when it is read again
    assert code.ask() == first and code.described == []
    assert list(code.ask()["a"]) == list(first["a"])
    code.write(comment="# words")
    assert code.ask() == first and code.described == []
    code.write(text="x = 2\n")
    assert code.ask() == first and code.described == ["a"]


def test_an_edit_of_a_hyperparameter_s_texts_describes_and_runs_nothing_again(code):
    text = "class A:\n    k: int = hyperparameter({}, {!r}, source={!r}, unit='steps', ge=1)\n"
    code.write(text.format(1, "One.", "paper"))
    code.ask()
    code.write(text.format(1, "Another.", "ours"))
    code.ask()
    assert code.described == []
    code.write(text.format(2, "Another.", "ours"))
    code.ask()
    assert code.described == ["a"]


@pytest.mark.parametrize("broken", ["", "[]", "{}", '{"code": 1, "description": {}}'])
def test_a_kept_description_that_cannot_be_read_is_made_again(code, broken):
    code.ask()
    (code.folder / methods.KEPT / "a.json").write_text(broken)
    code.ask()
    assert code.described == ["a"]


@pytest.mark.parametrize(
    "wrong",
    [
        *(None, [], {}, {"schema": {}}, {"schema": [], "lengths": [], "adversarial": False}),
        *({"schema": {}, "lengths": 3, "adversarial": False}, {"schema": {}, "lengths": [], "adversarial": None}),
    ],
)
def test_a_kept_description_of_another_shape_is_made_again(code, wrong):
    first = code.ask()
    file = code.folder / methods.KEPT / "a.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"description": wrong}))
    assert code.ask() == first
    assert code.described == ["a"]


def test_where_nothing_can_be_kept_methods_are_described_each_time(code, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(methods, "atomic_path", refuse)
    first = code.ask()
    assert code.ask() == first and code.described == ["a"]


def test_a_file_that_python_cannot_read_is_one_sentence_with_its_line(code):
    (code.folder / "baselines/b.py").write_text("x = 1\nx = (\n")
    with pytest.raises(registry.UserError, match=r"baselines/b\.py, line 2: Python cannot read it"):
        code.ask()


def test_another_process_describes_as_this_one_and_the_wait_is_announced(with_my_method, capsys):
    here = methods.descriptions(["nada", "ojha", "replay"])
    capsys.readouterr()
    shutil.rmtree(with_my_method / methods.KEPT)
    assert methods.descriptions(["nada", "ojha", "replay"], with_my_method) == here
    said = capsys.readouterr()
    assert said.err == "reading the hyperparameters of the methods nada, ojha, replay …\n" and said.out == ""


# ---- a new method is one file and one line


def test_a_new_method_s_hyperparameters_are_checked_and_completed_by_the_plan(with_my_method):
    hparams = json.loads(plan(with_my_method, {"iterations": 40, "strength": 2}))
    assert (hparams["iterations"], hparams["strength"]) == (40, 2)
    assert hparams["published_iterations"] == 5000 and hparams["sampling"] == "epochs"


@pytest.mark.parametrize(
    ("hparams", "sentence"),
    [
        ({"strenght": 1}, "unknown key 'strenght' in 'methods.my_method.hyperparameters'; did you mean 'strength'?"),
        ({"strength": -1}, "'methods.my_method.hyperparameters.strength' is -1; it must be at least 0."),
        ({"strength": True}, "'methods.my_method.hyperparameters.strength' is true; it must be a number."),
        ({"sampling": "all"}, "sampling' is \"all\"; it must be one of epochs, replacement."),
        ({"snapshots": [9000]}, "snapshots names step 9000, but its runs have 5000 iterations"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_mistake_in_a_new_method_s_hyperparameters_is_found_by_the_plan(with_my_method, hparams, sentence):
    said = plan(with_my_method, hparams)
    assert said.startswith("error: config: ") and sentence in said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("\n\n@hyper", "\nimport nothing_there\n\n@hyper", "cannot be imported: ModuleNotFoundError: No module"),
        ("1.0,  # the", "-1.0,  # the", "the default of MyMethodHyperparameters.strength is -1.0; set it to 0 or more."),
        ("hyperparameters=My", "hyperparameters=Job, #", "METHOD's hyperparameters is Job; it must be a class under"),
        ("1.0,  # the", "...,  # the", "MyMethodHyperparameters.strength has no default; give it one."),
        ("METHOD = ", "METHODS = ", ": METHOD is missing; add METHOD = Method(…)."),
        ('name="my_', 'name="another_', ": METHOD's name is 'another_method'; it must be 'my_method', the file's name."),
        ("def adapt(", "def adapted(", ": adapt is missing; add the function adapt(job)."),
    ],
    ids=["import", "default", "class", "no default", "no METHOD", "another name", "no adapt"],
)
def test_a_wrong_declaration_is_one_sentence_that_names_the_file(with_my_method, old, new, sentence):
    file = with_my_method / "baselines/my_method.py"
    before = file.read_text()
    assert old in before
    try:
        file.write_text(before.replace(old, new, 1))
        said = plan(with_my_method, {})
    finally:
        file.write_text(before)
    assert said.startswith("error: baselines/my_method.py") and sentence in said


# ---- what the plan makes of a description


def test_a_plan_s_hyperparameters_are_complete(default):
    condition = Condition("dog2cat", "nada", "adaptive")
    own, whole = default.hyperparameters(condition), default.hyperparameters(condition, defaults=True)
    assert own["layers"]["k"] == whole["layers"]["k"] == 3
    assert "map" not in own["layers"] and whole["layers"]["map"] == "aligned"
    assert whole["mapper"] is None and whole["betas"] == [0.0, 0.99]
    mapper = default.hyperparameters(Condition("dog2cat", "nada", "mapper"), defaults=True)["mapper"]
    assert (mapper["batch"], mapper["lr"], mapper["optimiser"]) == (2, 8.0, "radam")


def test_defaults_of_a_mapping_within_are_filled_in_only_where_it_is_there():
    inner = {"type": ["object", "null"], "properties": {"k": {"type": "integer", "default": 3}}}
    rules = {"properties": {"always": {**inner, "type": "object"}, "never": {**inner, "default": None}}}
    assert with_defaults({}, rules) == {"always": {"k": 3}, "never": None}
    assert with_defaults({"never": {}, "always": {"k": 1}}, rules) == {"always": {"k": 1}, "never": {"k": 3}}


ALTERNATIVES = {
    "type": "object",
    "properties": {
        "x": {"anyOf": [{"type": "number", "minimum": 0}, {"type": "integer", "maximum": 5}, {"type": "null"}]},
        "pair": {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "boolean"}], "maxItems": 2},
    },
}


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ({"x": "y"}, "m: 'x' is \"y\"; it must be a number or a whole number or null."),
        ({"x": -1.5}, "m: 'x' is -1.5; it must be at least 0."),
        ({"pair": [1, 2]}, "m: 'pair[1]' is 2; it must be true or false."),
        ({"pair": [1, True, 3]}, "m: 'pair' is [1, true, 3]; it must have at most 2 values."),
    ],
)
def test_alternatives_of_a_schema_are_one_sentence_too(value, sentence):
    with pytest.raises(ConfigError) as error:
        validate(value, ALTERNATIVES, "m")
    assert str(error.value) == sentence


def test_texts_of_the_command_line_take_the_types_of_alternatives():
    assert coerce({"x": "2.5", "pair": ["3", "true"]}, ALTERNATIVES) == {"x": 2.5, "pair": [3, True]}
    assert whole_numbers({"pair": [3.0, True]}, ALTERNATIVES) == {"pair": [3, True]}


def test_the_warm_starts_of_a_configuration_are_those_that_methods_know():
    known = schema("config")["properties"]["warm_starts"]["propertyNames"]["enum"]
    assert ["source", *known] == list(WARM_STARTS)
