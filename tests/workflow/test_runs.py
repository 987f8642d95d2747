"""The run table: identities, parents, folders, and what each job is told."""

import json

import pytest

from baselines import registry
from workflow import runs
from workflow.config import ConfigError, load, parts
from workflow.runs import Plan, Setting, load_plan


def plan(root, **overrides):
    config, world = load(root, overrides)
    return Plan(config, world, registry.methods(root / "baselines"))


@pytest.fixture(scope="module")
def default(root):
    return plan(root, seeds=[0, 1])


def test_there_is_one_run_per_setting_and_seed_whatever_the_groups_share(default):
    ids = list(default.runs)
    groups = default.config["groups"]
    assert len(ids) == len(set(ids)) == 2 * len(default.settings)
    settings = {s for group in groups for s in default.members(group)}
    parents = {default.parent(setting) for setting in settings} - {None}
    assert settings | parents == set(default.settings.values())
    assert {setting.method for setting in parents - settings} == {"finetune_gd"}
    assert sum(len(default.members(group)) for group in groups) > len(settings)  # some are shared
    assert "dog2cat/nada-all_layers/seed1" in ids
    assert "dog2bear/source-unchanged/seed0" in ids


def test_defaults_are_left_out_of_a_name_and_others_are_appended():
    assert Setting("t", "nada", "global").name == "nada-global"
    assert Setting("t", "tgan", "default", 10).name == "tgan-default-10shot"
    assert Setting("t", "tgan", "default", 10, "nada").name == "tgan-default-10shot-nada"


def test_a_parent_is_the_run_of_the_same_task_and_seed_and_comes_first(default):
    mapper = default.runs["dog2bear/nada-mapper/seed1"]
    assert mapper.parent_id == "dog2bear/nada-adaptive/seed1"
    order = list(default.runs)
    assert order.index(mapper.parent_id) < order.index(mapper.id)
    model = "results/mini/runs/dog2bear/nada-adaptive/seed1/model.safetensors"
    assert default.adapt_inputs(mapper)["parent"] == model
    assert default.parent_argument(mapper) == f"--parent {model.removesuffix('/model.safetensors')}"


def test_a_parent_that_no_group_shows_is_still_run_once(root):
    groups = {"ablation": {"tasks": ["dog2cat"], "variants": ["mapper"], "controls": []}}
    others = load(root)[0]["groups"]
    alone = plan(root, seeds=[3], groups={name: None for name in others} | groups)
    assert list(alone.runs) == ["dog2cat/nada-adaptive/seed3", "dog2cat/nada-mapper/seed3"]
    assert [setting.name for setting in alone.members("ablation")] == ["nada-mapper"]


def test_each_variant_is_a_target_of_its_own_without_the_controls(default):
    groups = default.config["groups"]
    assert {"ablation_global", "k_sweep_k_1", "departures_no_views"} < set(default.groups)
    assert {"table1_tgan", "table2_ojha", "pareto_nada"} < set(default.groups)
    assert len(default.groups) == len(groups) + sum(len(parts(g)) for g in groups.values())
    names = {setting.name for setting in default.members("ablation_adaptive")}
    assert names == {"nada-adaptive"}
    alone = default.group_file("k_sweep_k_1")
    assert (alone["sweep"], alone["against"]) == ([], [])  # these need more than one variant


def test_a_control_with_shots_reads_the_target_images_of_every_seed(default):
    assert "nada-replay" not in default.settings
    run = default.runs["dog2cat/replay-images-10shot/seed1"]
    assert default.adapt_inputs(run)["references"] == "results/mini/references/cat.npz"
    assert default.run_file(run)["shots"] == 10


def test_warm_starts_go_on_from_the_run_that_the_configuration_names(default):
    def parent(warm_start):
        return default.runs[f"dog2cat/tgan-plain-10shot-{warm_start}/seed1"].parent_id

    assert parent("nada") == parent("nada_catchup") == "dog2cat/nada-adaptive/seed1"
    assert parent("nada_finetuned_gd") == "dog2cat/finetune_gd-from_nada/seed1"
    pair = default.runs["dog2cat/finetune_gd-from_nada/seed1"]
    assert pair.parent_id == "dog2cat/nada-mapper/seed1"
    assert default.runs["dog2cat/tgan-plain-10shot/seed1"].parent is None
    order = list(default.runs)
    assert order.index(pair.id) < order.index("dog2cat/tgan-plain-10shot-nada_finetuned_gd/seed1")
    last = default.runs["dog2cat/ojha-plain-10shot-nada_finetuned_gd/seed0"]
    assert [i.split("/")[1] for i in default.lineage(last)] == [
        "ojha-plain-10shot-nada_finetuned_gd", "finetune_gd-from_nada", "nada-mapper", "nada-adaptive"
    ]  # fmt: skip


