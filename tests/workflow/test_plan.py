"""From the configuration to the runs: groups, parents, warm starts, and what is refused."""

import pytest

from baselines import registry
from workflow.config import ConfigError, load, parts
from workflow.plan import check_names, load_plan


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


def test_a_parent_is_the_run_of_the_same_task_and_seed_and_comes_first(default):
    mapper = default.runs["dog2bear/nada-mapper/seed1"]
    assert mapper.parent_id == "dog2bear/nada-adaptive/seed1"
    order = list(default.runs)
    assert order.index(mapper.parent_id) < order.index(mapper.id)


def test_a_parent_that_no_group_shows_is_still_run_once(root, plan_with):
    groups = {"ablation": {"tasks": ["dog2cat"], "variants": ["mapper"], "controls": []}}
    others = load(root)[0]["groups"]
    alone = plan_with(seeds=[3], groups={name: None for name in others} | groups)
    assert list(alone.runs) == ["dog2cat/nada-adaptive/seed3", "dog2cat/nada-mapper/seed3"]
    assert [setting.name for setting in alone.members("ablation")] == ["nada-mapper"]


def test_each_variant_is_a_target_of_its_own_without_the_controls(default):
    groups = default.config["groups"]
    assert {"ablation_global", "k_sweep_k_1", "departures_no_views"} < set(default.groups)
    assert {"table1_tgan", "table2_ojha", "pareto_nada"} < set(default.groups)
    assert len(default.groups) == len(groups) + sum(len(parts(g)) for g in groups.values())
    names = {setting.name for setting in default.members("ablation_adaptive")}
    assert names == {"nada-adaptive"}


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


def test_a_group_without_content_is_left_out(plan_with):
    assert set(plan_with(preset="development").config["groups"]) == {"ablation", "few_shot"}


def test_the_summary_says_world_preset_and_how_much(default):
    first, second = default.summary().splitlines()
    assert first.startswith("world 'mini' (32x32, cpu), preset 'default', seeds [0, 1]")
    shown = {s for group in default.config["groups"] for s in default.members(group)}
    looks = len(shown) + len({setting.task for setting in shown})
    assert f"{len(default.runs)} runs, {looks} observations" in second


def test_two_targets_of_one_name_are_refused(root, plan_with):
    config, _ = load(root)
    groups = {"ablation_mapper": config["groups"]["ablation"]}  # also made by group ablation
    with pytest.raises(ConfigError, match="target 'ablation_mapper', a name that is taken"):
        plan_with(groups=groups)


def test_a_group_cannot_take_the_name_of_a_rule(root, plan_with):
    config, _ = load(root)
    with pytest.raises(ConfigError, match="target 'score', a name that is taken"):
        plan_with(groups={"score": config["groups"]["ablation"]})


def test_a_method_without_a_file_and_a_column_without_a_metric_are_named(root):
    with pytest.raises(ConfigError, match=r"'nadaa', but no baselines/nadaa.py .* 'nada'\?"):
        check_names({"methods": {"nadaa": {}}}, registry.methods(root / "baselines"), [])
    with pytest.raises(ConfigError, match=r"'fidd', which is no metric; did you mean 'fid'\?"):
        load_plan(root, {"groups": {"ablation": {"table": ["fidd"]}}})
