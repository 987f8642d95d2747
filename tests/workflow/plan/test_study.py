"""`snakemake study`: what it plans, what it tells the job, and which configurations it refuses."""

import pytest

from nada.run.spec.study_spec import StudySpec
from workflow.plan.checking import ConfigError, merge
from workflow.plan.groups import groups_named
from workflow.plan.inputs import figure_arguments, figure_inputs, report_inputs
from workflow.plan.layout import shown
from workflow.plan.plan import load_plan
from workflow.plan.specs import report_spec, study_spec
from workflow.plan.study_checks import check_study

SMALL = "study={group: ablation, preferred: {method: nada, variant: mapper}}"


def test_the_target_plans_the_runs_of_its_group_and_one_job(bare_project):
    planned = bare_project.planned("study", "--config", SMALL)
    assert planned["study"] == planned["study_spec"] == 1 and planned["adapt"] == planned["run_spec"] == 2 * 4
    assert planned["observe"] == 4 and not {"score", "table", "figure", "html"} & {*planned}
    assert "study" not in bare_project.planned("all")


def test_the_job_is_told_pictures_question_and_numbers_alone(default):
    spec = study_spec(default)
    assert isinstance(spec, StudySpec) and spec.group == "pareto"
    assert spec.questions == {"dog2cat": "Which is the better cat?"}
    assert spec.preferred.condition == ("nada", "mapper", 0, "source")
    assert [row.condition for row in spec.rows] == [
        (c.task, c.method, c.variant, c.shots, c.warm_start) for c in default.members("pareto")
    ]
    assert not any("referee" in key or "judge" in key for key in spec.model_dump())


def test_a_task_without_class_or_style_is_named_by_its_text(default, monkeypatch):
    monkeypatch.delitem(default.config["tasks"]["dog2cat"], "target_class")
    assert study_spec(default).questions == {"dog2cat": "Which is the better cat?"}


def test_the_word_study_names_its_group():
    groups = {"pareto": {}, "ablation": {}}
    assert groups_named(["study"], groups, {"group": "pareto"}) == ["pareto"]
    assert groups_named(["results/mini/study/study.done"], groups, {"group": "pareto"}) == ["pareto"]
    assert groups_named(["study"], groups) == groups_named(["all"], groups, {"group": "pareto"}) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"group": "paretto"}, "'study.group' names 'paretto'; did you mean 'pareto'?"),
        ({"group": "ablation"}, "the group 'ablation' has no 'preference'; name the model"),
        ({"preferred": {"method": "nada", "variant": "global"}}, "prefers nada global, 0-shot, a model that the group"),
        ({"pairs": 21}, "'study.pairs' is 21, no multiple of 'study.per_rater', 2"),
        ({"pairs": 130}, "'study.pairs' is 130, but 128 pictures of each run are kept"),
    ],
)
def test_a_study_that_cannot_be_made_is_one_sentence(default, monkeypatch, change, message):
    monkeypatch.setitem(default.config, "study", merge(default.config["study"], change))
    with pytest.raises(ConfigError) as error:
        check_study(default)
    assert message in str(error.value)


def test_without_the_section_there_is_nothing_to_prepare(default, monkeypatch):
    monkeypatch.delitem(default.config, "study")
    with pytest.raises(ConfigError, match="there is no 'study'"):
        check_study(default)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"pairs": 0}, "study.pairs"), ({"per_rater": "x"}, "study.per_rater"), ({"pears": 3}, "pears")],
)
def test_a_wrong_value_is_refused_before_anything_runs(root, change, message):
    with pytest.raises(ConfigError, match=message):
        load_plan(root, {"study": change})


def test_answers_become_a_table_that_the_pareto_plot_takes(default, monkeypatch):
    assert not figure_arguments(default, "pareto", "pareto") and "answers" not in figure_inputs(default, "pareto", "pareto")
    monkeypatch.setitem(default.groups["pareto"]["preference"], "answers", "answers.csv")
    table = f"{default.results}/tables/pareto_preference"
    assert figure_inputs(default, "pareto", "pareto")["answers"] == [f"{table}.csv"]
    assert figure_arguments(default, "pareto", "pareto") == f"--answers {table}.csv"
    assert {f"{table}.md", f"{table}.html"} <= {*shown(default, "pareto")}
    [asked] = report_spec(default).preferences
    assert (asked.group, asked.answers) == ("pareto", "answers.csv") and "answers.csv" in report_inputs(default)
