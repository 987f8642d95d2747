"""Configuration: precedence, types from the command line, and one clear sentence per mistake."""


import pytest

from baselines import registry
from eval.analysis.statistics import seeds_needed
from eval.claims import read_claims
from tests.workflow.conftest import copy_project
from workflow.plan.checking import ConfigError, merge, schema
from workflow.plan.config import load, shown
from workflow.plan.config_checks import POOL_UNIT, check_clip_input
from workflow.plan.methods import descriptions


def test_the_command_line_wins_over_the_preset_and_the_preset_over_the_file(root):
    default, _ = load(root)
    smoke, _ = load(root, {"preset": "smoke"})
    both, _ = load(root, {"preset": "smoke", "results": "results/mine"})
    results = [config["results"] for config in (default, smoke, both)]
    assert results == ["results/mini", "results/smoke", "results/mine"]
    nada = smoke["methods"]["nada"]["hyperparameters"]
    assert nada["iterations"] < default["methods"]["nada"]["hyperparameters"]["iterations"]
    assert nada["lr"] == default["methods"]["nada"]["hyperparameters"]["lr"]


def test_the_full_preset_has_the_seeds_that_verdicts_need(root):
    claims = read_claims(root / "claims.yaml")
    tested = [claim for claim in claims if not claim.dropped("mini")]
    seeds = load(root, {"preset": "full"})[0]["seeds"]
    assert len(seeds) >= seeds_needed(len(tested))


def test_strings_of_the_command_line_take_the_types_of_the_schema(root):
    overrides = {
        "seeds": ["3", "4"],
        "methods": {
            "nada": {
                "hyperparameters": {
                    "lr": "2e-3",
                    "betas": ["0", "0.99"],
                    "snapshots": "7",
                    "layers": {"manual": ["1"]},
                }
            }
        },
        "evaluation": {"truncation_psi": "0.5"},
    }
    config, _ = load(root, overrides)
    nada = config["methods"]["nada"]["hyperparameters"]
    assert config["seeds"] == [3, 4]
    assert (nada["lr"], nada["betas"], nada["snapshots"]) == (0.002, [0.0, 0.99], 7)
    assert nada["layers"]["manual"] == [1]
    assert config["evaluation"]["truncation_psi"] == 0.5


def test_a_whole_number_that_a_program_wrote_with_a_point_is_read_as_one(root):
    overrides = {
        "seeds": [0.0, "1.0"],
        "methods": {"nada": {"hyperparameters": {"iterations": "1e3", "snapshots": [10.0]}}},
        "evaluation": {"k_medoids": 10.0},
        "tasks": {"dog2cat": {"references": {"count": 500.0}}},
    }
    config, _ = load(root, overrides)
    nada = config["methods"]["nada"]["hyperparameters"]
    found = [*config["seeds"], nada["iterations"], *nada["snapshots"]]
    found += [config["evaluation"]["k_medoids"], config["tasks"]["dog2cat"]["references"]["count"]]
    assert found == [0, 1, 1000, 10, 10, 500]
    assert all(isinstance(number, int) for number in found)


def test_hyperparameters_of_a_method_that_only_the_command_line_names_are_checked(root):
    overrides = {"methods": {"checkpoint": {"hyperparameters": {"weihgts": "x"}, "variants": {"mine": {}}}}}
    with pytest.raises(ConfigError, match=r"unknown key 'weihgts' .*; did you mean 'weights'\?"):
        load(root, overrides)


def nested(path, value):
    for key in reversed(path.split("/")):
        value = {key: value}
    return value


def nada_row(**changes):
    """The value of `rows` for one row of NADA's `adaptive`, with some keys changed."""
    return [{"methods": ["nada"], "variants": ["adaptive"], **changes}]


NADA, LAYERS = "methods/nada/hyperparameters", "methods/nada/variants/adaptive/hyperparameters/layers"
def test_a_preset_shows_nothing_of_what_a_world_leaves_out(root):
    config, _ = load(root, {"world": "paper", "preset": "smoke"})
    assert "k_sweep" not in shown(config) and "bias" not in shown(config)
    assert {"table3", "animals"} < set(shown(config))
    assert config["tasks"]["dog2cat"]["references"] == {"domain": "cat", "count": 128}
    assert config["results"] == "results/smoke"


