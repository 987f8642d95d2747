"""What a job would refuse, the plan refuses first: one sentence before any job starts."""

import json

import pytest

from workflow.plan.config import ConfigError
from workflow.plan.plan import load_plan
from workflow.plan.run_checks import check_runs, check_targets
from workflow.plan.text_checks import check_texts
from workflow.plan.weight_files import described


def few(shots=(10,), warm_starts=("source",), method="tgan", variant="plain"):
    """Overrides under which Table 1 shows one few-shot method."""
    row = {"methods": [method], "variants": [variant], "shots": [*shots], "warm_starts": [*warm_starts]}
    return {"groups": {"table1": {"rows": [row]}}}


def nada(variant="adaptive", **hparams):
    return {"methods": {"nada": {"variants": {variant: {"hyperparameters": hparams}}}}}


def variant(method, name, **entry):
    return {"methods": {method: {"variants": {name: entry}}}}


def task(**entry):
    return {"tasks": {"dog2cat": entry}}


LATE = {
    "class": (task(target_class="giraffe"), "target_class' is 'giraffe', which the judge does not know"),
    "near class": (task(target_class="bare"), "did you mean 'bear'?"),
    "style": (
        {"tasks": {"face2sketch": {"target_style": "sketsh"}}},
        "'tasks.face2sketch.target_style' is 'sketsh', which the judge does not know; did you mean 'sketch'",
    ),
    "clip": (nada(clips=["z"]), "'clips' of variant 'adaptive' of method 'nada' names 'z'; known: a, b, c"),
    "no shots": (few([0]), "method 'tgan' learns from images, but 'groups.table1' gives it none"),
    "no shots of a control": (
        {"groups": {"ablation": {"controls": ["replay"]}}},
        "method 'replay' learns from images, but 'groups.ablation' gives it none",
    ),
    "no shots of a direction": (
        {"groups": {"image_targets": {"rows": [{"methods": ["nada"], "variants": ["image_targets", "official_image_target"]}],
                                      "controls": ["source"]}}},
        "variant 'image_targets' of method 'nada' learns from a direction from images, but",
    ),
    "no shots of a parent": (
        {"warm_starts": {"nada": {"method": "tgan", "variant": "plain"}}},
        "method 'tgan' learns from images, but 'ojha-plain-10shot-nada', which has it as parent, gives",
    ),
    "snapshots": (nada(snapshots=[0, 241]), "names step 241, but its runs have 240 iterations"),
    "snapshots of a mapper": (
        nada("mapper", snapshots=[201]), "names step 201, but its runs have 200 iterations"
    ),
    "parent without mapper": (
        variant("nada", "global", parent="adaptive"), "has a parent but no mapper to train on it"
    ),
    "mapper on the source with a parent": (
        variant("nada", "source_mapper", parent="adaptive"), "mapper.base is 'source', but the variant has"
    ),
    "mapper without a parent": (
        nada("adaptive", mapper={"iterations": 3}), "trains a mapper on another run's model, but has no"
    ),
    "mapper on a mapper": (
        variant("nada", "official_lambdas", parent="mapper"), "whose model has a latent map already"
    ),
    "pair without a parent": (
        variant("finetune_gd", "from_nada", parent=None), "images of another run's model, but has no parent"
    ),
    "parent of a cold start": (
        variant("tgan", "plain", parent={"method": "nada", "variant": "adaptive"}),
        "has a parent, but its warm start is 'source'",
    ),
    "warm start without D": (
        {"warm_starts": {"nada_finetuned_gd": {"method": "nada", "variant": "adaptive"}}},
        "names 'nada-adaptive', which keeps no discriminator; name a variant of finetune_gd",
    ),
    "catch-up": (
        {"methods": {"tgan": {"hyperparameters": {"catchup_steps": 5000}}}}, "D catches up for 600 steps, but"
    ),
    "default catch-up": (
        {"methods": {"tgan": {"hyperparameters": {"iterations": 10}}}}, "D catches up for 10 steps, but its runs"
    ),
    "frozen blocks": (
        {"methods": {"freezed": {"hyperparameters": {"frozen_blocks": 4}}}}, "has 3 residual blocks; set it to 0..3"
    ),
    "long average": (
        {"methods": {"tgan": {"hyperparameters": {"ema_kimg": 1e5, "published_iterations": 100}}}},
        "ema_kimg is 600000.0 at this length; it must be at most 100000.",
    ),
    "small pool of codes": (
        nada("mapper", mapper={"code_pool": 2, "batch": 4}),
        "mapper.code_pool is 2, less than a batch of 4; set it to 4 or more, or to 0",
    ),
    "small pool of codes for the default batch": (
        nada("mapper", mapper={"code_pool": 1}), "mapper.code_pool is 1, less than a batch of 2"
    ),
    "warm start of a control": (
        few([0], ["nada"], "source", "unchanged"),
        "'source' does not start from another run's model, but 'groups.table1' gives it the warm start 'nada'",
    ),
    "warm start of NADA without a mapper": (
        few([0], ["nada"], "nada", "all_layers"),
        "no mapper to train on another run's model, but 'groups.table1.rows' gives it the warm start 'nada'; set",
    ),
    "parent of a control": (
        variant("source", "unchanged", parent={"method": "nada", "variant": "adaptive"}),
        "method 'source' does not go on from another run, but has the parent 'nada-adaptive'; remove the parent",
    ),
    "parent of stored images": (
        variant("replay", "images", parent={"method": "nada", "variant": "adaptive"}),
        "method 'replay' does not go on from another run, but has the parent 'nada-adaptive'; remove the parent",
    ),
    "warm start of the pair": (
        few([0], ["nada"], "finetune_gd", "from_nada"), "'finetune_gd' does not start from another run's model, but"
    ),
    "shots of a control": (
        {"groups": {"ablation": {"controls": [{"method": "source", "shots": [10]}]}}},
        "method 'source' uses no images, but 'groups.ablation' gives it 10 (shots); set 'shots' to 0",
    ),
    "shots of a text": (
        {"groups": {"ablation": {"rows": [{"methods": ["nada"], "variants": ["adaptive"], "shots": [10]}]}}},
        "'nada' uses no images, but 'groups.ablation' gives"
    ),
    "beyond float32": (
        nada(lr=1e300), "hyperparameters.lr' is 1e+300; it must be a number of at most 1e+30."
    ),
    "beyond any float": (nada(lr=10**400), "; it must be a number of at most 1e+30."),
    "too many seeds": ({"seeds": [*range(41)]}, "; it must have at most 40 values"),
    # what lacks a key
    "group without rows": (
        {"groups": {"one": {"title": "one", "tasks": ["dog2cat"]}}},
        "'groups.one' lacks the key 'rows'.",
    ),
    "grid without rows": (
        {"groups": {"one": {"title": "one", "tasks": ["dog2cat"], "controls": [], "table": ["fid"],
                            "rows": [{"methods": ["nada"], "variants": ["adaptive"]}], "grid": {}}}},
        "'groups.one.grid' lacks the key 'rows'.",
    ),
    # what a group shows
    "lengths are no table of the paper": (
        {"groups": {"table1": {"paper": "lengths"}}}, "'groups.table1.paper' names 'lengths'; known: table1, table2."
    ),
    "grid": (
        {"groups": {"ablation": {"grid": {"rows": 3, "truncation_psi": 0.5}}}},
        "'groups.ablation.grid.truncation_psi' is 0.5, but images are kept at 0.7 and 1.0",
    ),
    "two preferences": (
        {"groups": {
            "sketches": {"preference": {"method": "nada", "variant": "adaptive"}},
            "bias": {"preference": {"method": "nada", "variant": "image_targets", "shots": 3}},
        }},
        "compare 'source-unchanged' of task 'face2sketch' with nada",
    ),
    "answers": (
        {"groups": {"pareto": {"preference": {"answers": "nope.csv"}}}},
        "'groups.pareto.preference.answers' is 'nope.csv', which is missing",
    ),
    "paper": (
        {"groups": {"table1": {"paper": "tabel1"}}},
        "'groups.table1.paper' names 'tabel1'; did you mean 'table1'?",
    ),
    "sweep": (
        {"groups": {"k_sweep": {"rows": [{"methods": ["nada"], "variants": ["adaptive"]}]}}},
        "'groups.k_sweep.sweep' draws metrics against k, but the group's variants train one number",
    ),
    "sweep without images": (
        {"tasks": {"dog2fox": {"references": None}}, "groups": {"k_sweep": {"tasks": ["dog2fox"]}}},
        "'groups.k_sweep.sweep' needs real images of every task, but 'dog2fox' has no references",
    ),
    "oracle": (
        {"groups": {"ablation": {"oracle": ["cluster_lpips_std"]}}},
        "oracle' names 'cluster_lpips_std', for which neither higher nor lower is better",
    ),
    "oracle without its column": (
        {"groups": {"ablation": {"oracle": ["memorised"]}}},
        "'groups.ablation.oracle' names 'memorised', which is no column of 'groups.ablation.table'; add it",
    ),
    "raw weights without their column": (
        {"groups": {"table1": {"raw": ["mean_lpips"]}}},
        "'groups.table1.raw' names 'mean_lpips', which is no column of 'groups.table1.table'; add it",
    ),
    # words
    "unknown word": (
        task(text={"target": "giraffe"}),
        "'tasks.dog2cat.text.target', read by CLIP 'a': the word 'giraffe' of the text 'giraffe' is not",
    ),
    "near word": (task(text={"source": "dgo"}), "did you mean 'dog'? It knows: a, and, animal"),
    "no word": (task(text={"target": "???"}), "the text '???' holds no word that CLIP reads; write one"),
    "emoji": (task(text={"target": "cat 🐱"}), "'cat 🐱' holds '🐱', which is neither a word nor"),
    "too long": (task(text={"target": "cat " * 16}), "has 21 words, but this CLIP reads 20; shorten it"),
    "same text": (task(text={"target": "Dog!"}), "'dog' and 'Dog!' are the same text to CLIP 'a'"),
}