def test_a_group_of_several_methods_has_a_part_for_each(default):
    assert {s.method for s in default.members("table1_minegan")} == {"minegan"}
    assert len(default.members("table1_minegan")) == 4
    hundred = [s for s in default.members("table2") if s.shots == 100 and s.method != "replay"]
    assert {s.task for s in hundred} == {"dog2cat"}
    assert len(hundred) == 2 * len({s.method for s in hundred}) >= 8
    told = default.group_file("pareto")
    assert told["preference"] == {
        "method": "nada", "variant": "mapper", "shots": 0, "warm_start": "source"
    }  # fmt: skip
    assert default.group_file("pareto_nada")["preference"] is None
    papers = {name: default.group_file(name)["paper"] for name in default.config["groups"]}
    assert {name for name, paper in papers.items() if paper} == {"table1", "table2"}


def test_a_group_without_content_is_left_out(root):
    assert set(plan(root, preset="development").config["groups"]) == {"ablation", "few_shot"}


def test_the_k_sweep_goes_from_one_layer_to_all_and_trains_no_default_twice(default):
    told = default.group_file("k_sweep")["observations"]
    layers = [entry["layers"] for entry in told if entry["method"] == "nada"]
    assert layers == list(range(1, len(layers) + 1))
    assert layers[-1] == default.group_file("k_sweep")["convolutions"] == 7
    variants = [entry["variant"] for entry in told]
    adaptive = default.config["methods"]["nada"]["settings"]["layers"]["k"]
    assert variants[layers.index(adaptive) + 1] == "adaptive"  # after the control
    assert [e["chooses_layers"] for e in told] == [False, *[True] * 6, False]


def test_every_departure_turns_one_switch_of_its_baseline(default):
    group = default.config["groups"]["departures"]
    found = []
    for pairs in group["against"]:
        base = default.method_settings(Setting("dog2bear", "nada", pairs["baseline"]))
        for variant in pairs["variants"]:
            changed = default.method_settings(Setting("dog2bear", "nada", variant))
            different = sorted(leaves(changed).items() ^ leaves(base).items())
            found.append((variant, {name for name, _ in different}))
    switches = dict(found)
    assert switches.pop("official_adam") == {"lr", "betas"}
    assert switches.pop("official_lambdas") == {"mapper.lambda_l2", "mapper.lambda_norm"}
    assert switches.pop("official_k") == {"layers.policy", "layers.k", "layers.saturated"}
    assert all(len(names) == 1 for names in switches.values())
    assert len(set(map(tuple, switches.values()))) == len(switches) >= 10
    named = {v for v in group["variants"] if v.startswith(("official_", "no_"))}
    assert named == {v for v, _ in found}


def leaves(settings, path=""):
    """{dotted key: value as text} of nested settings."""
    found = {}
    for key, value in settings.items():
        if isinstance(value, dict):
            found |= leaves(value, f"{path}{key}.")
        else:
            found[path + key] = str(value)
    return found


def test_a_group_ends_in_the_figures_that_it_has_something_for(default):
    def kinds(group):
        return [figure.rsplit("_", 1)[1] for figure in default.figures(group)]

    assert kinds("ablation") == ["grid.png", "training.svg", "layers.svg"]
    assert kinds("k_sweep") == ["grid.png", "training.svg", "layers.svg", "sweep.svg"]
    assert kinds("ablation_global") == ["grid.png", "training.svg"]
    assert kinds("k_sweep_k_1") == ["grid.png", "training.svg", "layers.svg"]
    curves = default.figure_inputs("ablation", "training")["curves"]
    assert "results/mini/runs/dog2bear/nada-global/seed1/curves.csv" in curves
    assert "curves" not in default.figure_inputs("k_sweep", "sweep")


def test_two_targets_of_one_name_are_refused(root):
    config, _ = load(root)
    groups = {"ablation_mapper": config["groups"]["ablation"]}  # also made by group ablation
    with pytest.raises(ConfigError, match="target 'ablation_mapper', a name that is taken"):
        plan(root, groups=groups)


def test_the_run_file_is_everything_a_run_is(default):
    told = default.run_file(default.runs["dog2cat/nada-adaptive/seed1"])
    settings = told.pop("settings")
    assert told == {
        "world": "mini",
        "task": "dog2cat",
        "method": "nada",
        "variant": "adaptive",
        "shots": 0,
        "warm_start": "source",
        "seed": 1,
        "device": "cpu",
        "resolution": 32,
        "parent": None,
        "source": {"domain": "dog", "weights": "workflow/worlds/mini/weights/dog.safetensors"},
        "text": {"source": "dog", "target": "cat"},
        "templates": "workflow/worlds/mini/templates.txt",
        "clips": default.world["clips"],
        "references": {"domain": "cat", "images": "results/mini/references/cat.npz"},
    }
    assert settings["layers"]["policy"] == "adaptive"
    assert settings["lr"] == default.config["methods"]["nada"]["settings"]["lr"]


