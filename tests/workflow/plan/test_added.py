"""Entries that no file defines: refused on the command line, and in a preset where they are misspelled."""

import shutil

import pytest
import yaml

from workflow.plan.checking import ConfigError
from workflow.plan.config import load
from workflow.plan.plan import load_plan

NADA = "methods.nada"
TYPED = {
    f"{NADA}.variants.adaptve.hyperparameters.layers.k=2": f"'{NADA}.variants.adaptve'; did you mean 'adaptive'?",
    f"{NADA}.variants.adaptve={{}}": f"'{NADA}.variants.adaptve'; did you mean 'adaptive'?",
    "methods.tgn.hyperparameters.g_lr=0.1": "'methods.tgn'; did you mean 'tgan'?",
    "tasks.dog2ct.text.target=cat": "'tasks.dog2ct'; did you mean 'dog2cat'?",
    "groups.abltion.like=table1": "'groups.abltion'; did you mean 'ablation'?",
    "warm_starts.nada_cachup.method=nada": "'warm_starts.nada_cachup'; did you mean 'nada_catchup'?",
}


def nested(word):
    """What the `snakemake` entry makes of a.b.c=1."""
    path, value = word.split("=", 1)
    value = yaml.safe_load(value)
    for name in reversed(path.split(".")):
        value = {name: value}
    return value


@pytest.mark.parametrize("word", TYPED)
def test_the_command_line_adds_no_entry(root, word):
    with pytest.raises(ConfigError) as error:
        load(root, typed=nested(word))
    assert str(error.value).startswith(f"config: no file defines {TYPED[word]}")


def test_the_command_line_changes_entries_of_every_file_and_wins_over_them(root):
    mine = {"methods": {"nada": {"variants": {"mine": {"hyperparameters": {"lr": 0.1}}}}}}
    config, _ = load(root, mine, typed=nested(f"{NADA}.variants.mine.hyperparameters.lr=0.2"))
    assert config["methods"]["nada"]["variants"]["mine"]["hyperparameters"]["lr"] == 0.2
    preset = {"preset": "development", **nested("groups.few_shot.title=Mine")}
    assert load_plan(root, typed=preset).config["groups"]["few_shot"]["title"] == "Mine"


@pytest.mark.slow
def test_snakemake_refuses_what_is_typed_and_takes_what_a_file_adds(root, snakemake, tmp_path):
    word = f"{NADA}.variants.adaptve.hyperparameters.layers.k=2"
    for entry, value in ((True, word), (False, "methods={nada: {variants: {adaptve: {hyperparameters: {lr: 0.1}}}}}")):
        done = snakemake("ablation_global", "-n", "--config", value, entry=entry)
        assert done.returncode == 2 and "did you mean 'adaptive'?" in done.stdout, done.stdout
    file = tmp_path / "mine.yaml"
    file.write_text("methods: {nada: {variants: {adaptve: {like: adaptive}}}}")
    done = snakemake("ablation_global", "-n", "--configfile", str(file), "--config", word, entry=True)
    assert done.returncode == 0, done.stdout


PRESETS = {
    "methods: {ojah: {hyperparameters: {iterations: 12}}}": "the method 'ojah', but without 'variants'; did you mean 'ojha'?",
    "tasks: {dog2ct: {references: {count: 128}}}": "the task 'dog2ct', but without 'source'; did you mean 'dog2cat'?",
    "groups: {abltion: {grid: {rows: 3}}}": "the group 'abltion', but without 'title'; did you mean 'ablation'?",
    "methods: {nada: {variants: {mappr: {hyperparameters: {lr: 0.1}}}}}": (
        "the variant 'mappr' of nada, but no group names it; did you mean 'mapper'?"
    ),
}


@pytest.fixture(scope="module")
def project(root, tmp_path_factory):
    """A copy of the files that a configuration is read from."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(root / "workflow", folder / "workflow")
    shutil.copy(root / "config.yaml", folder)
    return folder


@pytest.mark.parametrize("text", PRESETS)
def test_a_misspelled_entry_of_a_preset_is_named(project, text):
    (project / "workflow/presets/mine.yaml").write_text(text)
    with pytest.raises(ConfigError) as error:
        load(project, {"preset": "mine"})
    assert str(error.value) == f"workflow/presets/mine.yaml adds {PRESETS[text]}"


def test_a_preset_adds_complete_entries(project):
    (project / "workflow/presets/mine.yaml").write_text("""
methods: {nada: {variants: {mine: {hyperparameters: {lr: 0.1}}}}}
tasks: {dog2wolf: {source: dog, text: {source: dog, target: wolf}}}
groups: {mine: {like: ablation, tasks: [dog2wolf], rows: [{methods: [nada], variants: [mine]}]}}
""")
    config, _ = load(project, {"preset": "mine"})
    assert config["groups"]["mine"]["tasks"] == ["dog2wolf"]
