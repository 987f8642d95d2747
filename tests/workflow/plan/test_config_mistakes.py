"""A mistake in the configuration is one sentence that names the key, the value and what is allowed."""

import re

import pytest

from workflow.plan.checking import ConfigError
from workflow.plan.config import load


def nested(path, value):
    for key in reversed(path.split("/")):
        value = {key: value}
    return value


def nada_row(**changes):
    """The value of `rows` for one row of NADA's `adaptive`, with some keys changed."""
    return [{"methods": ["nada"], "variants": ["adaptive"], **changes}]


NADA, LAYERS = "methods/nada/hyperparameters", "methods/nada/variants/adaptive/hyperparameters/layers"
MISTAKES = [
    # unknown keys: the key, where, the nearest valid name
    ("seedz", [0], "unknown key 'seedz' in the top level; did you mean 'seeds'?"),
    ("evaluation/k_medoid", 3, "unknown key 'k_medoid' in 'evaluation'; did you mean 'k_medoids'?"),
    ("tasks/dog2cat/txt", {}, "unknown key 'txt' in 'tasks.dog2cat'; did you mean 'text'?"),
    (f"{NADA}/learning_rate", 1, "unknown key 'learning_rate' in 'methods.nada.hyperparameters'; known: "),
    (f"{LAYERS}/kk", 1, "unknown key 'kk' in 'methods.nada.variants.adaptive.hyperparameters.layers'"),
    ("groups/ablation/task", [], "unknown key 'task' in 'groups.ablation'; did you mean 'tasks'?"),
    ("methods/source/hyperparameters/lr", 1, "unknown key 'lr' in 'methods.source.hyperparameters'; none is"),
    (
        "groups/ablation/oracles",
        [],
        "unknown key 'oracles' in 'groups.ablation'; did you mean 'oracle'",
    ),
    (
        "groups/ablation/controls",
        [{"method": "replay"}],
        "'groups.ablation.controls[0]' lacks the key",
    ),
    (
        "groups/departures/against",
        [{"baseline": "adaptive", "variants": ["official_adm"]}],
        "'groups.departures.against' names 'official_adm'; did you mean 'official_adam'?",
    ),
    # types and ranges: where, the value, what is allowed
    ("seeds", 5, "'seeds' is 5; it must be a list, like [0, 1]."),
    ("seeds", ["a"], "'seeds[0]' is \"a\"; it must be a whole number."),
    ("seeds", [0, 0], "'seeds' is [0, 0]; it must be a list without repetition."),
    ("seeds", [], "'seeds' is []; it must have at least 1 value."),
    ("seeds", [-1], "'seeds[0]' is -1; it must be at least 0."),
    ("seeds", ["-1"], "'seeds[0]' is -1; it must be at least 0."),
    ("seeds", [True], "'seeds[0]' is true; it must be a whole number."),
    ("seeds", [0, 0.0], "'seeds' is [0, 0]; it must be a list without repetition."),
    ("seeds", ["1", "1.0"], "'seeds' is [1, 1]; it must be a list without repetition."),
    ("seeds", [0.5], "'seeds[0]' is 0.5; it must be a whole number."),
    ("seeds", [2**32], "'seeds[0]' is 4294967296; it must be at most 4294967295."),
    (f"{NADA}/iterations", "240.5", 'iterations\' is "240.5"; it must be a whole number.'),
    (f"{NADA}/iterations", 1e300, "it must be a whole number of at most 9007199254740991."),
    # numbers that are none, and lengths of nothing
    (f"{NADA}/lr", float("inf"), "'methods.nada.hyperparameters.lr' is Infinity; it must be a finite number."),
    (f"{NADA}/lr", "nan", "'methods.nada.hyperparameters.lr' is NaN; it must be a finite number."),
    (f"{NADA}/lr", 0, "'methods.nada.hyperparameters.lr' is 0; it must be more than 0."),
    (f"{NADA}/betas", [1, 1], "'methods.nada.hyperparameters.betas[0]' is 1; it must be less than 1."),
    (f"{NADA}/epsilon", 0, "'methods.nada.hyperparameters.epsilon' is 0; it must be more than 0."),
    (f"{NADA}/iterations", float("inf"), "iterations' is Infinity; it must be a whole number."),
    ("methods/tgan/hyperparameters/r1_gamma", float("inf"), "r1_gamma' is Infinity; it must be a finite number"),
    ("methods/tgan/hyperparameters/g_lr", 1.5, "g_lr' is 1.5; it must be at most 1."),
    ("methods/ojha/hyperparameters/batch", 1, "'methods.ojha.hyperparameters.batch' is 1; it must be at least 2."),
    ("evaluation/truncation_psi", float("nan"), "truncation_psi' is NaN; it must be a finite number."),
    ("evaluation/truncation_psi", 0, "'evaluation.truncation_psi' is 0; it must be more than 0."),
    ("groups/ablation/grid/truncation_psi", float("nan"), "is NaN; it must be a finite number."),
    (f"{NADA}/iterations", 1.5, "'methods.nada.hyperparameters.iterations' is 1.5; it must be a whole number"),
    (f"{NADA}/lr", "fast", "'methods.nada.hyperparameters.lr' is \"fast\"; it must be a number."),
    (f"{NADA}/batch", True, "'methods.nada.hyperparameters.batch' is true; it must be a whole number."),
    (f"{NADA}/loss", "globl", "'methods.nada.hyperparameters.loss' is \"globl\"; it must be one of"),
    ("device", "gpu", "'device' is \"gpu\"; it must be one of world, cpu, cuda."),
    ("evaluation/truncation_psi", 2, "'evaluation.truncation_psi' is 2; it must be at most 1."),
    ("methods", 3, "'methods' is 3; it must be a mapping of keys to values."),
    ("methods/nada/hyperparameters/layers", 3, "'methods.nada.hyperparameters.layers' is 3; it must be a mapping"),
    # prompts
    ("tasks/dog2cat/text/target", " ", "'tasks.dog2cat.text.target' is \" \"; it must be a text that is not"),
    # names that do not exist
    ("world", "mimi", "'world' is \"mimi\"; did you mean 'mini'?"),
    ("preset", "smok", "'preset' is \"smok\"; did you mean 'smoke'?"),
    ("tasks/dog2cat/source", "dgo", "'tasks.dog2cat.source' names 'dgo'; did you mean 'dog'?"),
    ("tasks/dog2cat/references/domain", "cta", "'tasks.dog2cat.references.domain' names 'cta'; did you mean 'cat'? Or add it under references.domains of a world."),
    ("groups/ablation/tasks", ["dog2cta"], "names 'dog2cta'; did you mean 'dog2cat'?"),
    (
        "groups/ablation/rows",
        nada_row(methods=["nda"]),
        "'groups.ablation.rows.methods' names 'nda'; did you mean 'nada'?",
    ),
    ("groups/ablation/rows", nada_row(variants=["adaptiv"]), "names 'adaptiv'; did you mean 'adaptive'?"),
    ("groups/ablation/variants", ["adaptive"], "unknown key 'variants' in 'groups.ablation'; did you mean"),
    ("groups/ablation/rows", [{"methods": ["nada"]}], "'groups.ablation.rows[0]' lacks the key 'variants'."),
    ("groups/ablation/like", "tabel1", "'groups.ablation.like' names 'tabel1'; did you mean 'table1'?"),
    ("groups/ablation/like", "bias", "'groups.bias.like' makes a circle: "),
    ("groups/mine", {}, "'groups.mine' lacks the key 'title'."),
    ("groups/bias", None, "'groups.bias' is null; it must be a mapping of keys to values."),
    ("show", ["abltion"], "'show' names 'abltion'; did you mean 'ablation'?"),
    ("show", [], "'show' is []; it must have at least 1 value."),
    ("skip", ["biass"], "'skip' names 'biass'; did you mean 'bias'?"),
    # the variant that a task names
    (
        "groups/ablation/rows",
        nada_row(variants=["own"]),
        "'groups.ablation.rows' asks for the variant that each task names ('own'), but 'tasks.dog2cat' names none",
    ),
    (
        "warm_starts/nada/variant",
        "own",
        "'warm_starts.nada' asks for the variant that each task names ('own'), but 'tasks.dog2cat' names none",
    ),
    ("tasks/dog2cat/variant", "adaptve", "'tasks.dog2cat.variant' names 'adaptve'; did you mean 'adaptive'?"),
    ("methods/nada/variants/own", {}, "'own' means the variant that a task names; choose another name."),
    ("methods/nada/variants/mapper/parent", {"method": "nada", "variant": "own"}, "names 'own'; known: "),
    ("groups/ablation/controls", ["sorce"], "names 'sorce'; did you mean 'source'?"),
    ("methods/nada/variants/mapper/parent", "adapt", "names 'adapt'; did you mean 'adaptive'?"),
    # values that do not fit together
    ("methods/nada/variants/adaptive/parent", "mapper", "makes a circle: "),
    ("methods/nada/variants/adaptive/like", "k_1", "k_1.like' makes a circle: "),
    ("methods/nada/variants/k_1/like", "adaptve", "names 'adaptve'; did you mean 'adaptive'?"),
    (
        "warm_starts/mine",
        {"method": "nada", "variant": "adaptive"},
        "a name in 'warm_starts' is \"mine\"; it must be one of nada, nada_catchup, nada_finetuned_gd.",
    ),
    ("warm_starts/nada/variant", "adaptve", "'warm_starts.nada' names 'adaptve'; did you mean"),
    ("warm_starts/nada/tasks", {"dog2cat": "mapper"}, "unknown key 'tasks' in 'warm_starts.nada'; known"),
    ("methods/finetune_gd/variants/from_nada/parent/method", "nda", "did you mean 'nada'?"),
    ("methods/tgan/hyperparameters/iteratoins", 3, "'methods.tgan.hyperparameters'; did you mean 'iterations'?"),
    ("methods/tgan_ada/hyperparameters/ada_kimg", 0, "ada_kimg' is 0; it must be at least 1e-06."),
    (
        "groups/table1/rows",
        [{"methods": ["tgn"], "variants": ["plain"], "shots": [1], "warm_starts": ["source"]}],
        "'groups.table1.rows.methods' names 'tgn'; did you mean 'tgan'?",
    ),
    (
        "groups/table1/rows",
        [{"methods": ["tgan"], "variants": ["plain"], "shots": [1], "warm_starts": ["nda"]}],
        "'groups.table1.rows.warm_starts' names 'nda'; did you mean 'nada'?",
    ),
    ("groups/pareto/preference/variant", "global", "names a model that the group does not show"),
    ("groups/pareto/preference/shots", 10, "names a model that the group does not show"),
    ("tasks/dog2cat/references/count", 10**9, "references draws at most 20000 images of a domain"),
    (f"{LAYERS}/k", 20, "k=20 layers asked, but the 32x32 generator has 7; set layers.k to 1..7."),
    (f"{LAYERS}/k", 0, "layers.k' is 0; it must be at least 1."),
    (f"{NADA}/layers/manual", [0, 7], "layer 7 asked, but the 32x32 generator has 7; list layers"),
    (
        f"{NADA}/layers/manual",
        [],
        "variant 'manual_layers' of method 'nada': layers.manual is empty",
    ),
    (f"{NADA}/layers/manual", "shapes", '"shapes"; it must be one of texture, shape, shape_expanded, no_fine.'),
    (f"{NADA}/layers/manual", ["a"], "'methods.nada.hyperparameters.layers.manual[0]' is \"a\"; it must be a whole"),
    (
        "tasks/dog2cat/references/count",
        0,
        "'tasks.dog2cat.references.count' is 0; it must be at least 1.",
    ),
    ("evaluation/fid_images", 49, "'evaluation.fid_images' is 49; it must be at least 50."),
    ("evaluation/k_medoids", 300, "is 300, too many clusters for the 300 images of"),
    ("evaluation/gallery_images", 1001, "is 1001, more than the 1000 images of"),
    ("evaluation/snapshot_images", 1001, "is 1001, more than the 1000 images of"),
    ("evaluation/diversity_images", 1001, "is 1001, more than the 1000 images of"),
    (
        "groups/ablation/rows",
        nada_row(shots=[1001]),
        "'groups.ablation' asks for 1001 images (shots), but task 'dog2cat' has 1000 of 'cat'",
    ),
    ("tasks/dog2cat/few_shot", {"domain": "cats", "count": 10}, "did you mean 'cat'?"),
    ("tasks/dog2cat/few_shot", {"domain": "cat", "count": 4}, "'dog2cat' has 4 of 'cat' to train on"),
    ("groups/ablation/grid/rows", 129, "'groups.ablation.grid.rows' is 129, more than the 128"),
    ("tasks/dog2cat/target_style", "photo", "'tasks.dog2cat' names two things for the judge to see"),
]


