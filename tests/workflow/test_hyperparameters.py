"""The schemas of config.yaml and the dataclasses of the methods declare the same hyperparameters."""

import dataclasses
import re
import types
from typing import Literal, Union, get_args, get_origin, get_type_hints

import pytest

from baselines import registry
from baselines.adversarial.few_shot import FewShotHyperparameters
from baselines.adversarial.warm_starts import WARM_STARTS
from baselines.checkpoint import CheckpointHyperparameters
from baselines.finetune_gd import FineTuneHyperparameters
from baselines.freezed import FreezeDHyperparameters
from baselines.minegan import MineGanHyperparameters
from baselines.ojha import OjhaHyperparameters
from baselines.replay import ReplayHyperparameters
from baselines.source import SourceHyperparameters
from baselines.tgan_ada import AdaHyperparameters
from nada.adapt import NadaHyperparameters
from nada.stylegan2.adversarial import RANGES
from workflow.plan.checking import schema
from workflow.plan.config import method_schema

DECLARED = {
    "checkpoint": CheckpointHyperparameters,
    "finetune_gd": FineTuneHyperparameters,
    "freezed": FreezeDHyperparameters,
    "minegan": MineGanHyperparameters,
    "nada": NadaHyperparameters,
    "ojha": OjhaHyperparameters,
    "replay": ReplayHyperparameters,
    "source": SourceHyperparameters,
    "tgan": FewShotHyperparameters,
    "tgan_ada": AdaHyperparameters,
}
ENDS = {
    "minimum": "minimum",
    "maximum": "maximum",
    "above": "exclusiveMinimum",
    "below": "exclusiveMaximum",
}
KINDS = {int: "integer", float: "number", bool: "boolean", str: "string", type(None): "null"}
NUMBERS = {"integer", "number"}


def declared(cls, path=""):
    """{dotted key: (types, choices, ends of the range)} of a dataclass of hyperparameters."""
    found = {}
    for field in dataclasses.fields(cls):
        hint = get_type_hints(cls)[field.name]
        limits = {ENDS[k]: v for k, v in field.metadata.items() if v is not None}
        found |= of_hint(hint, limits, path + field.name)
    return found


def of_hint(hint, limits, path):
    union = get_origin(hint) in (Union, types.UnionType)
    kinds, choices, found = set(), set(), {}
    for part in get_args(hint) if union else [hint]:
        origin, arguments = get_origin(part), get_args(part)
        if dataclasses.is_dataclass(part):
            kinds.add("object")
            found |= declared(part, f"{path}.")
        elif origin is Literal:
            kinds.add("string")
            choices |= set(arguments)
        elif origin in (list, tuple):
            kinds.add("array")
            found |= of_hint(arguments[0], limits, f"{path}[]")
        else:
            kinds.add(KINDS[part])
    return found | {path: (kinds, choices, limits if kinds & NUMBERS else {})}


def ruled(rules, path=""):
    """The same of a schema's properties."""
    found = {}
    for name, rule in rules.get("properties", {}).items():
        found |= of_rule(rule, path + name)
    return found


def of_rule(rule, path):
    kinds = rule.get("type", "string" if "enum" in rule else None)
    kinds = {kinds} if isinstance(kinds, str) else set(kinds)
    listed = re.fullmatch(r"\^\((.+)\)\$", rule.get("pattern", ""))
    choices = set(rule.get("enum", listed.group(1).split("|") if listed else ()))
    limits = {end: rule[end] for end in ENDS.values() if end in rule}
    found = {path: (kinds, choices, limits if kinds & NUMBERS else {})}
    if "array" in kinds:
        found |= of_rule(rule["items"], f"{path}[]")
    return found | ruled(rule, f"{path}.")


def test_every_method_that_has_a_schema_is_compared_with_it(root):
    methods = registry.methods(root / "baselines")
    assert set(DECLARED) == {method for method in methods if method_schema(method) is not None}


@pytest.mark.parametrize("method", sorted(DECLARED))
def test_schema_and_dataclass_have_the_same_keys_types_choices_and_ranges(method):
    assert ruled(method_schema(method)) == declared(DECLARED[method])


@pytest.mark.parametrize("method", sorted(DECLARED))
def test_a_default_in_a_schema_is_that_of_the_dataclass(method):
    def compare(rules, hparams):
        for name, rule in rules["properties"].items():
            if "default" in rule:
                assert rule["default"] == getattr(hparams, name), name
            field = next(f for f in dataclasses.fields(hparams) if f.name == name)
            for part in get_args(field.type) or [field.type]:
                if dataclasses.is_dataclass(part):
                    compare(rule, part())

    compare(method_schema(method), DECLARED[method]())


def test_the_range_of_a_few_shot_setting_lies_in_that_of_the_adversarial_loop():
    for name, (_, _, ends) in declared(FewShotHyperparameters).items():
        if name in RANGES:
            low, high = RANGES[name]
            assert ends.get("exclusiveMinimum", ends.get("minimum")) >= low
            assert ends["maximum"] <= high, name


def test_the_warm_starts_of_a_configuration_are_those_that_methods_know():
    known = schema("config")["properties"]["warm_starts"]["propertyNames"]["enum"]
    assert ["source", *known] == list(WARM_STARTS)