@pytest.mark.parametrize("preset", ["development", "junk"])
def test_a_preset_of_one_world_is_refused_in_another(root, preset):
    with pytest.raises(ConfigError, match=f"preset '{preset}' is for the world mini, not for 'paper'; choose another"):
        load(root, {"world": "paper", "preset": preset})
    config, _ = load(root, {"preset": preset})
    assert "worlds" not in config


def test_a_preset_of_a_world_is_for_the_worlds_like_it_too(root, tmp_path):
    folder = copy_project(root, tmp_path)
    (folder / "workflow/worlds/mine").mkdir()
    (folder / "workflow/worlds/mine/world.yaml").write_text("like: mini\n")
    assert load(folder, {"world": "mine", "preset": "junk"})[0]["preset"] == "junk"
    (folder / "workflow/presets/junk.yaml").write_text("worlds: mini\n")
    with pytest.raises(ConfigError, match=r"junk\.yaml: 'worlds' must be a list of worlds, like \[mini\]"):
        load(folder, {"preset": "junk"})


def test_a_preset_that_skips_all_that_is_shown_is_refused(root):
    with pytest.raises(ConfigError, match="'skip' leaves out every group of 'show'; leave one in"):
        load(root, {"preset": "smoke", "show": ["bias"]})


def test_a_row_takes_no_shots_and_the_source_model_unless_it_says_so(root):
    config, _ = load(root, {"groups": {"ablation": {"rows": nada_row()}}})
    (row,) = config["groups"]["ablation"]["rows"]
    assert row == {"methods": ["nada"], "variants": ["adaptive"], "shots": [0], "warm_starts": ["source"]}


def test_own_is_the_variant_of_each_task_and_tasks_of_one_variant_share_a_row(root):
    tasks = {"dog2cat": {"variant": "global"}, "dog2bear": {"variant": "adaptive"}}
    rows = nada_row(variants=["own", "adaptive"], tasks=["dog2cat", "dog2bear"])
    config, _ = load(root, {"tasks": tasks, "groups": {"ablation": {"rows": rows}}})
    written = config["groups"]["ablation"]["rows"]
    assert [(row["tasks"], row["variants"]) for row in written] == [
        (["dog2cat"], ["global", "adaptive"]), (["dog2bear"], ["adaptive"])
    ]  # fmt: skip
    tasks = {name: {"variant": "k_1"} for name in ("dog2cat", "dog2bear", "face2sketch")}
    config, _ = load(root, {"tasks": tasks, "groups": {"ablation": {"rows": nada_row(variants=["own"])}}})
    (row,) = config["groups"]["ablation"]["rows"]
    assert (row["tasks"], row["variants"]) == ([*tasks], ["k_1"])


def test_a_variant_that_a_task_names_exists_in_the_method_of_the_row(root):
    overrides = {"tasks": {"dog2cat": {"variant": "adaptve"}}}
    rows = nada_row(variants=["own"], tasks=["dog2cat"])
    for groups in ({}, {"ablation": {"rows": rows}}):  # whether a row asks for it or not
        with pytest.raises(ConfigError, match=r"'tasks.dog2cat.variant' names 'adaptve'; did you mean 'adaptive'\?"):
            load(root, {**overrides, "groups": groups})


def test_what_is_neither_shown_nor_asked_for_need_not_fit_the_world(root):
    task = {"role": "test", "source": "horse", "text": {"source": "horse", "target": "zebra"}}
    group = {"like": "ablation", "title": "mine", "tasks": ["horse2zebra"], "rows": nada_row()}
    overrides = {"tasks": {"horse2zebra": task}, "groups": {"mine": group}}
    overrides["methods"] = {"nada": {"variants": {"deep": {"hyperparameters": {"layers": {"k": 99}}}}}}
    assert load(root, overrides)
    for asked in ("mine", "mine_adaptive", "results/mini/tables/mine.md"):
        with pytest.raises(ConfigError, match="'tasks.horse2zebra.source' names 'horse'; known: dog, face"):
            load(root, overrides, asked=[asked])
    with pytest.raises(ConfigError, match="'tasks.horse2zebra.source' names 'horse'"):
        load(root, {**overrides, "show": ["mine"]})


