"""Hyperparameters: defaults in one place, one clear sentence for every mistake."""

import dataclasses
import json
from typing import Literal, get_args, get_origin, get_type_hints

import pytest
from pydantic import model_validator

from nada.layers import LayerHyperparameters
from nada.mapper import MapperHyperparameters
from nada.run.errors import UserError
from nada.run.hyperparameters import (
    Natural,
    Whole,
    hyperparameter,
    hyperparameters,
    json_schema,
    read_hyperparameters,
    resolved,
)
from nada.run.steps import snapshot_steps
from nada.training import NadaHyperparameters
from tests.nada.departures import CHOICES, TABLE

CLASSES = {"": NadaHyperparameters, "layers.": LayerHyperparameters, "mapper.": MapperHyperparameters}


def read(values):
    return read_hyperparameters(NadaHyperparameters, values, "variant 'v'")


def test_defaults_are_the_paper_s():
    hparams = read({})
    assert (hparams.lr, hparams.betas, hparams.batch) == (0.002, (0.0, 0.99), 2)
    assert (hparams.layers.n_w, hparams.layers.n_i) == (8, 1)
    mapper = read({"mapper": {}}).mapper
    assert (mapper.truncation_psi, mapper.lr, mapper.batch) == (0.7, 0.5, 2)


@pytest.mark.parametrize("name", TABLE)
def test_every_default_is_the_papers_or_the_public_codes(name):
    prefix, _, field = name.rpartition(".")
    cls = CLASSES[prefix + "." if prefix else ""]
    switch, found = TABLE[name], getattr(cls(), field)
    assert found == switch.default
    hint = get_type_hints(cls)[field]
    if get_origin(hint) is Literal:
        assert set(get_args(hint)) == {value for value in switch if value is not None}


def test_every_switch_stands_in_the_table():
    literals = set()
    for prefix, cls in CLASSES.items():
        hints = get_type_hints(cls)
        for field in dataclasses.fields(cls):
            kinds = [hints[field.name], *get_args(hints[field.name])]
            if any(get_origin(kind) is Literal for kind in kinds):
                literals.add(prefix + field.name)
    assert literals == {name for name in TABLE if name in literals} | CHOICES


def test_equal_hyperparameters_resolve_equally_however_numbers_are_written():
    assert resolved(read({"style_mixing": 0})) == resolved(read({"style_mixing": 0.0}))
    assert isinstance(read({"lr": 1}).lr, float)


@pytest.mark.parametrize(
    "values, message",
    [
        ({"itertions": 3}, r"variant 'v': hyperparameters has no key 'itertions'; .*'iterations'\?"),
        ({"layers": {"polcy": "all"}}, r"hyperparameters\.layers has no key 'polcy'; .*'policy'\?"),
        ({"batch": "2"}, r"hyperparameters\.batch is '2'; it must be a whole number\."),
        ({"batch": True}, r"hyperparameters\.batch is True; it must be a whole number\."),
        ({"batch": 0}, r"hyperparameters\.batch is 0; set it to 1 or more\."),
        ({"style_mixing": 1.5}, r"hyperparameters\.style_mixing is 1\.5; set it to 0\.\.1\."),
        ({"lr": 0}, r"hyperparameters\.lr is 0; set it to more than 0\."),
        ({"betas": [0.9, 1]}, r"hyperparameters\.betas\[1\] is 1; set it to 0 or more and less than 1\."),
        ({"batch": 240.5}, r"hyperparameters\.batch is 240\.5; it must be a whole number\."),
        ({"lr": True}, r"hyperparameters\.lr is True; it must be a number\."),
        ({"lr": "0.1"}, r"hyperparameters\.lr is '0\.1'; it must be a number\."),
        ({"tf32": 1}, r"hyperparameters\.tf32 is 1; it must be true or false\."),
        ({"snapshots": -1}, r"hyperparameters\.snapshots is -1; set it to 0 or more\."),
        ({"snapshots": "all"}, r"snapshots is 'all'; it must be a whole number or a list, each item a whole"),
        ({"clips": []}, r"hyperparameters\.clips is \[\]; it must not be empty\."),
        ({"clips": ["a", "a"]}, r"clips is \['a', 'a'\]; it must be a list without repetition\."),
        ({"mapper": {"code_pool": 1}}, r"hyperparameters\.mapper: code_pool is 1, less than a batch of 2; "),
        ({"loss": "globl"}, r"hyperparameters\.loss is 'globl'; .*one of 'directional', 'global'\."),
        ({"betas": [0.9]}, r"hyperparameters\.betas .* must be a list of 2 items, each a number\."),
        ({"layers": {"manual": "form"}}, r"hyperparameters\.layers\.manual .*'texture', 'shape'"),
        ({"layers": 3}, r"hyperparameters\.layers is 3; it must be an object of hyperparameters\."),
        ({"mapper": {"lambda_l2": -1}}, r"hyperparameters\.mapper\.lambda_l2 is -1; .*0 or more\."),
    ],
)
def test_a_mistake_is_one_sentence_with_the_key_the_value_and_what_is_allowed(values, message):
    with pytest.raises(UserError, match=message):
        read(values)