@pytest.mark.parametrize(("path", "value", "sentence"), MISTAKES, ids=lambda x: str(x)[:40])
def test_a_mistake_is_one_sentence_that_names_it(root, path, value, sentence):
    with pytest.raises(ConfigError) as error:
        load(root, nested(path, value))
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_an_unknown_key_is_named_before_other_mistakes(root):
    with pytest.raises(ConfigError, match="unknown key 'seedz'"):
        load(root, {"seedz": 1, "seeds": "x"})


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: [1\nb: 2\n", "not valid YAML"),
        ("- 1\n", "the file must be a mapping of keys to values"),
        ("a:\n  no: {}\n", "line 2: not valid YAML (the key no is read as False; quote it)"),
        ("2: {}\n", "(the key 2 is read as 2; quote it)"),
        ("? [a]\n: 1\n", "(a key is a list or a mapping; it must be a text)"),
        ("a: 1\na: 2\n", "(the key 'a' occurs twice)"),
        ("[" * 5000, "not valid YAML"),
        ("a: 2026-13-45\n", "not valid YAML (month must be in 1..12)"),
        ("a: " + "9" * 5000, "not valid YAML"),
    ],
)
def test_a_broken_yaml_file_is_one_sentence(tmp_path, text, sentence):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        load(tmp_path)
