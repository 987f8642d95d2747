"""What each job is told: the specs of runs, observations and groups."""

import json
import os
from pathlib import Path

import pytest

from nada.run.spec.base import Target, as_json
from nada.run.spec.group_spec import DifferenceSpec, ModelSpec, read_group_spec
from nada.run.spec.observation_spec import read_observation_spec
from nada.run.spec.report_spec import read_report_spec
from nada.run.spec.run_spec import ClipSpec, RunSpec, SourceSpec, TextSpec, read_run_spec
from workflow.plan import specs
from workflow.plan.checking import merge
from workflow.plan.layout import training_file
from workflow.plan.plan import load_plan
from workflow.plan.runs import latent_seed
from workflow.plan.specs import group_spec, observation_spec, report_spec, run_spec


def test_the_run_spec_is_everything_a_run_is(default):
    told = run_spec(default, default.runs["dog2cat/nada-adaptive/seed1"])
    hparams = told.hyperparameters
    assert told == RunSpec(
        world="mini",
        task="dog2cat",
        method="nada",
        variant="adaptive",
        shots=0,
        warm_start="source",
        seed=1,
        device="cpu",
        resolution=32,
        hyperparameters=hparams,
        parent=None,
        source=SourceSpec(domain="dog", weights="workflow/worlds/mini/weights/dog.safetensors"),
        text=TextSpec(source="dog", target="cat"),
        templates="workflow/worlds/mini/templates.txt",
        clips=tuple(ClipSpec(**clip) for clip in default.world["clips"]),
        training_images=None,
    )
    assert hparams["layers"]["policy"] == "adaptive"
    assert hparams["lr"] == default.config["methods"]["nada"]["hyperparameters"]["lr"]


def test_the_id_of_a_run_is_that_of_its_spec(default):
    for run in default.runs.values():
        told = run_spec(default, run)
        assert (told.id, told.condition) == (run.id, run.condition.name)


def test_a_variant_overrides_only_what_it_names(default):
    told = run_spec(default, default.runs["dog2cat/nada-global/seed0"]).hyperparameters
    base = default.config["methods"]["nada"]["hyperparameters"]
    assert merge(told, {**base, "loss": "global"}) == told  # what the configuration says holds
    plain = run_spec(default, default.runs["dog2cat/nada-all_layers/seed0"]).hyperparameters
    assert told == {**plain, "loss": "global"}


def test_the_spec_of_a_run_has_every_hyperparameter_with_its_default(default):
    from nada.run.hyperparameters import read_hyperparameters, resolved
    from nada.training import NadaHyperparameters

    for variant in ("global", "mapper"):
        told = run_spec(default, default.runs[f"dog2cat/nada-{variant}/seed0"]).hyperparameters
        recorded = resolved(read_hyperparameters(NadaHyperparameters, told, variant))
        assert told == json.loads(json.dumps(recorded))


def test_a_new_seed_leaves_the_run_specs_of_the_others_as_they_are(plan_with, default):
    more = plan_with(seeds=[0, 1, 2])
    for run in default.runs.values():
        assert as_json(run_spec(default, run)) == as_json(run_spec(more, more.runs[run.id]))


def test_the_device_of_the_configuration_wins_over_the_world(plan_with):
    on_card = plan_with(device="cuda")
    run = on_card.runs["dog2cat/nada-global/seed0"]
    assert (plan_with().device, on_card.device) == ("cpu", "cuda")
    assert run_spec(on_card, run).device == "cuda"


def test_methods_share_the_latents_of_a_task_and_seed_and_nothing_else_does(default):
    told = [observation_spec(default, "dog2cat", name) for name in ("nada-global", "source-unchanged")]
    seeds = [[run.latent_seed for run in entry.runs] for entry in told]
    assert seeds[0] == seeds[1]
    others = [latent_seed(task, seed) for task in ("dog2cat", "dog2bear") for seed in range(50)]
    assert len(set(others)) == 100
    assert all(0 <= seed < 2**63 for seed in others)


