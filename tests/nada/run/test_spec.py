"""The three specs: what is written is read again, and a mistake in a file is one sentence."""

import json
import subprocess
import sys

import pytest

from nada.run.errors import UserError
from nada.run.spec.base import Target, as_json
from nada.run.spec.group_spec import (
    DifferenceSpec,
    GridSpec,
    GroupSpec,
    ModelSpec,
    RowRun,
    RowSpec,
    TaskSpec,
    read_group_spec,
)
from nada.run.spec.observation_spec import (
    Counts,
    ObservationSpec,
    ObservedRun,
    RefereeSpec,
    read_observation_spec,
)
from nada.run.spec.run_spec import ClipSpec, RunSpec, SourceSpec, TextSpec, read_run_spec

BARE = RunSpec(
    world="mini", task="dog2cat", method="source", variant="unchanged", seed=0, device="cpu", resolution=32
)  # fmt: skip
RUN = RunSpec(
    world="mini",
    task="dog2cat",
    method="nada",
    variant="adaptive",
    shots=5,
    warm_start="nada",
    seed=3,
    device="cuda",
    resolution=32,
    hyperparameters={"lr": 0.002, "layers": {"policy": "adaptive", "k": 3}, "mapper": None},
    parent="dog2cat/nada-global/seed3",
    source=SourceSpec(domain="dog", weights="w/dog.safetensors"),
    text=TextSpec(source="dog", target="Katze für “Anna”"),
    templates="w/templates.txt",
    clips=(
        ClipSpec(name="a", config="w/a.json", weights="w/a.safetensors", weight=1),
        ClipSpec(name="b", weights="w/models--b", weight=0.5),
    ),
    training_images="references/cat.npz",
)
REAL = ObservationSpec(
    world="mini", task="dog2cat", method="real", device="cpu", resolution=32,
    referee=RefereeSpec(perceptual="w/p.safetensors"), references="references/cat.npz",
)  # fmt: skip
OBSERVATION = ObservationSpec(
    world="paper", task="dog2cat", method="tgan", variant="plain", shots=10, device="cuda",
    resolution=512, source="w/dog.safetensors", references="references/cat.json",
    training_images="references/ten.json", target=Target("style", "sketch"),
    referee=RefereeSpec(
        inception={"legacy_pytorch": "w/fid.pth", "clean": "w/clean.pt"}, vgg="w/vgg.pth", judge="w/j.safetensors"
    ),
    counts=Counts(fid_images=500, truncation_psi=0.7),
    runs=(
        ObservedRun(id="dog2cat/tgan-plain-10shot/seed0", seed=0, folder="runs/a", latent_seed=7),
        ObservedRun(id="dog2cat/tgan-plain-10shot/seed1", seed=1, folder="runs/b", latent_seed=8),
    ),
)  # fmt: skip
ROW = RowSpec(
    task="dog2cat", method="nada", variant="adaptive", observation="o.npz", layers=3, chooses_layers=True,
    training_images="references/cat.npz", runs=(RowRun(seed=0, curves="c.csv", costs=("c.json",)),),
)  # fmt: skip
GROUP = GroupSpec(
    name="table1", title="Table 1", world="mini", preset="default", device="cpu",
    tasks={"zebra": TaskSpec(), "dog2cat": TaskSpec(real="r.npz", target=Target("class", "cat"))},
    rows=(ROW, ROW.model_copy(update={"task": "zebra"})),
    k_medoids=4, truncation_psi=0.7, convolutions=7, table=("fid",), oracle=("fid",), raw=("fid",),
    differences=(DifferenceSpec(method="nada", baseline="global", variants=("adaptive",)),),
    sweep=("fid",), preference=ModelSpec(method="nada", variant="adaptive"), paper="table1",
    grid=GridSpec(rows=3, truncation_psi=0),
)  # fmt: skip
SPECS = [
    (BARE, read_run_spec),
    (RUN, read_run_spec),
    (REAL, read_observation_spec),
    (OBSERVATION, read_observation_spec),
    (GROUP, read_group_spec),
]