@pytest.mark.parametrize("name", LATE)
def test_what_a_job_would_refuse_is_one_sentence_of_the_plan(root, name):
    overrides, sentence = LATE[name]
    with pytest.raises(ConfigError) as error:
        load_plan(root, overrides)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "overrides",
    [
        {"groups": {"ablation": {"rows": [{"methods": ["na\nda"], "variants": ["adaptive"]}]}}},
        {"groups": {"ablation": {"table": ["fid", "a\nb"]}}},
        {"methods": {"nada": {"variants": {"mapper": {"parent": "../.."}}}}},
        {"groups": {"ablation": {"title": ["🐱" * 3000]}}},
        {"seeds": ["x" * 5000]},
    ],
    ids=["method", "metric", "variant", "title", "seed"],
)
def test_a_mistake_is_one_short_line_whatever_was_written(root, overrides):
    with pytest.raises(ConfigError) as error:
        load_plan(root, overrides)
    assert "\n" not in str(error.value) and "\\ud83d" not in str(error.value)
    assert len(str(error.value)) < 500


def test_an_image_mapper_may_go_on_from_a_run_on_texts(root):
    change = variant("nada", "image_mapper", like="mapper", hyperparameters={"direction": "image"})
    cells = {"rows": [{"methods": ["nada"], "variants": ["image_mapper"], "shots": [3]}]}
    shown = {"title": "one", "tasks": ["dog2cat"], "controls": [], "table": ["fid"]}
    change["groups"] = {"one": {**cells, **shown, "grid": {"rows": 1, "truncation_psi": 0.7}}}
    plan = load_plan(root, change, ["one"])
    assert any(condition.name == "nada-adaptive-3shot" for condition in plan.conditions.values())