def test_a_checkpoint_is_missed_only_where_a_group_that_is_used_shows_it(root):
    variants = {"anime": {"hyperparameters": {"weights": "assets/nope.pt"}}}
    overrides = {"methods": {"checkpoint": {"hyperparameters": {}, "variants": variants}}}
    rows = [{"methods": ["checkpoint"], "variants": ["anime"]}]
    overrides["groups"] = {"made_elsewhere": {"like": "table1", "title": "made elsewhere", "rows": rows}}
    assert load(root, overrides)
    with pytest.raises(ConfigError, match="the checkpoint assets/nope.pt is missing; correct the path"):
        load(root, overrides, asked=["made_elsewhere"])


def test_the_configuration_of_a_plan_loads_as_the_same(root):
    config, _ = load(root, {"world": "paper"})  # the report's Snakemake is given it as --configfile
    assert load(root, config)[0] == config


def test_clusters_fit_into_half_of_the_references_which_are_measured_against_the_other(root):
    overrides = {"tasks": {"dog2cat": {"references": {"count": 120}}}, "evaluation": {"k_medoids": 60}}
    with pytest.raises(ConfigError, match="too many clusters for the 60 images that are half of"):
        load(root, overrides)


def test_the_public_mapper_s_input_is_refused_for_a_generator_that_it_cannot_pool():
    from nada import mapper

    official = {"mapper": {"clip_input": "official"}}
    message = (
        r"variant 'v': mapper.clip_input is 'official', which needs images of a multiple of 32 "
        r"pixels, but the generator makes 16x16; set it to 'clip'\."
    )
    with pytest.raises(ConfigError, match=message):
        check_clip_input(official, 16, "variant 'v'")
    for hparams, size in ((official, 64), ({"mapper": {"clip_input": "clip"}}, 16), ({}, 16)):
        check_clip_input(hparams, size, "variant 'v'")
    assert POOL_UNIT == mapper.POOL_UNIT


def test_every_hyperparameter_of_the_configuration_is_accepted_by_the_method(root):
    from nada.run.hyperparameters import read_hyperparameters
    from nada.training import NadaHyperparameters

    config, _ = load(root)
    nada = config["methods"]["nada"]
    for name, variant in nada["variants"].items():
        read_hyperparameters(
            NadaHyperparameters, merge(nada["hyperparameters"], variant.get("hyperparameters", {})), name
        )


def test_every_object_of_a_schema_refuses_unknown_keys(root):
    def objects(rules):
        if isinstance(rules, dict):
            if "properties" in rules:
                yield rules
            for value in rules.values():
                yield from objects(value)

    names = [path.name.removesuffix(".schema.yaml") for path in (root / "workflow/schemas").glob("*.yaml")]
    assert sorted(names) == ["config", "world"]
    methods = descriptions(registry.methods(root / "baselines"))
    schemas = {**{name: schema(name) for name in names}, **{n: m["schema"] for n, m in methods.items()}}
    for name, rules in schemas.items():
        found = list(objects(rules))
        assert found, name
        assert all(rules["additionalProperties"] is False for rules in found), name


def test_the_configuration_is_short_and_every_key_is_commented(root):
    lines = (root / "config.yaml").read_text().splitlines()
    assert len(lines) <= 325
    for position, line in enumerate(lines):
        if line and not line.startswith((" ", "#")):
            assert "#" in line or lines[position - 1].startswith("#"), line


# ---- files of the world


def test_a_bad_configuration_stops_snakemake_with_one_sentence_and_no_traceback(
    bare_project, snakemake
):
    done = snakemake("all", "-n", "--config", "seedz=[0]", cwd=bare_project.folder)
    assert done.returncode != 0
    assert "Traceback" not in done.stdout
    errors = [line for line in done.stdout.splitlines() if line.startswith("error: ")]
    assert errors == ["error: config: unknown key 'seedz' in the top level; did you mean 'seeds'?"]
    assert not (bare_project.folder / "results").exists()
