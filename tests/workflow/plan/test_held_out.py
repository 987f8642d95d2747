"""The held-out CLIP in plans: who is measured by it, what is refused, and docs/paper-world.md's image targets."""

import re

import pytest
import yaml
from PIL import Image

from baselines import registry
from eval.networks.observer import HELD_OUT_MODULE
from nada.run.spec.base import REAL, as_json
from workflow.plan.checking import ConfigError
from workflow.plan.inputs import adapt_inputs, observation_inputs
from workflow.plan.methods import KEPT, descriptions
from workflow.plan.plan import load_plan
from workflow.plan.specs import group_spec, observation_spec, run_spec
from workflow.plan.stages import modules, observed_by
from workflow.plan.world import HELD_OUT

BLOCK = re.compile(r"^```yaml\n# (workflow/worlds/\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ABSENT = (
    "config: 'tasks.dog2bear.zero_shot' needs a CLIP that steers nothing, but the world 'mine' names none; give its"
    " world.yaml the key 'held_out_clip', or set this key to null."
)
MINI = "../mini/weights/clip_{}"


def clip(name, **more):
    return {"name": name, "config": MINI.format(f"{name}.json"), "weights": MINI.format(f"{name}.safetensors"), **more}


@pytest.fixture
def project(root, tmp_path):
    """A folder that has the project's worlds and room for others."""
    for name in ("baselines", "eval", "config.yaml", "nada"):
        (tmp_path / name).symlink_to(root / name)
    descriptions(registry.methods(root / "baselines"), root)  # which another root would make anew, in seconds
    (tmp_path / KEPT).parent.mkdir()
    (tmp_path / KEPT).symlink_to(root / KEPT)
    (tmp_path / "workflow/worlds/mine").mkdir(parents=True)
    (tmp_path / "workflow/presets").symlink_to(root / "workflow/presets")
    for name in ("mini", "paper", "rehearsal"):
        (tmp_path / "workflow/worlds" / name).symlink_to(root / "workflow/worlds" / name)
    return tmp_path


@pytest.fixture
def mine(project):
    """mine(**changes): the plan of a world like mini whose CLIP c steers nothing, and whose task asks it."""

    def plan(zero_shot=("dog", "cat"), **changes):
        steering = [clip(name, weight=1.0) for name in "ab"]
        world = {"like": "mini", "clips": steering, "held_out_clip": clip("c"), **changes}
        (project / "workflow/worlds/mine/world.yaml").write_text(yaml.safe_dump(world))
        config = {
            "tasks": {"dog2bear": {"zero_shot": zero_shot and list(zero_shot)}},
            "groups": {"image_targets": {"table": ["zero_shot_share", "mean_lpips"], "oracle": []}},
        }
        return load_plan(project, {"world": "mine", "results": "results/mine", **config}, ["image_targets", "ablation"])

    return plan


@pytest.mark.parametrize("world", ["paper", "rehearsal"])
def test_doctors_and_nurses_are_measured_by_a_clip_that_no_run_opens(root, world):
    plan = load_plan(root, {"world": world}, ["bias"])
    held_out = plan.world["held_out_clip"]
    assert held_out["weights"] not in {clip["weights"] for clip in plan.world["clips"]}
    members = plan.members("bias")
    assert {(s.task, s.method) for s in members} == {(t, m) for t in ("doctor", "nurse") for m in ("nada", "source")}
    mark = f"{plan.world['assets']['folder']}/.fetched/clip_laion400m_b_32"
    for condition in members:
        spec = observation_spec(plan, condition.task, condition.name)
        assert spec.zero_shot == ("man", "woman") and spec.referee.held_out_clip.weights == held_out["weights"]
        assert spec.referee.held_out_clip.templates == "openai_imagenet"
        assert mark in observation_inputs(plan, condition.task, condition.name)["referee"]
        assert observed_by(plan, condition.task, condition.name) == ["runs", HELD_OUT]
        for run in plan.seeds_of(condition):
            assert held_out["weights"] not in as_json(run_spec(plan, run))
            assert not any(mark in files for files in adapt_inputs(plan, run).values())
    group = group_spec(plan, "bias")
    assert "zero_shot_share" in group.table and group.tasks["nurse"].zero_shot.texts == ("man", "woman")
    assert group.tasks["nurse"].zero_shot.clip == "laion_b32"