@pytest.mark.parametrize(("spec", "read"), SPECS)
def test_what_is_written_is_read_again_and_gives_the_same_text(tmp_path, spec, read):
    file = tmp_path / "spec.json"
    file.write_text(as_json(spec), encoding="utf-8")
    found = read(file)
    assert found == spec
    assert as_json(found) == as_json(spec)


def test_the_order_of_tasks_and_of_inception_modes_is_kept_since_the_first_counts():
    assert list(json.loads(as_json(GROUP))["tasks"]) == ["zebra", "dog2cat"]
    networks = list(json.loads(as_json(OBSERVATION))["referee"]["inception"])
    assert networks == ["legacy_pytorch", "clean"]
    assert list(OBSERVATION.referee.networks())[:2] == ["inception legacy_pytorch", "inception clean"]


def test_equal_hyperparameters_in_another_order_give_equal_text():
    turned = dict(reversed(RUN.hyperparameters.items()))
    assert as_json(RUN.model_copy(update={"hyperparameters": turned})) == as_json(RUN)


def test_absent_keys_are_not_written():
    assert set(json.loads(as_json(BARE))) == {
        "world", "task", "method", "variant", "shots", "warm_start", "seed", "device", "resolution",
        "hyperparameters",
    }  # fmt: skip
    assert json.loads(as_json(RUN))["hyperparameters"]["mapper"] is None  # a value, not an absence
    assert not {"source", "target", "training_images"} & set(json.loads(as_json(REAL)))


def test_a_spec_is_frozen():
    with pytest.raises(ValueError, match="frozen"):
        RUN.seed = 4


def test_a_run_is_named_by_task_condition_and_seed():
    assert (BARE.condition, BARE.id) == ("source-unchanged", "dog2cat/source-unchanged/seed0")
    assert RUN.id == "dog2cat/nada-adaptive-5shot-nada/seed3"


def test_a_spec_says_which_files_its_job_opens(tmp_path):
    assert BARE.files() == {}
    assert RUN.files() == {
        "source": ["w/dog.safetensors"],
        "clips": ["w/a.json", "w/a.safetensors", "w/models--b"],
        "templates": ["w/templates.txt"],
        "references": ["references/cat.npz"],
    }
    elsewhere = BARE.model_copy(update={"hyperparameters": {"weights": "their.pt"}})
    assert elsewhere.files() == {"weights": ["their.pt"]}
    elsewhere = BARE.model_copy(update={"hyperparameters": {"weights": str(tmp_path)}})
    assert elsewhere.files() == {"weights": [f"{tmp_path}/model.safetensors"]}
    assert REAL.files() == {"referee": ["w/p.safetensors"], "references": ["references/cat.npz"]}
    assert OBSERVATION.files() == {
        "referee": ["w/fid.pth", "w/clean.pt", "w/vgg.pth", "w/j.safetensors"],
        "references": ["references/cat.json", "references/ten.json"],
        "source": ["w/dog.safetensors"],
        "models": ["runs/a/model.safetensors", "runs/b/model.safetensors"],
    }


def test_the_heading_of_a_group_names_world_title_and_truncation():
    assert GROUP.heading == "World mini: Table 1 (measured images: truncation 0.7)"
    assert GROUP.model_copy(update={"truncation_psi": 1.0}).heading == "World mini: Table 1"
    assert GROUP.conditions[0] == ("dog2cat", "nada", "adaptive", 0, "source")
    assert GROUP.real == {"dog2cat": "r.npz"}


def changed(spec, path, value):
    """The content of a spec with one value replaced, or added, or removed (value: ...)."""
    content = json.loads(as_json(spec))
    *way, last = path.split(".")
    inner = content
    for key in way:
        inner = inner[int(key) if isinstance(inner, list) else key]
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    return content