def test_the_observation_of_the_reals_has_no_runs(default):
    told = observation_spec(default, "dog2cat", "real")
    assert (told.method, told.runs, told.target) == ("real", (), Target("class", "cat"))


def test_the_k_sweep_goes_from_one_layer_to_all_and_trains_no_default_twice(default):
    told = group_spec(default, "k_sweep").rows
    layers = [row.layers for row in told if row.method == "nada"]
    assert layers == list(range(1, len(layers) + 1))
    assert layers[-1] == group_spec(default, "k_sweep").convolutions == 7
    variants = [row.variant for row in told]
    adaptive = default.config["methods"]["nada"]["hyperparameters"]["layers"]["k"]
    assert variants[layers.index(adaptive) + 1] == "adaptive"  # after the control
    assert [row.chooses_layers for row in told] == [False, *[True] * 6, False]


def test_comparisons_of_rows_are_in_the_spec_of_the_group_and_not_of_its_parts(default):
    alone = group_spec(default, "k_sweep_k_1")
    assert (alone.sweep, alone.differences) == ((), ())  # these need more than one variant
    told = group_spec(default, "pareto")
    assert told.preference == ModelSpec(method="nada", variant="mapper", shots=0, warm_start="source")
    assert group_spec(default, "pareto_nada").preference is None
    papers = {name: group_spec(default, name).paper for name in default.config["groups"]}
    assert {name for name, paper in papers.items() if paper} == {"table1", "table2"}


def test_the_method_of_a_difference_is_the_groups_only_one_where_it_names_none(plan_with):
    pairs = {"baseline": "global", "variants": ["adaptive"]}
    for given in (pairs, {**pairs, "method": "nada"}):
        plan = plan_with()
        plan.groups["ablation"] = {**plan.groups["ablation"], "against": [given]}
        wanted = DifferenceSpec(method="nada", baseline="global", variants=("adaptive",))
        assert group_spec(plan, "ablation").differences == (wanted,)


def test_every_spec_of_the_plan_is_read_again_as_it_was_written(default, tmp_path):
    told = [(run_spec(default, run), read_run_spec) for run in default.runs.values()]
    told += [(observation_spec(default, *key), read_observation_spec) for key in default.conditions]
    told += [(group_spec(default, name), read_group_spec) for name in default.groups]
    for number, (spec, read) in enumerate(told):
        file = tmp_path / f"{number}.json"
        file.write_text(as_json(spec))
        assert read(file) == spec


def texts(plan):
    """{kind and name: text} of every spec of a plan."""
    tasks = dict.fromkeys(task for task, _ in plan.conditions if "references" in plan.config["tasks"][task])
    observed = [*plan.conditions, *((task, "real") for task in tasks)]
    return {
        **{("run", run.id): as_json(run_spec(plan, run)) for run in plan.runs.values()},
        **{("observation", *key): as_json(observation_spec(plan, *key)) for key in observed},
        **{("group", name): as_json(group_spec(plan, name)) for name in plan.groups},
    }


def changed(before, plan):
    """Names of the specs whose text another plan changes."""
    after = texts(plan)
    assert after.keys() == before.keys()
    return {name for name, text in after.items() if text != before[name]}


def test_an_edit_of_a_text_changes_only_the_specs_of_runs_that_a_text_supervises(plan_with, default):
    edited = plan_with(seeds=[0, 1], tasks={"dog2cat": {"text": {"source": "dog", "target": "tabby cat"}}})
    by_text = {
        ("run", run.id)
        for run in default.runs.values()
        if default.methods[run.condition.method].supervision == "text" and run.condition.task == "dog2cat"
    }
    assert changed(texts(default), edited) == by_text and by_text


