"""Publishing keeps what readers need, and leaves the old publication alone when a run is unfinished."""

import json

import pytest

from workflow.publish import main, publish

RUN = "runs/dog2cat/nada-global/seed0"


def make(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def test_tables_pictures_scores_and_records_are_kept_and_weights_and_curves_are_not(tmp_path):
    results, out = tmp_path / "mini", tmp_path / "published"
    kept = [
        "scores.csv",
        "claims.md",
        "tables/a.md",
        "figures/a_grid.png",
        "figures/a_training.svg",
        "figures/a_training.csv",
        f"{RUN}/run.json",
        f"{RUN}/cost.json",
    ]
    left = ["model.safetensors", "curves.csv", "settings.json"]
    make(results, *kept, *(f"{RUN}/{name}" for name in left), "observations/dog2cat/x.npz")
    make(results, "figures/a_training.png")  # the vector file says the same
    make(out, "tables/old.md")
    publish(results, out)
    found = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert found == set(kept)


def test_an_unfinished_run_is_one_sentence_and_changes_nothing(tmp_path, capsys):
    results, out = tmp_path / "mini", tmp_path / "published"
    make(results, "scores.csv")
    make(out, "tables/old.md")
    assert main(["--results", str(results), "--out", str(out)]) == 2
    assert "there is no tables/*.md" in capsys.readouterr().err
    assert (out / "tables/old.md").exists()


def test_of_named_groups_only_their_own_files_and_runs_are_kept(tmp_path):
    results, out = tmp_path / "full", tmp_path / "published"
    ours, others = "runs/dog2cat/tgan-plain-10shot/seed0", RUN
    for group, run in (("table1", ours), ("ablation", others)):
        make(results, f"tables/{group}.md", f"figures/{group}_grid.png", f"{run}/run.json")
        make(results, f"{run}/cost.json")
        told = {"observations": [{"runs": [{"costs": [f"results/full/{run}/cost.json"]}]}]}
        (results / "scores").mkdir(exist_ok=True)
        (results / f"scores/{group}.json").write_text(json.dumps(told))
        (results / f"scores/{group}.csv").write_text(f"task,value\nshared,1\n{group},2\n")
    make(results, "tables/table1_paper.md", "tables/table10.md")
    publish(results, out, ["table1"])
    found = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    kept = {"scores.csv", "tables/table1.md", "tables/table1_paper.md", "figures/table1_grid.png"}
    assert found == kept | {f"{ours}/run.json", f"{ours}/cost.json"}
    publish(results, out, ["table1", "ablation"])
    assert (out / "scores.csv").read_text() == "task,value\nshared,1\ntable1,2\nablation,2\n"


def test_a_group_that_was_not_run_is_named(tmp_path, capsys):
    make(tmp_path / "full", "scores.csv")
    line = ["--results", str(tmp_path / "full"), "--out", str(tmp_path / "out")]
    assert main([*line, "--groups", "pareto"]) == 2
    assert "no group 'pareto' was run" in capsys.readouterr().err


@pytest.mark.parametrize("out", [".", "docs", "mini"])
def test_a_folder_that_holds_anything_else_is_not_replaced(tmp_path, capsys, out):
    results = tmp_path / "mini"
    make(results, "scores.csv", "tables/a.md", "figures/a_grid.png", f"{RUN}/run.json")
    make(results, f"{RUN}/model.safetensors")
    make(tmp_path / "docs", "tables/a.md", "notes.md")
    before = {path: path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    assert main(["--results", str(results), "--out", str(tmp_path / out)]) == 2
    assert "which no publication has" in capsys.readouterr().err
    assert {path: path.read_text() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_file_is_not_replaced_by_a_publication(tmp_path, capsys):
    make(tmp_path, "mini/scores.csv", "notes.md")
    line = ["--results", str(tmp_path / "mini"), "--out", str(tmp_path / "notes.md")]
    assert main(line) == 2
    assert "notes.md: is a file; name a folder" in capsys.readouterr().err
