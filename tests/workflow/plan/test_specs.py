"""What each job is told: the run, look and group files."""

import json

from nada.run.spec import read_group_spec, read_observation_spec
from workflow.plan.checking import merge
from workflow.plan.runs import latent_seed
from workflow.plan.specs import as_json, group_spec, observation_spec, run_spec


def test_the_run_file_is_everything_a_run_is(default):
    told = run_spec(default, default.runs["dog2cat/nada-adaptive/seed1"])
    hparams = told.pop("hyperparameters")
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
    }
    assert hparams["layers"]["policy"] == "adaptive"
    assert hparams["lr"] == default.config["methods"]["nada"]["hyperparameters"]["lr"]


def test_a_variant_overrides_only_what_it_names(default):
    told = run_spec(default, default.runs["dog2cat/nada-global/seed0"])["hyperparameters"]
    base = default.config["methods"]["nada"]["hyperparameters"]
    assert merge(told, {**base, "loss": "global"}) == told  # what the configuration says holds
    plain = run_spec(default, default.runs["dog2cat/nada-all_layers/seed0"])["hyperparameters"]
    assert told == {**plain, "loss": "global"}


def test_a_run_is_told_every_hyperparameter_with_its_default(default):
    from nada.adapt import NadaHyperparameters
    from nada.run.hyperparameters import read_hyperparameters, resolved

    for variant in ("global", "mapper"):
        told = run_spec(default, default.runs[f"dog2cat/nada-{variant}/seed0"])["hyperparameters"]
        recorded = resolved(read_hyperparameters(NadaHyperparameters, told, variant))
        assert told == json.loads(json.dumps(recorded))


def test_a_new_seed_leaves_the_run_files_of_the_others_as_they_are(plan_with, default):
    more = plan_with(seeds=[0, 1, 2])
    for run in default.runs.values():
        assert run_spec(default, run) == run_spec(more, more.runs[run.id])


def test_the_device_of_the_configuration_wins_over_the_world(plan_with):
    on_card = plan_with(device="cuda")
    run = on_card.runs["dog2cat/nada-global/seed0"]
    assert (plan_with().device, on_card.device) == ("cpu", "cuda")
    assert run_spec(on_card, run)["device"] == "cuda"


def test_methods_share_the_latents_of_a_task_and_seed_and_nothing_else_does(default):
    look = {
        name: observation_spec(default, "dog2cat", name) for name in ("nada-global", "source-unchanged")
    }
    seeds = [[run["latent_seed"] for run in entry["runs"]] for entry in look.values()]
    assert seeds[0] == seeds[1]
    others = [latent_seed(task, seed) for task in ("dog2cat", "dog2bear") for seed in range(50)]
    assert len(set(others)) == 100
    assert all(0 <= seed < 2**63 for seed in others)


def test_the_look_at_the_reals_has_no_runs(default):
    look = observation_spec(default, "dog2cat", "real")
    assert (look["method"], look["runs"], look["target_class"]) == ("real", [], "cat")


def test_the_k_sweep_goes_from_one_layer_to_all_and_trains_no_default_twice(default):
    told = group_spec(default, "k_sweep")["observations"]
    layers = [entry["layers"] for entry in told if entry["method"] == "nada"]
    assert layers == list(range(1, len(layers) + 1))
    assert layers[-1] == group_spec(default, "k_sweep")["convolutions"] == 7
    variants = [entry["variant"] for entry in told]
    adaptive = default.config["methods"]["nada"]["hyperparameters"]["layers"]["k"]
    assert variants[layers.index(adaptive) + 1] == "adaptive"  # after the control
    assert [e["chooses_layers"] for e in told] == [False, *[True] * 6, False]


def test_what_compares_rows_is_told_to_the_whole_group_and_to_none_of_its_parts(default):
    alone = group_spec(default, "k_sweep_k_1")
    assert (alone["sweep"], alone["against"]) == ([], [])  # these need more than one variant
    told = group_spec(default, "pareto")
    assert told["preference"] == {
        "method": "nada", "variant": "mapper", "shots": 0, "warm_start": "source"
    }  # fmt: skip
    assert group_spec(default, "pareto_nada")["preference"] is None
    papers = {name: group_spec(default, name)["paper"] for name in default.config["groups"]}
    assert {name for name, paper in papers.items() if paper} == {"table1", "table2"}


def test_the_eval_commands_read_what_they_are_told(default, tmp_path):
    file = tmp_path / "told.json"
    file.write_text(as_json(observation_spec(default, "dog2cat", "nada-mapper")))
    assert [run.seed for run in read_observation_spec(file).runs] == [0, 1]
    file.write_text(as_json(group_spec(default, "ablation")))
    assert len(read_group_spec(file).observations) == len(default.members("ablation"))


def test_settings_text_is_json_that_reads_back(default):
    told = run_spec(default, next(iter(default.runs.values())))
    assert json.loads(as_json(told)) == told