def test_an_edit_of_the_prompts_or_the_clips_changes_only_the_specs_of_runs_that_a_text_supervises(
    default, monkeypatch
):
    before = texts(default)
    by_text = {
        ("run", run.id)
        for run in default.runs.values()
        if default.methods[run.condition.method].supervision == "text"
    }
    monkeypatch.setitem(default.world, "templates", "other.txt")
    assert changed(before, default) == by_text
    monkeypatch.undo()
    monkeypatch.setitem(default.world, "clips", default.world["clips"][:1])
    assert changed(before, default) == by_text


@pytest.mark.parametrize(
    ("evaluation", "kinds"),
    [({"k_medoids": 7}, {"group"}), ({"batch": 7}, {"observation"}), ({"fid_images": 900}, {"observation"})],
)
def test_an_edit_of_a_count_changes_only_the_specs_of_jobs_that_use_it(plan_with, default, evaluation, kinds):
    found = changed(texts(default), plan_with(seeds=[0, 1], evaluation=evaluation))
    assert {kind for kind, *_ in found} == kinds


def test_a_run_trains_on_images_only_where_its_supervision_or_its_shots_say_so(plan_with):
    own = {"few_shot": {"domain": "bear", "count": 200}}
    plan = plan_with(tasks={"dog2cat": own})
    seen = set()
    for condition in plan.conditions.values():
        supervision = plan.methods[condition.method].supervision
        images = supervision == "images" or (supervision == "text" and condition.shots > 0)
        task = plan.config["tasks"][condition.task]
        domain = "bear" if condition.task == "dog2cat" else task.get("references", {}).get("domain")
        wanted = f"results/mini/references/{domain}.npz" if images else None
        assert training_file(plan, condition) == wanted, condition
        seen.add((supervision, images))
    assert seen >= {("text", False), ("text", True), ("images", True), ("none", False)}


def test_the_specs_of_all_jobs_have_the_same_training_images(default):
    """One place decides them: the spec of the run, of its observation, and the row of its group."""
    for name in default.groups:
        for row in group_spec(default, name).rows:
            condition = next(c for c in default.members(name) if (c.task, c.name) == (row.task, name_of(row)))
            observed = observation_spec(default, condition.task, condition.name)
            runs = {run_spec(default, run).training_images for run in default.seeds_of(condition)}
            assert runs == {row.training_images} == {observed.training_images}


def name_of(row):
    from nada.run.run_id import condition_name

    return condition_name(row.method, row.variant, row.shots, row.warm_start)


def test_the_text_of_a_spec_is_json(default):
    told = run_spec(default, next(iter(default.runs.values())))
    assert json.loads(as_json(told)) == told.model_dump(mode="json")


def test_a_staged_text_that_no_plan_names_for_months_is_removed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    old, kept, new = (Path(specs.staged(text)) for text in ("old", "kept", "new"))
    for path in (old, kept):
        os.utime(path, (0, 0))
    specs.staged("kept")  # a plan of today names it
    assert specs.prune() == 1
    assert not old.exists() and kept.exists() and new.exists()
    assert specs.prune() == 0


# ---- the report -----------------------------------------------------------------------------------


def test_the_report_is_told_of_every_group_and_figure_that_is_shown(default, tmp_path):
    told = report_spec(default)
    assert told.groups == tuple(f"results/mini/scores/{group}.json" for group in default.shown)
    assert told.seeds == (0, 1) and told.claims == "results/mini/claims.csv" and told.assets == ()
    figure = next(f for f in told.figures if (f.group, f.kind) == ("pareto", "pareto"))
    assert figure.prefix == "results/mini/figures/pareto_pareto" and figure.caption.startswith("Quality against")
    (tmp_path / "report.json").write_text(as_json(told), encoding="utf-8")
    assert read_report_spec(tmp_path / "report.json") == told


def test_the_report_of_the_papers_world_names_every_asset_with_its_licence(root):
    told = report_spec(load_plan(root, {"world": "paper"}))
    assert any("StyleGAN2" in asset.title or "FFHQ" in asset.title for asset in told.assets)
    assert all(asset.licence and asset.source.startswith("http") for asset in told.assets)