def test_tasks_that_ask_nothing_open_no_held_out_clip(root):
    plan = load_plan(root, {"world": "paper"})
    spec = observation_spec(plan, "white_walker", "nada-white_walker")
    assert spec.zero_shot is None and "held_out" not in as_json(spec)
    assert "held_out" not in as_json(group_spec(plan, "table3"))
    assert [observed_by(plan, "white_walker", name) for name in ("nada-white_walker", REAL)] == [["runs"], [REAL]]
    assert [HELD_OUT_MODULE in modules("observe", kind) for kind in ("runs", REAL, HELD_OUT)] == [False, False, True]


def test_the_mini_world_s_clip_c_may_be_held_out_by_a_world_like_it(mine):
    plan = mine()
    spec = observation_spec(plan, "dog2bear", "nada-image_targets-3shot")
    assert spec.referee.held_out_clip.name == "c" and spec.referee.judge and spec.zero_shot == ("dog", "cat")
    files = observation_inputs(plan, "dog2bear", "nada-image_targets-3shot")
    assert [path.rpartition("/")[2] for path in files["held_out_clip"]] == ["clip_c.json", "templates.txt"]
    assert any(path.endswith("mini/weights/clip_c.safetensors") for path in files["referee"])
    bare = mine(zero_shot=None)
    reason = group_spec(bare, "image_targets").tasks["dog2bear"].not_measured["held_out_clip"]
    assert reason == "the task names no two texts ('zero_shot') for a held-out CLIP"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"held_out_clip": None}, ABSENT),
        ({"held_out_clip": clip("b")}, "'held_out_clip' has the weights of the CLIP 'b', which steers; name a CLIP"),
        ({"held_out_clip": {**clip("c"), "weights": "none.safetensors"}}, "none.safetensors: this file of the world 'mine' is"),
        ({"held_out_clip": {"name": "c"}}, "held_out_clip.*config"),
        ({"zero_shot": ("dog", "doctor")}, "'tasks.dog2bear.zero_shot', read by CLIP 'c'.*'doctor'"),
        ({"zero_shot": ("dog", "dog")}, "tasks.dog2bear.zero_shot"),
        ({"zero_shot": ("dog",)}, "tasks.dog2bear.zero_shot"),
    ],
)  # fmt: skip
def test_a_world_or_a_task_that_cannot_be_asked_is_refused_in_one_sentence(mine, changes, sentence):
    with pytest.raises(ConfigError, match=sentence) as error:
        mine(**changes)
    assert "\n" not in str(error.value).strip()


@pytest.mark.parametrize("model", ["paper", "rehearsal"])
def test_image_targets_of_doctors_and_nurses_are_planned_as_the_page_says(project, root, model):
    blocks = dict(BLOCK.findall((root / "docs/paper-world.md").read_text()))
    assert set(blocks) == {"workflow/worlds/people/world.yaml", "workflow/worlds/people/config.yaml"}
    home = project / "workflow/worlds/people"
    home.mkdir()
    for name, text in blocks.items():
        (project / name).write_text(text.replace("like: paper", f"like: {model}"))
    for name in ("doctors", "nurses"):
        (home / name).mkdir()
        for number in range(3):
            Image.new("RGB", (1024, 1024), (number, 9, 9)).save(home / name / f"{number}.png")
    plan = load_plan(project, {"world": "people"}, ["bias"])
    found = {(s.task, s.method, s.variant, s.shots) for s in plan.members("bias") if s.method == "nada"}
    assert found == {(t, "nada", *v) for t in ("doctor", "nurse") for v in (("adaptive", 0), ("image_targets", 3))}
    spec = observation_spec(plan, "doctor", "nada-image_targets-3shot")
    assert spec.zero_shot == ("man", "woman") and spec.training_images == f"{plan.results}/references/doctors.json"
