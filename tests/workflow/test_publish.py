"""Publishing keeps what readers need, and leaves the old publication alone when a run is unfinished."""

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
