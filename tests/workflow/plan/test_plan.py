"""From the configuration to the runs: groups, parents, warm starts, and what is refused."""

import subprocess
import sys

import pytest

from baselines import registry
from tests.nada.departures import leaves
from workflow.plan.checking import schema
from workflow.plan.config import ConfigError, load
from workflow.plan.config_checks import check_declared
from workflow.plan.group_checks import GALLERY_PSI
from workflow.plan.groups import parts
from workflow.plan.measured import LEAST_FRESH, LEAST_REAL
from workflow.plan.metric_kinds import metric_names
from workflow.plan.plan import load_plan
from workflow.plan.runs import Condition


def test_there_is_one_run_per_condition_and_seed_whatever_the_groups_share(default):
    ids = list(default.runs)
    groups = default.config["groups"]
    assert len(ids) == len(set(ids)) == 2 * len(default.conditions)
    conditions = {s for group in groups for s in default.members(group)}
    parents = {default.parent(condition) for condition in conditions} - {None}
    assert conditions | parents == set(default.conditions.values())
    assert {condition.method for condition in parents - conditions} == {"finetune_gd"}
    assert sum(len(default.members(group)) for group in groups) > len(conditions)  # some are shared
    assert "dog2cat/nada-all_layers/seed1" in ids
    assert "dog2bear/source-unchanged/seed0" in ids


def test_a_parent_is_the_run_of_the_same_task_and_seed_and_comes_first(default):
    mapper = default.runs["dog2bear/nada-mapper/seed1"]
    assert mapper.parent_id == "dog2bear/nada-adaptive/seed1"
    order = list(default.runs)
    assert order.index(mapper.parent_id) < order.index(mapper.id)


def test_a_parent_that_no_group_shows_is_still_run_once(plan_with):
    rows = [{"methods": ["nada"], "variants": ["mapper"]}]
    group = {"tasks": ["dog2cat"], "rows": rows, "controls": []}
    alone = plan_with(seeds=[3], show=["ablation"], groups={"ablation": group})
    shown = {run.id for run in alone.runs_of(alone.shown)}
    assert [name for name in alone.runs if name in shown] == ["dog2cat/nada-adaptive/seed3", "dog2cat/nada-mapper/seed3"]
    assert [condition.name for condition in alone.members("ablation")] == ["nada-mapper"]


def test_each_variant_is_a_target_of_its_own_without_the_controls(default):
    groups = default.config["groups"]
    assert {"ablation_global", "k_sweep_k_1", "departures_no_views"} < set(default.groups)
    assert {"table1_tgan", "table2_ojha", "pareto_nada"} < set(default.groups)
    assert len(default.groups) == len(groups) + sum(len(parts(g)) for g in groups.values())
    names = {condition.name for condition in default.members("ablation_adaptive")}
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


def test_a_group_that_is_not_shown_is_a_target_all_the_same(plan_with):
    plan = plan_with(preset="development")
    assert plan.shown == plan.used == ["ablation", "few_shot", "lengths"]
    assert {"table1", "table1_tgan"} < set(plan.targets)
    assert "dog2cat/tgan-plain-10shot/seed100" in plan.runs
    assert {run.condition.task for run in plan.runs_of(plan.shown)} == {"dog2fox", "face2cartoon"}


def test_a_group_that_is_asked_for_is_checked_as_those_that_are_shown(root):
    overrides = {"preset": "junk", "groups": {"table1": {"paper": "tabel1"}}}
    assert load_plan(root, overrides, ["ablation", "all"]).used == ["ablation"]
    with pytest.raises(ConfigError, match="'groups.table1.paper' names 'tabel1'"):
        load_plan(root, overrides, ["table1_tgan"])