@pytest.mark.parametrize(
    ("spec", "path", "value", "words"),
    [
        (RUN, "sede", 1, "unknown key 'sede'"),
        (RUN, "clips.0.wieght", 1, "unknown key 'clips.0.wieght'"),
        (OBSERVATION, "text", {"source": "a", "target": "b"}, "unknown key 'text'"),
        (GROUP, "texts", {}, "unknown key 'texts'"),
        (RUN, "seed", ..., "the key 'seed' is missing"),
        (OBSERVATION, "runs.1.folder", ..., "the key 'runs.1.folder' is missing"),
        (GROUP, "rows.0.observation", ..., "the key 'rows.0.observation' is missing"),
        (RUN, "seed", "3", "seed is '3'; it must be a valid integer"),
        (RUN, "seed", True, "seed is True; it must be a valid integer"),
        (RUN, "seed", -1, "seed is -1; it must be greater than or equal to 0"),
        (RUN, "shots", 2.5, "shots is 2.5; it must be a valid integer"),
        (RUN, "clips.1.weight", 0, "clips.1.weight is 0; it must be greater than 0"),
        (RUN, "hyperparameters", [], "hyperparameters is []; it must be an object"),
        (RUN, "world", "", "world is ''; it must have at least 1 character"),
        (RUN, "device", "tpu", "device is 'tpu'; it must be 'cpu' or 'cuda'"),
        (OBSERVATION, "target", ["kind", "cat"], "target.0 is 'kind'; it must be 'class' or 'style'"),
        (OBSERVATION, "target", ..., "the key 'target' is missing, which a judge needs"),
        (OBSERVATION, "source", ..., "the key 'source' is missing, which method 'tgan' needs"),
        (REAL, "references", ..., "the key 'references' is missing, which method 'real' needs"),
        (REAL, "source", "x", "'real' has neither 'source' nor 'training_images'"),
        (OBSERVATION, "runs", [], "method 'tgan' has 0 runs; only 'real' has no runs"),
        (OBSERVATION, "runs.1.seed", 0, "'runs' names a seed twice: [0, 0]"),
        (OBSERVATION, "referee.vgg", ..., "referee: the key 'perceptual' is missing, or 'inception'"),
        (OBSERVATION, "referee.inception.clena", "x", "'clean' or 'legacy_pytorch'"),
        (OBSERVATION, "counts.gallery_images", 501, "gallery_images is 501, more than the 500"),
        (GROUP, "rows", [], "rows is []; it must have at least 1 item."),
        (GROUP, "rows.0.task", "dog2bear", "'rows' names the task 'dog2bear', which is not in 'tasks'"),
        (GROUP, "preference.variant", "x", "'preference' names a model that the group does not show"),
        (GROUP, "k_medoids", 0, "k_medoids is 0; it must be greater than or equal to 1"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence_with_file_key_and_what_is_allowed(tmp_path, spec, path, value, words):
    file = tmp_path / "spec.json"
    file.write_text(json.dumps(changed(spec, path, value)))
    read = next(read for one, read in SPECS if one is spec)
    with pytest.raises(UserError) as refused:
        read(file)
    message = str(refused.value)
    assert words in message and str(file) in message
    assert message.endswith(".") and "\n" not in message and "pydantic" not in message


@pytest.mark.parametrize(
    ("text", "words"), [("{", "no valid JSON"), ("[]", "it must be an object"), (b"\xff", "no valid JSON")]
)
def test_a_file_that_is_no_spec_is_one_sentence(tmp_path, text, words):
    file = tmp_path / "spec.json"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    for kind, read in (("run", read_run_spec), ("observation", read_observation_spec), ("group", read_group_spec)):
        with pytest.raises(UserError, match=f"the {kind} spec .*spec.json: .*{words}"):
            read(file)
        with pytest.raises(UserError, match=f"the {kind} spec .*none.json is missing; .* '{kind}_spec' makes it"):
            read(tmp_path / "none.json")


def test_a_long_wrong_value_is_cut(tmp_path):
    file = tmp_path / "spec.json"
    file.write_text(json.dumps(changed(RUN, "seed", "x" * 5000)))
    with pytest.raises(UserError) as refused:
        read_run_spec(file)
    assert len(str(refused.value)) < len(str(file)) + 200


def test_the_module_of_specs_needs_no_torch():
    code = "import sys, nada.run.spec; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