def test_a_whole_number_that_a_program_wrote_with_a_point_is_read_as_one():
    hparams = read({"batch": 240.0, "snapshots": [10.0], "layers": {"manual": [1.0]}})
    assert (hparams.batch, hparams.snapshots, hparams.layers.manual) == (240, [10], [1])
    assert type(hparams.batch) is int


def test_an_object_that_python_makes_is_checked_too():
    with pytest.raises(ValueError, match="less than or equal to 1"):
        NadaHyperparameters(style_mixing=2.0)
    with pytest.raises(ValueError, match="less than a batch"):
        MapperHyperparameters(code_pool=1)


def test_a_record_has_every_default_as_json_has_it():
    record = json.loads(json.dumps(resolved(read({"mapper": {}}))))
    assert record["betas"] == [0.0, 0.99] and record["clips"] is None
    assert record["layers"]["manual"] == "shape" and record["mapper"]["iterations"] == 50_000
    assert list(record) == [field.name for field in dataclasses.fields(NadaHyperparameters)]


@hyperparameters
class Inner:
    """Nested."""

    share: float = hyperparameter(0.5, "A share.", ge=0, le=1)


@hyperparameters
class Declared:
    """One field of each kind that a schema writes in its own way."""

    inner: Inner | None = hyperparameter(None, "Of another class.")
    blocks: Natural | Literal["all"] = hyperparameter("all", "A number or a word.")
    kind: Literal["a", "b"] = hyperparameter("a", "A choice.", source="paper")
    pair: tuple[float, float] = hyperparameter((0.0, 1.0), "Two numbers.")
    steps: Whole = hyperparameter(3, "Steps.", unit="steps", ge=1)


def test_a_schema_is_written_out_without_references_and_alternatives():
    rules = json_schema(Declared)
    assert rules["additionalProperties"] is False
    assert "$defs" not in rules and "anyOf" not in json.dumps(rules)
    found = rules["properties"]
    assert found["inner"]["type"] == ["object", "null"] and found["inner"]["default"] is None
    assert found["inner"]["properties"]["share"]["maximum"] == 1
    assert found["inner"]["additionalProperties"] is False
    assert found["blocks"] == {
        "type": ["integer", "string"], "minimum": 0, "pattern": "^(all)$", "default": "all",
        "description": "A number or a word.",
    }  # fmt: skip
    assert found["kind"] == {"enum": ["a", "b"], "default": "a", "description": "A choice.", "source": "paper"}
    assert found["pair"]["items"] == {"type": "number"}
    assert (found["pair"]["minItems"], found["pair"]["maxItems"]) == (2, 2)
    assert (found["steps"]["minimum"], found["steps"]["unit"]) == (1, "steps")


@hyperparameters
class Unusual:
    """What no shipped class declares, and pydantic can."""

    even: Whole = hyperparameter(2, "An even number.", multiple_of=2)
    mixed: tuple[int, bool] = hyperparameter((1, True), "Two kinds.")
    twice: float | Whole = hyperparameter(1.0, "Two numbers.")

    @model_validator(mode="after")
    def _fits(self):
        if self.mixed[0] > self.even:
            raise ValueError("mixed is more\nthan even.")
        return self


@pytest.mark.parametrize(
    "values, sentence",
    [
        ({"even": 3}, "v: hyperparameters.even is 3; input should be a multiple of 2."),
        ({"mixed": [1, 2]}, "v: hyperparameters.mixed[1] is 2; it must be true or false."),
        ({"twice": "x"}, "v: hyperparameters.twice is 'x'; it must be a number or a whole number."),
        ({"mixed": [4, True]}, "v: hyperparameters: mixed is more than even."),
    ],
)
def test_whatever_pydantic_refuses_is_one_sentence(values, sentence):
    with pytest.raises(UserError) as error:
        read_hyperparameters(Unusual, values, "v")
    assert str(error.value) == sentence


@hyperparameters
class OneNumber:
    """A hyperparameter whose range has no ends."""

    free: float = hyperparameter(0.0, "Any number.")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_is_not_finite_is_refused_in_every_range(value):
    sentence = "is -?(nan|inf); it must be a finite number"
    with pytest.raises(UserError, match=f"hyperparameters.free {sentence}"):
        read_hyperparameters(OneNumber, {"free": value}, "variant 'v'")
    for values in ({"lr": value}, {"betas": [value, 0.9]}, {"mapper": {"lambda_l2": value}}):
        with pytest.raises(UserError, match=sentence):
            read(values)


def test_snapshots_are_evenly_spaced_or_listed_and_the_last_is_the_model_itself():
    assert snapshot_steps(5, 300, "v") == {60, 120, 180, 240}
    assert snapshot_steps([0, 50, 300], 300, "v") == {0, 50}
    assert snapshot_steps(0, 300, "v") == set()


def test_a_snapshot_outside_the_run_is_an_error():
    with pytest.raises(UserError, match=r"step 301 asked, but the run has 300 iterations"):
        snapshot_steps([100, 301], 300, "variant 'v'")