def test_every_departure_of_a_few_shot_method_turns_one_switch_of_its_plain_variant(default):
    group = default.config["groups"]["few_shot_departures"]
    found, shown = {}, {(s.method, s.variant) for s in default.members("few_shot_departures")}
    for pairs in group["against"]:
        method = pairs["method"]
        base = default.hyperparameters(Condition("dog2cat", method, pairs["baseline"]))
        for variant in pairs["variants"]:
            changed = default.hyperparameters(Condition("dog2cat", method, variant))
            (found[method, variant],) = {
                k for k, _ in leaves(changed).items() ^ leaves(base).items()
            }
            assert {(method, variant), (method, "plain")} <= shown
    assert found["tgan", "with_replacement"] == "sampling"
    assert found["tgan_ada", "official_warp"] == "ada_warp"
    assert {v for v in shown if v[1] not in ("plain", "unchanged", "images")} == set(found)


def test_pairs_of_a_group_of_several_methods_name_one(root):
    pairs = {"baseline": "plain", "variants": ["official_warp"]}
    row = {"methods": ["tgan", "tgan_ada"], "variants": ["plain"], "shots": [10], "warm_starts": ["source"]}  # fmt: skip
    rows = [row, {**row, "methods": ["tgan_ada"], "variants": ["official_warp"]}]
    for entry, message in (
        ({}, "shows variants of tgan, tgan_ada; give the entry a 'method'"),
        ({"method": "tgan"}, "names 'official_warp'; known: plain"),
        ({"method": "tgam"}, "names 'tgam'; did you mean 'tgan'"),
    ):
        group = {"rows": rows, "against": [pairs | entry]}
        with pytest.raises(ConfigError, match=message):
            load(root, {"groups": {"few_shot_departures": group}})


def test_the_summary_says_world_preset_and_how_much(default):
    first, second = default.summary().splitlines()
    assert first.startswith("world 'mini' (32x32, cpu), preset 'default', seeds [0, 1]")
    shown = {s for group in default.shown for s in default.members(group)}
    observations = len(shown) + len({condition.task for condition in shown})
    runs = default.runs_of(default.shown)
    assert f"consists of {len(runs)} runs, {observations} observations" in second


def test_the_summary_counts_one_run_as_one(plan_with):
    rows = [{"methods": ["nada"], "variants": ["global"]}]
    group = {"ablation": {"tasks": ["dog2cat"], "controls": [], "rows": rows}}
    said = plan_with(seeds=[0], show=["ablation"], groups=group).summary()
    assert "target all consists of 1 run, 2 observations, a table" in said


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
        check_declared({"methods": {"nadaa": {}}}, registry.methods(root / "baselines"), [])
    with pytest.raises(ConfigError, match=r"'fidd', which is not a metric; did you mean 'fid'\?"):
        load_plan(root, {"groups": {"ablation": {"table": ["fidd"]}}})


# ---- what a job would refuse is refused here


def test_what_the_plan_says_of_pictures_and_metrics_is_what_eval_does(root):
    from eval import observation
    from eval.analysis.statistics import MOST_SEEDS
    from eval.metrics.catalogue import METRICS
    from eval.metrics.fid import MIN_IMAGES
    from eval.metrics.memorisation import QUANTILE
    from eval.paper_table import LAYOUTS

    assert observation.GALLERY_PSI == GALLERY_PSI
    assert LEAST_FRESH == round(1 / QUANTILE)
    assert LEAST_REAL == 2 * MIN_IMAGES
    assert schema("config")["properties"]["seeds"]["maxItems"] == MOST_SEEDS
    assert {path.stem for path in (root / "eval" / "paper").glob("table*.csv")} == set(LAYOUTS)
    found = metric_names(root)
    assert len(found) > 15
    assert all(METRICS[name].maximize is maximize for name, maximize in found.items() if name in METRICS)
    parts = {name for name in METRICS if name.startswith("factor_correlation_")}
    assert set(METRICS) - parts <= set(found)


def test_a_plan_imports_no_torch(root):
    code = "import sys; from workflow.plan.plan import load_plan; load_plan(); print('torch' in sys.modules)"
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, cwd=root, capture_output=True, text=True, check=False)
    assert done.stdout == "False\n", done.stderr