def test_a_variant_overrides_only_what_it_names(default):
    told = default.run_file(default.runs["dog2cat/nada-global/seed0"])["settings"]
    base = default.config["methods"]["nada"]["settings"]
    assert told == {**base, "loss": "global"}


def test_methods_share_the_latents_of_a_task_and_seed_and_nothing_else_does(default):
    look = {
        name: default.look_file("dog2cat", name) for name in ("nada-global", "source-unchanged")
    }
    seeds = [[run["latent_seed"] for run in entry["runs"]] for entry in look.values()]
    assert seeds[0] == seeds[1]
    others = [
        runs.latent_seed(task, seed) for task in ("dog2cat", "dog2bear") for seed in range(50)
    ]
    assert len(set(others)) == 100
    assert all(0 <= seed < 2**63 for seed in others)


def test_a_stream_seed_never_changes_between_releases():
    # Known value: the first eight bytes of SHA-256('["latents", "dog2cat", "0"]'), one bit less.
    assert runs.latent_seed("dog2cat", 0) == 4057596773133854580


def test_a_method_reads_only_what_its_supervision_names(default):
    nada = default.adapt_inputs(default.runs["dog2cat/nada-global/seed0"])
    source = default.adapt_inputs(default.runs["dog2cat/source-unchanged/seed0"])
    assert set(nada) == {"source", "clips"}
    assert set(source) == {"source"}


def test_few_shot_runs_read_the_reference_images(root):
    few = plan(root, seeds=[0], groups={"ablation": {"shots": [5]}})
    run = few.runs["dog2cat/nada-global-5shot/seed0"]
    assert few.adapt_inputs(run)["references"] == "results/mini/references/cat.npz"


def test_the_look_at_the_reals_has_no_runs(default):
    look = default.look_file("dog2cat", "real")
    assert (look["method"], look["runs"], look["target_class"]) == ("real", [], "cat")
    assert "models" not in default.look_inputs("dog2cat", "real")


def test_the_eval_commands_read_what_they_are_told(default, tmp_path):
    from eval.settings import read_group, read_look

    file = tmp_path / "told.json"
    file.write_text(runs.as_json(default.look_file("dog2cat", "nada-mapper")))
    assert [run.seed for run in read_look(file).runs] == [0, 1]
    file.write_text(runs.as_json(default.group_file("ablation")))
    assert len(read_group(file).observations) == len(default.members("ablation"))


def test_references_are_drawn_once_in_the_largest_number_asked(root):
    tasks = {
        "dog2cat": {"references": {"domain": "cat", "count": 500}},
        "dog2bear": {"references": {"domain": "cat", "count": 700}},
    }
    assert plan(root, tasks=tasks).reference_count("cat") == 700


def test_a_new_seed_leaves_the_run_files_of_the_others_as_they_are(root, default):
    more = plan(root, seeds=[0, 1, 2])
    for run in default.runs.values():
        assert default.run_file(run) == more.run_file(more.runs[run.id])


def test_the_device_of_the_configuration_wins_over_the_world(root):
    on_card = plan(root, device="cuda")
    run = on_card.runs["dog2cat/nada-global/seed0"]
    assert (plan(root).device, on_card.device) == ("cpu", "cuda")
    assert on_card.run_file(run)["device"] == "cuda"


def test_settings_text_is_json_that_reads_back(default):
    told = default.run_file(next(iter(default.runs.values())))
    assert json.loads(runs.as_json(told)) == told


def test_the_summary_says_world_preset_and_how_much(default):
    first, second = default.summary().splitlines()
    assert first.startswith("world 'mini' (32x32, cpu), preset 'default', seeds [0, 1]")
    shown = {s for group in default.config["groups"] for s in default.members(group)}
    looks = len(shown) + len({setting.task for setting in shown})
    assert f"{len(default.runs)} runs, {looks} observations" in second


def test_a_method_without_a_file_and_a_column_without_a_metric_are_named(root):
    with pytest.raises(ConfigError, match=r"'nadaa', but no baselines/nadaa.py .* 'nada'\?"):
        runs.check_names({"methods": {"nadaa": {}}}, registry.methods(root / "baselines"), [])
    with pytest.raises(ConfigError, match=r"'fidd', which is no metric; did you mean 'fid'\?"):
        load_plan(root, {"groups": {"ablation": {"table": ["fidd"]}}})


def test_a_group_cannot_take_the_name_of_a_rule(root):
    config, _ = load(root)
    with pytest.raises(ConfigError, match="target 'score', a name that is taken"):
        plan(root, groups={"score": config["groups"]["ablation"]})