def test_the_sentences_of_open_clip_s_tokenizer_are_those_that_are_certain_without_it(root):
    def paper(**text):
        return {"world": "paper", "tasks": {"elf": {"text": text}}}

    load_plan(root, paper(source="human", target="elf " * 75))
    with pytest.raises(ConfigError, match="elf.text.target', read by CLIP 'b32': .* 76 tokens or more"):
        load_plan(root, paper(source="human", target="elf " * 76))
    with pytest.raises(ConfigError, match="'elf' and 'ELF ' are the same text to CLIP 'b32'"):
        load_plan(root, paper(source="elf", target="ELF "))


def test_a_clip_config_that_open_clip_does_not_know_is_named(plan_with, root):
    plan = plan_with()
    plan.world["clips"] = [{**plan.world["clips"][0], "config": "ViT-B-23"}]
    sentence = r"'ViT-B-23' is neither a file nor a model .*; did you mean 'ViT-B-32'\?"
    with pytest.raises(ConfigError, match=sentence):
        check_texts(plan, root)


def test_a_clip_config_that_is_no_json_is_named(plan_with, root, tmp_path):
    (tmp_path / "clip.json").write_text("[]")
    plan = plan_with()
    plan.world["clips"] = [{**plan.world["clips"][0], "config": str(tmp_path / "clip.json")}]
    with pytest.raises(ConfigError, match="clip.json: the config of CLIP 'a' is no JSON object"):
        check_texts(plan, root)


