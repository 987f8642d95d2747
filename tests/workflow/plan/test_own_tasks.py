"""A world that brings its own: a source model, images, a text. docs/bring-your-own.md, what is planned, and what is refused."""

import json
import re

import numpy as np
import pytest
import yaml
from PIL import Image

from baselines import registry
from nada.run.run_id import DEFAULT_SHOTS
from nada.run.spec.base import REAL
from workflow.plan.checking import ConfigError
from workflow.plan.inputs import group_inputs, reference_arguments
from workflow.plan.layout import collected
from workflow.plan.methods import KEPT, descriptions
from workflow.plan.plan import load_plan
from workflow.plan.specs import group_spec, observation_spec, run_spec

BLOCK = re.compile(r"^```yaml\n# (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PHOTOS = 40
WORLD = {
    "like": "mini",
    "sources": {"mine": "my_generator.safetensors"},
    "references": {"domains": {"photos": {"source": "my_photos"}}},
    "tasks": {"mine2cat": {"source": "mine", "text": {"source": "dog", "target": "cat"}, "references": "photos"}},
}


def generator(path, resolution=32, **networks):
    """A file that says of itself what one of our source models says, and holds nothing else."""
    architecture = {"G_ema": {"resolution": resolution}, "D": {}, **networks}
    header = json.dumps({"__metadata__": {"json": json.dumps({"architecture": architecture})}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header)


def photographs(folder, count=PHOTOS, least=33):
    """PNG files of mixed size."""
    sides = np.random.default_rng(0).integers(least, 60, (count, 2))
    folder.mkdir(exist_ok=True)
    for number, (width, height) in enumerate(sides):
        Image.new("RGB", (int(width), int(height)), (number, 0, 0)).save(folder / f"{number:03}.png")


@pytest.fixture
def project(root, tmp_path):
    """The project with an own world's files; plan(**changes) writes its world.yaml and plans it."""
    for name in ("baselines", "eval", "config.yaml", "nada"):
        (tmp_path / name).symlink_to(root / name)
    descriptions(registry.methods(root / "baselines"), root)  # which another root would make anew, in seconds
    (tmp_path / KEPT).parent.mkdir()
    (tmp_path / KEPT).symlink_to(root / KEPT)
    home = tmp_path / "workflow/worlds/mine"
    home.mkdir(parents=True)
    (tmp_path / "workflow/presets").symlink_to(root / "workflow/presets")
    for world in ("mini", "paper"):
        (tmp_path / "workflow/worlds" / world).symlink_to(root / "workflow/worlds" / world)
    generator(home / "my_generator.safetensors")
    photographs(home / "my_photos")
    return tmp_path


@pytest.fixture
def plan(project):
    """plan(task={…}, overrides={…}, **changes): the plan of WORLD with some keys of its task or of itself changed."""

    def made(task=None, overrides=None, **changes):
        tasks = {"mine2cat": {**WORLD["tasks"]["mine2cat"], **(task or {})}}
        entries = {key: value for key, value in tasks["mine2cat"].items() if value is not None}
        world = {**WORLD, "tasks": {"mine2cat": entries}, **changes}
        (project / "workflow/worlds/mine/world.yaml").write_text(yaml.safe_dump(world))
        return load_plan(project, {"world": "mine", **(overrides or {})})

    return made


def names(plan):
    return [condition.name for condition in plan.members("own")]


# ---- what is planned ----------------------------------------------------------------------------------


def test_the_page_s_worlds_load_and_show_what_it_says(root, project):
    text = (root / "docs/bring-your-own.md").read_text()
    blocks = BLOCK.findall(text)
    assert len(blocks) == text.count("```yaml") == 3
    (_, first), *more = blocks
    assert yaml.safe_load(first) == WORLD
    (project / "workflow/worlds/mine/world.yaml").write_text(first)
    assert load_plan(project, {"world": "mine"}).shown == ["own"]
    for file, content in more:
        (project / file).parent.mkdir(exist_ok=True)
        (project / file).write_text(content)
    (project / "workflow/worlds/mine_clip/my_clip.safetensors").write_text("")
    changed = load_plan(project, {"world": "mine"})
    assert names(changed)[3:] == ["nada-adaptive", "nada-k_2", "tgan-plain-40shot"]
    assert changed.config["seeds"] == [0, 1, 2]
    clip = load_plan(project, {"world": "mine_clip"})
    spec = run_spec(clip, clip.run("mine2cat", "nada-adaptive", 0))
    assert [entry.config for entry in spec.clips] == ["ViT-B-32"]
    assert clip.results == "results/mine_clip"


def test_a_generator_forty_photographs_and_a_text_are_enough(plan):
    planned = plan()
    few = [f"{method}-plain-{n}shot" for method in ("ojha", "minegan", "tgan", "tgan_ada") for n in (10, 40)]
    controls = ["source-unchanged", "replay-images-10shot", "replay-images-40shot"]
    assert names(planned) == [*controls, "nada-adaptive", "nada-mapper", *few]
    assert (planned.shown, planned.results) == (["own"], "results/mine")
    task = planned.config["tasks"]["mine2cat"]
    assert (task["role"], task["references"]) == ("test", {"domain": "photos", "count": PHOTOS})
    assert f"--limit {PHOTOS}" in reference_arguments(planned, "photos")


def test_all_makes_no_claims_where_only_the_world_s_own_tasks_are_shown(plan, default):
    assert not any("claims" in path for path in collected(plan()))
    assert "results/mini/claims.html" in collected(default)
    both = plan(overrides={"show": ["own", "k_sweep"]})
    assert "results/mine/claims.html" in collected(both)


def test_forty_images_are_no_fid_and_no_judge_is_asked_where_a_task_names_no_target(plan):
    planned = plan()
    assert not [path for path in group_inputs(planned, "own") if REAL in path.split("/")[-1]]
    (task,) = group_spec(planned, "own").tasks.values()
    assert task.real is None and task.target is None
    assert task.not_measured["references"] == "the task has 40 real images, and 100 are needed, 50 in each half"
    assert "names no 'target_class' or 'target_style'" in task.not_measured["judge"]
    look = observation_spec(planned, "mine2cat", "nada-adaptive")
    assert look.referee.judge is None and look.target is None and look.referee.perceptual


def test_what_is_memorised_is_measured_where_twenty_images_are_new(plan):
    planned = plan()
    ten, all_of_them = (observation_spec(planned, "mine2cat", f"tgan-plain-{n}shot") for n in (10, 40))
    assert ten.references == ten.training_images == all_of_them.training_images
    assert all_of_them.references is None
    (task,) = group_spec(planned, "own").tasks.values()
    assert "with 40 shots 0 real images are new" in task.not_measured["new_images"]


def test_a_task_with_a_target_and_a_hundred_images_lacks_nothing_but_new_images(plan, project):
    photographs(project / "workflow/worlds/mine/my_photos", 100)
    planned = plan(task={"target_class": "cat"})
    (task,) = group_spec(planned, "own").tasks.values()
    assert list(task.not_measured) == ["new_images"]
    assert task.real.endswith("mine2cat/real.npz")
    assert observation_spec(planned, "mine2cat", REAL).referee.judge


def test_without_images_there_is_nada_alone_and_the_summary_says_so(plan):
    planned = plan(task={"references": None})
    assert names(planned) == ["source-unchanged", "nada-adaptive", "nada-mapper"]
    assert planned.summary().splitlines()[-1] == (
        "left out: few-shot methods on mine2cat, for want of images to train on"
    )
    (task,) = group_spec(planned, "own").tasks.values()
    assert list(task.not_measured) == ["judge", "references", "new_images"]


def test_images_to_train_on_need_no_references(plan):
    planned = plan(task={"references": None, "few_shot": "photos"})
    assert "tgan-plain-40shot" in names(planned)
    look = observation_spec(planned, "mine2cat", "tgan-plain-10shot")
    assert look.training_images and look.references is None


def test_of_seven_images_all_are_taken(plan, project):
    for path in sorted((project / "workflow/worlds/mine/my_photos").glob("*.png"))[7:]:
        path.unlink()
    shots = {condition.shots for condition in plan().members("own")}
    assert shots == {DEFAULT_SHOTS, 7}


def test_tasks_with_and_without_images_stand_in_one_table(plan):
    bare = {"source": "dog", "text": {"source": "dog", "target": "bear"}}
    planned = plan(tasks={**WORLD["tasks"], "dog2bear_text": bare})
    shown = {(condition.task, condition.method) for condition in planned.members("own")}
    assert ("mine2cat", "tgan") in shown and ("dog2bear_text", "tgan") not in shown
    assert ("dog2bear_text", "nada") in shown


def test_more_images_than_are_measured_are_not_used(plan, project):
    counts = {"fid_images": 50, "diversity_images": 50, "gallery_images": 20, "snapshot_images": 20}
    photographs(project / "workflow/worlds/mine/my_photos", 60)
    planned = plan(overrides={"evaluation": counts})
    assert planned.config["tasks"]["mine2cat"]["references"]["count"] == 50


def test_the_command_line_changes_a_task_of_the_world(plan):
    change = {"tasks": {"mine2cat": {"references": {"count": "30"}}}}
    assert plan(overrides=change).config["tasks"]["mine2cat"]["references"] == {"domain": "photos", "count": 30}


def test_a_world_like_one_s_own_has_its_tasks_and_may_change_them(plan, project):
    plan()
    second = project / "workflow/worlds/second"
    second.mkdir()
    text = {"mine2cat": {"text": {"target": "fox"}}}
    (second / "world.yaml").write_text(yaml.safe_dump({"like": "mine", "tasks": text}))
    planned = load_plan(project, {"world": "second"})
    assert planned.config["tasks"]["mine2cat"]["text"] == {"source": "dog", "target": "fox"}
    assert (planned.shown, planned.results) == (["own"], "results/second")


def test_a_domain_takes_the_size_of_the_source_model_whose_file_says_it(plan, project):
    generator(project / "workflow/worlds/mine/my_generator.safetensors", 16)
    planned = plan()
    assert planned.resolution("mine2cat") == 16
    assert planned.world["references"]["domains"]["photos"]["resolution"] == 16


def test_a_world_like_the_paper_s_reads_any_text_and_asks_for_no_weights_yet(plan):
    text = {"source": "a dog on a lawn", "target": "a watercolour of a platypus"}
    planned = plan(task={"text": text}, like="paper")
    assert planned.shown == ["own"] and planned.device == "cuda"
    (task,) = group_spec(planned, "own").tasks.values()
    assert task.not_measured["judge"] == "the world has no judge of classes"


def test_groups_of_the_world_that_it_is_like_are_targets_still(plan, project):
    assert "table1" in plan().targets and "table1" not in plan().shown
    assert "own" not in load_plan(project).targets


def test_a_plan_of_its_own_configuration_is_the_same_plan(plan, project):
    """The report's second Snakemake is told the merged configuration (workflow/rules/report.smk)."""
    first = plan()
    second = load_plan(project, first.config)
    assert names(second) == names(first) and collected(second) == collected(first)


# ---- what is refused ----------------------------------------------------------------------------------


def empty(home):
    (home / "none").mkdir()


def small(home):
    Image.new("RGB", (20, 30)).save(home / "my_photos/007.png")


MISTAKES = {
    "generator that is missing": ({"sources": {"mine": "my_generatr.safetensors"}}, None, (
        "mine/my_generatr.safetensors: this file of the world 'mine' is missing; put it there, or correct world.yaml"
    )),
    "images that are missing": (
        {"references": {"domains": {"photos": {"source": "my_fotos"}}}}, None,
        "mine/my_fotos: the images of the domain 'photos' of the world 'mine' are missing",
    ),
    "folder without images": (
        {"references": {"domains": {"photos": {"source": "none"}}}}, empty, "mine/none has no images; it needs .png"
    ),
    "small image": ({}, small, "1 of 40 images of the domain 'photos' are smaller than 32 px, such as 007.png (20x30)"),
    "resolution": (
        {"sources": {"mine": {"weights": "my_generator.safetensors", "resolution": 16}}}, None,
        "makes 32x32 images, but the world 'mine' says 16 of its source 'mine'; correct the 'resolution'",
    ),
    "word": ({"task": {"text": {"source": "dog", "target": "foxx"}}}, None, (
        "did you mean 'fox'"
    )),
    "what reads any word": (
        {"task": {"text": {"source": "dog", "target": "platypus"}}}, None,
        "The CLIPs of a world that is `like: paper` read any text.",
    ),
    "count": (
        {"task": {"references": {"domain": "photos", "count": 60}}}, None,
        "'tasks.mine2cat.references.count' is 60, but workflow/worlds/mine/my_photos holds 40 images; leave the count",
    ),
    "domain": ({"task": {"references": "photo"}}, None, "names 'photo'; did you mean 'photos'?"),
    "source": ({"task": {"source": "min"}}, None, "'tasks.mine2cat.source' names 'min'; did you mean 'mine'?"),
    "key": ({"task": {"refs": "photos"}}, None, "unknown key 'refs' in 'tasks.mine2cat'; did you mean 'references'?"),
    "target": ({"task": {"target_class": "dgo"}}, None, "which the judge does not know; did you mean 'dog'?"),
    "taken name": (
        {"tasks": {"dog2cat": WORLD["tasks"]["mine2cat"]}}, None,
        "mine/world.yaml: config.yaml has a task 'dog2cat' already; choose another name.",
    ),
    "no mapping": ({"tasks": {"mine2cat": 3}}, None, "'tasks.mine2cat' is 3; a mapping of keys to values is wanted"),
    "no tasks": ({"tasks": {}}, None, "world.yaml: 'tasks' is {}; at least one entry is wanted"),
    "images of no count": (
        {"task": {"references": {"domain": "photos", "count": 0}}}, None, "count' is 0; at least 1 is wanted"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_in_a_world_of_one_s_own_is_one_sentence(plan, project, name):
    changes, damage, sentence = MISTAKES[name]
    if damage:
        damage(project / "workflow/worlds/mine")
    with pytest.raises(ConfigError) as error:
        plan(**changes)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_the_group_of_own_tasks_is_refused_where_a_world_has_none(root):
    with pytest.raises(ConfigError, match="'groups.own' shows the tasks of the world itself, but 'mini' declares none"):
        load_plan(root, {"show": ["own"]})


def test_all_images_of_a_task_that_has_none_are_refused(plan):
    rows = [{"methods": ["tgan"], "variants": ["plain"], "shots": ["all"]}]
    group = {"like": "ablation", "title": "one", "tasks": ["mine2cat"], "rows": rows}
    overrides = {"groups": {"one": group}, "show": ["one"]}
    with pytest.raises(ConfigError, match="asks for all images .* of task 'mine2cat', which has none"):
        plan(task={"references": None}, overrides=overrides)
    assert [c.shots for c in plan(overrides=overrides).members("one")][-1] == PHOTOS


@pytest.mark.parametrize(("key", "needs"), [("sweep", ["kid"]), ("preference", {"method": "nada", "variant": "mapper"})])
def test_a_comparison_with_real_images_needs_a_hundred(plan, key, needs):
    with pytest.raises(ConfigError, match="needs real images of every task, but 'mine2cat' has 40 of 100 references"):
        plan(overrides={"groups": {"own": {key: needs}}})
