"""What methods declare of their hyperparameters: complete, described in words, and on the page of the docs."""

import json

import pytest

from baselines import registry
from baselines.adversarial.few_shot import FewShotHyperparameters
from baselines.adversarial.scaling import LENGTHS
from baselines.describe import describe, main, page, table
from nada.run.hyperparameters import json_schema, resolved
from nada.stylegan2.adversarial import RANGES

METHODS = sorted(registry.methods())


def classes(name):
    return registry.load(name).METHOD.hyperparameters


def leaves(rules):
    """Every hyperparameter of a schema, by dotted name."""
    found = {}
    for name, rule in rules.get("properties", {}).items():
        found |= {name: rule} | {f"{name}.{inner}": r for inner, r in leaves(rule).items()}
    return found


@pytest.mark.parametrize("name", METHODS)
def test_a_description_has_the_defaults_that_a_run_records(name):
    def filled(rules):
        return {
            key: rule["default"] if "default" in rule else filled(rule)
            for key, rule in rules["properties"].items()
        }

    assert filled(describe(name)["schema"]) == json.loads(json.dumps(resolved(classes(name)())))


@pytest.mark.parametrize("name", METHODS)
def test_a_description_is_json_and_leaves_out_the_texts_for_people(name):
    said = describe(name)
    assert json.loads(json.dumps(said)) == said
    assert not {"description", "source", "unit"} & {key for rule in leaves(said["schema"]).values() for key in rule}


@pytest.mark.parametrize("name", METHODS)
def test_every_hyperparameter_is_described_in_a_sentence_with_the_source_of_its_default(name):
    for key, rule in leaves(json_schema(classes(name))).items():
        assert rule["description"].endswith("."), key
        assert rule.get("source") or key == "weights", key


def test_the_lengths_that_tables_name_are_those_that_methods_declare():
    declared = {}
    for name in METHODS:
        rules = json_schema(classes(name))["properties"]
        for key in describe(name)["lengths"]:
            assert rules[key]["shortened"].items() <= LENGTHS[key]._asdict().items(), key
            declared[key] = LENGTHS[key]
    assert declared == LENGTHS


def test_who_trains_adversarially_is_described_so():
    found = {name for name in METHODS if describe(name)["adversarial"]}
    assert found == {name for name in METHODS if issubclass(classes(name), FewShotHyperparameters)}
    assert "ojha" in found and "nada" not in found


def test_the_range_of_a_few_shot_hyperparameter_lies_in_that_of_the_adversarial_loop():
    rules = json_schema(FewShotHyperparameters)["properties"]
    looked_at = set(RANGES) & set(rules)
    assert looked_at
    for name in looked_at:
        low, high = RANGES[name]
        assert rules[name].get("exclusiveMinimum", rules[name].get("minimum")) >= low, name
        assert rules[name]["maximum"] <= high, name


def test_a_table_says_type_range_default_unit_meaning_and_source():
    text = table(json_schema(classes("freezed"))["properties"])
    assert "| `frozen_blocks` | `published`, integer | 0 or more | \"published\" | blocks | Residual blocks" in text
    assert "| `ema_kimg` (s) | number | 0..100,000 | 1.25 | thousands of images | Half-life" in text


def test_an_unknown_method_is_one_sentence_with_the_nearest_name(capsys):
    assert main(["nadaa"]) == 2
    assert capsys.readouterr().err.startswith("error: there is no method 'nadaa'; did you mean 'nada'? Known ")


def test_the_page_of_the_docs_is_what_the_methods_declare(root):
    shown = (root / "docs/hyperparameters.md").read_text(encoding="utf-8")
    assert shown == page(), "run: python -m baselines.describe --table > docs/hyperparameters.md"