def test_a_run_without_a_text_may_have_any(root):
    rows = [{"methods": ["nada"], "variants": ["image_targets"], "shots": [3]}]
    alone = {"like": "ablation", "title": "alone", "tasks": ["dog2cat"], "rows": rows}
    images = {"groups": {"alone": alone, "ablation": {"tasks": ["dog2bear"]}}, "show": ["alone", "ablation"]}
    text = task(text={"target": "giraffe"})
    load_plan(root, {**text, **images})
    aimed = nada("image_targets", global_target="text")
    with pytest.raises(ConfigError, match="the word 'giraffe'"):
        load_plan(root, {**text, **aimed, **images})


def test_a_mapper_reads_the_target_s_text_alone(root):
    rows = [{"methods": ["nada"], "variants": ["source_mapper"]}]
    alone = {"ablation": {"tasks": ["dog2cat"], "rows": rows, "controls": ["source"]}}
    load_plan(root, {**task(text={"source": "hound"}), "groups": alone, "show": ["ablation"]})


def written(path, **said):
    """A safetensors file that holds nothing but what it says of itself."""
    header = json.dumps({"__metadata__": {"json": json.dumps(said)}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    return path


def test_a_source_of_another_size_and_one_without_a_discriminator_are_named(plan_with, tmp_path, root):
    plan = plan_with()
    dog = plan.world["sources"]["dog"]
    plan.world["sources"] = {**plan.world["sources"], "dog": dict(dog)}
    networks = {"G_ema": {"resolution": 64}, "D": {}}
    plan.world["sources"]["dog"]["weights"] = str(written(tmp_path / "a", architecture=networks))
    with pytest.raises(ConfigError, match=r"makes 64x64 images, but the world 'mini' says 32"):
        check_runs(plan, root)
    networks = {"G_ema": {"resolution": 32}}
    plan.world["sources"]["dog"]["weights"] = str(written(tmp_path / "b", architecture=networks))
    with pytest.raises(ConfigError, match="needs a discriminator, but .* holds none"):
        check_runs(plan, root)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no safetensors", b"\xff" * 16, b"\2" + bytes(7) + b"[]"])
def test_of_a_file_that_says_nothing_a_plan_says_nothing(plan_with, tmp_path, root, content):
    (tmp_path / "judge").write_bytes(content)
    assert described(tmp_path / "judge") == {}
    plan = plan_with()
    plan.world["judge"] = str(tmp_path / "judge")
    check_targets(plan, root)


def test_the_answers_of_people_are_the_export_of_a_study(root, tmp_path):
    from eval.study.answers import COLUMNS

    path = tmp_path / "answers.csv"
    answers = {"groups": {"pareto": {"preference": {"answers": str(path)}}}}
    path.write_text(",".join(COLUMNS) + "\n")
    load_plan(root, answers)
    path.write_text("number,choice\n1,left\n")
    with pytest.raises(ConfigError, match="is not the answers of a study: its columns must be"):
        load_plan(root, answers)
