"""Hyperparameters: defaults in one place, one clear sentence for every mistake."""

import dataclasses
from typing import Literal, get_args, get_origin, get_type_hints

import pytest

from nada.adapt import NadaHyperparameters
from nada.layers import LayerHyperparameters
from nada.mapper import MapperHyperparameters
from nada.run.errors import UserError
from nada.run.hyperparameters import read_hyperparameters, resolved, setting
from nada.run.steps import snapshot_steps
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


def test_equal_settings_resolve_equally_however_numbers_are_written():
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
        ({"lr": 0}, r"hyperparameters\.lr is 0\.0; set it to more than 0\."),
        ({"betas": [0.9, 1]}, r"hyperparameters\.betas is 1\.0; set it to 0 or more and less than 1\."),
        ({"batch": 240.0}, r"hyperparameters\.batch is 240\.0; it must be a whole number\."),
        ({"loss": "globl"}, r"hyperparameters\.loss is 'globl'; .*one of 'directional', 'global'\."),
        ({"betas": [0.9]}, r"hyperparameters\.betas .* must be a list of 2 items, each a number\."),
        ({"layers": {"manual": "form"}}, r"hyperparameters\.layers\.manual .*'texture', 'shape'"),
        ({"layers": 3}, r"hyperparameters\.layers is 3; it must be an object of hyperparameters\."),
        ({"mapper": {"lambda_l2": -1}}, r"hyperparameters\.mapper\.lambda_l2 is -1\.0; .*0 or more\."),
    ],
)
def test_a_mistake_is_one_sentence_with_the_key_the_value_and_what_is_allowed(values, message):
    with pytest.raises(UserError, match=message):
        read(values)


class OneNumber:
    """A setting whose range has no ends."""

    free: float = setting(0.0)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_is_not_finite_is_refused_in_every_range(value):
    one_number = dataclasses.dataclass(OneNumber)
    sentence = "is -?(nan|inf); it must be a finite number"
    with pytest.raises(UserError, match=f"hyperparameters.free {sentence}"):
        read_hyperparameters(one_number, {"free": value}, "variant 'v'")
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
