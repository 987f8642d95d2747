"""Publishing keeps what readers need, and never harms what is published already.

It refuses another benchmark and an unfinished run, shows what would change, and replaces the old folder
by renaming a whole new one. An archive holds the same files.
"""

import hashlib
import json
import shutil
import zipfile
from pathlib import Path

import pytest

from nada.run.errors import UserError
from workflow.publication import ABOUT, SUMS, about_published
from workflow.publish import changes, main, publish

RUN = "runs/dog2cat/nada-global/seed0"
FACTS = {"world": "mini", "preset": "full", "device": "cpu"}


def make(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def finished(folder, groups=("ablation",), seeds=(0, 1), **facts):
    """A folder of results in which some groups have run."""
    for group in groups:
        make(folder, f"tables/{group}.md", f"figures/{group}_grid.png")
        runs = []
        for seed in seeds:
            run = f"runs/dog2cat/{group}/seed{seed}"
            make(folder, f"{run}/run.json", f"{run}/cost.json", f"{run}/model.safetensors")
            runs.append({"seed": seed, "curves": "-", "costs": [f"results/full/{run}/cost.json"]})
        row = {"task": "dog2cat", "method": "nada", "variant": group, "observation": "-", "runs": runs}
        told = {"name": group, "title": group, **FACTS, **facts, "tasks": {"dog2cat": {}}, "rows": [row]}
        (folder / "scores").mkdir(exist_ok=True)
        (folder / f"scores/{group}.json").write_text(json.dumps(told))
        (folder / f"scores/{group}.csv").write_text(f"task,value\nshared,1\n{group},2\n")
    (folder / "scores.csv").write_text("task,value\n" + "".join(f"{g},2\n" for g in groups))
    make(folder, "report.html")
    return folder


def content_names(folder):
    """The name of every file of a folder."""
    return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]


def content(folder):
    """{name: text} of every file of a folder."""
    return {name: (folder / name).read_text() for name in content_names(folder)}


@pytest.fixture
def published(tmp_path):
    """What an earlier run of two seeds and two groups left."""
    out = tmp_path / "published/mini"
    publish(finished(tmp_path / "earlier", ("ablation", "table1")), out, say=lambda _: None)
    return out


def test_tables_pictures_scores_and_records_are_kept_and_weights_and_curves_are_not(tmp_path):
    results, out = finished(tmp_path / "full"), tmp_path / "published"
    make(results, "claims.md", "figures/a_training.svg", "figures/a_training.csv")
    make(results, f"{RUN}/curves.csv", f"{RUN}/spec.json", "observations/dog2cat/x.npz")
    make(results, "figures/a_training.png")  # the vector file says the same
    make(results, "figures/a_gallery.png", "provenance.html", "report.json", "logs/report.log")
    publish(results, out)
    records = {f"runs/dog2cat/ablation/seed{k}/{name}.json" for k in (0, 1) for name in ("run", "cost")}
    assert set(content(out)) == records | {
        ABOUT, SUMS, "report.html", "provenance.html", "scores.csv", "claims.md", "tables/ablation.md",
        "figures/ablation_grid.png", "figures/a_training.svg", "figures/a_training.csv", "figures/a_gallery.png",
    }  # fmt: skip
    assert json.loads((out / ABOUT).read_text()) == {**FACTS, "seeds": [0, 1], "groups": ["ablation"]}


@pytest.mark.parametrize("missing", ["scores.csv", "tables", "figures", "runs", "scores", "report.html"])
def test_an_unfinished_run_is_one_sentence_and_changes_nothing(tmp_path, published, capsys, missing):
    results, before = finished(tmp_path / "full", ("ablation", "table1")), content(published)
    path = results / missing
    path.unlink() if path.is_file() else shutil.rmtree(path)
    assert main(["--results", str(results), "--out", str(published)]) == 2
    assert "run first" in capsys.readouterr().err or missing == "scores"
    assert content(published) == before


REFUSED = {
    "another preset": ({"preset": "smoke"}, "the preset is 'smoke', not 'full'"),
    "another world": ({"world": "paper"}, "the world is 'paper', not 'mini'"),
    "another device": ({"device": "cuda"}, "the device is 'cuda', not 'cpu'"),
    "fewer seeds": ({"seeds": (0,)}, "the seeds 1 would be removed"),
    "fewer groups": ({"groups": ("ablation",)}, "the groups table1 would be removed"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_another_benchmark_replaces_the_published_one_only_if_that_is_meant(
    tmp_path, published, capsys, what
):
    change, said = REFUSED[what]
    results, before = tmp_path / "new", content(published)
    finished(results, **{"groups": ("ablation", "table1"), **change})
    line = ["--results", str(results), "--out", str(published)]
    assert main(line) == 2
    told = capsys.readouterr()
    assert said in told.err and "--replace" in told.err and len(told.err.splitlines()) == 1
    assert content(published) == before
    assert main([*line, "--replace"]) == 0
    about = json.loads((published / ABOUT).read_text())
    assert {**FACTS, **{key: change[key] for key in FACTS if key in change}}.items() <= about.items()
    assert about["seeds"] == list(change.get("seeds", (0, 1)))


def test_more_seeds_and_groups_of_the_same_benchmark_need_no_permission(tmp_path, published):
    results = finished(tmp_path / "more", ("ablation", "table1", "pareto"), seeds=(0, 1, 2))
    publish(results, published)
    assert json.loads((published / ABOUT).read_text())["seeds"] == [0, 1, 2]


def test_what_changes_is_shown_before_it_is_done_and_a_dry_run_only_shows_it(tmp_path, published, capsys):
    results = finished(tmp_path / "more", ("ablation", "table1", "pareto"), seeds=(0, 1, 2))
    before = content(published)
    assert main(["--results", str(results), "--out", str(published), "--dry-run"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert content(published) == before
    assert "preset  full -> full" in said and "seeds   0, 1 -> 0, 1, 2" in said
    assert "groups  ablation, table1 -> ablation, pareto, table1" in said
    assert "scores  2 rows -> 3 rows" in said
    assert "0 files removed" in said and "3 files changed: SHA256SUMS, publication.json, scores.csv" in said
    assert any(line.startswith("12 files added: figures/pareto_grid.png") for line in said)


def test_the_old_publication_stays_until_the_new_one_is_whole(tmp_path, published, monkeypatch):
    before, results = content(published), finished(tmp_path / "new", ("ablation", "table1"))
    (results / "tables/ablation.md").write_text("new")
    copy = shutil.copyfile

    def broken(path, target):
        if path.name == "table1_grid.png":
            raise OSError(28, "No space left on device")
        copy(path, target)

    monkeypatch.setattr(shutil, "copyfile", broken)
    with pytest.raises(OSError, match="No space"):
        publish(results, published)
    monkeypatch.undo()
    assert content(published) == before
    assert [path.name for path in published.parent.iterdir()] == ["mini"]


def test_a_swap_that_fails_half_way_puts_the_old_publication_back(tmp_path, published, monkeypatch):
    before, results = content(published), finished(tmp_path / "new", ("ablation", "table1"))
    rename = Path.rename

    def broken(path, target):
        if path.name == ".mini.new":
            raise OSError("interrupted")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", broken)
    with pytest.raises(OSError, match="interrupted"):
        publish(results, published)
    assert content(published) == before


def test_a_swap_that_was_killed_half_way_is_undone_by_the_next_call(tmp_path, published):
    before = content(published)
    published.rename(published.with_name(".mini.old"))
    with pytest.raises(UserError, match="the preset is 'smoke'"):
        publish(finished(tmp_path / "new", preset="smoke"), published)
    assert content(published) == before


def test_files_that_no_run_leaves_stay(tmp_path, published):
    make(published, "costs_cpu.csv")
    publish(finished(tmp_path / "new", ("ablation", "table1")), published)
    assert (published / "costs_cpu.csv").is_file()


def test_a_folder_of_something_else_is_never_replaced(tmp_path):
    results, code = finished(tmp_path / "full"), tmp_path / "code"
    make(code, "nada/run/job.py")
    with pytest.raises(UserError, match="is not a folder of published results"):
        publish(results, code, replace=True)
    make(code, "scores.csv")
    with pytest.raises(UserError, match="publication.json is missing"):
        publish(results, code, replace=True)
    with pytest.raises(UserError, match="is not a folder of published results"):
        publish(results, code / "nada/run/job.py", replace=True)
    for out in (results, results / "published", tmp_path):
        with pytest.raises(UserError, match="neither folder may contain the other"):
            publish(results, out, replace=True)
    assert (code / "nada/run/job.py").is_file() and (results / "scores.csv").is_file()


def test_without_out_the_world_of_the_run_names_the_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    finished(tmp_path / "results/paper", world="paper")
    assert main(["--results", "results/paper"]) == 0
    assert (tmp_path / "results/published/paper/scores.csv").is_file()


def test_groups_of_two_presets_in_one_folder_are_not_published_together(tmp_path):
    results = finished(tmp_path / "mixed")
    finished(results, ("table1",), preset="smoke")
    with pytest.raises(UserError, match=r"several presets \(full, smoke\)"):
        publish(results, tmp_path / "out")
    publish(results, tmp_path / "out", ["table1"])


def test_of_named_groups_only_their_own_files_and_runs_are_kept(tmp_path):
    results, out = finished(tmp_path / "full", ("table1", "ablation")), tmp_path / "published"
    make(results, "tables/table1_paper.md", "tables/table10.md")
    publish(results, out, ["table1"])
    records = {f"runs/dog2cat/table1/seed{k}/{name}.json" for k in (0, 1) for name in ("run", "cost")}
    kept = {"scores.csv", "tables/table1.md", "tables/table1_paper.md", "figures/table1_grid.png"}
    assert set(content(out)) == kept | records | {ABOUT, SUMS}  # no report: it is of the whole run
    publish(results, out, ["table1", "ablation"])
    assert (out / "scores.csv").read_text() == "task,value\nshared,1\ntable1,2\nablation,2\n"


def test_a_group_that_was_not_run_is_named(tmp_path, capsys):
    finished(tmp_path / "full")
    line = ["--results", str(tmp_path / "full"), "--out", str(tmp_path / "out")]
    assert main([*line, "--groups", "pareto"]) == 2
    assert "has no group 'pareto'" in capsys.readouterr().err


# ---- checksums and the archive ----------------------------------------------------------------------


def test_the_checksums_are_those_of_every_other_file(tmp_path, published):
    make(published, "costs_cpu.csv")
    publish(finished(tmp_path / "new", ("ablation", "table1")), published)
    lines = [line.split("  ") for line in (published / SUMS).read_text().splitlines()]
    assert {name for _, name in lines} == set(content(published)) - {SUMS}
    for said, name in lines:
        assert said == hashlib.sha256((published / name).read_bytes()).hexdigest()


def test_the_archive_unpacks_to_what_a_folder_would_hold_and_has_the_same_bytes_each_time(tmp_path, capsys):
    results, archive = finished(tmp_path / "results"), tmp_path / "results/publication.zip"
    line = ["--results", str(results), "--archive", str(archive)]
    assert main(line) == 0
    assert f"wrote {archive}: 0.0 MiB" in capsys.readouterr().out
    first = archive.read_bytes()
    assert main(line) == 0 and archive.read_bytes() == first
    zipfile.ZipFile(archive).extractall(tmp_path / "unpacked")
    publish(results, tmp_path / "published/mini")
    assert content(tmp_path / "unpacked") == content(tmp_path / "published")
    assert not list(results.glob(".*"))


def test_an_archive_of_an_unfinished_run_or_over_another_file_is_refused(tmp_path, capsys):
    results, archive = finished(tmp_path / "results"), tmp_path / "mine.zip"
    archive.write_text("mine")
    assert main(["--results", str(results), "--archive", str(archive)]) == 2
    assert "exists already and is not what this command writes" in capsys.readouterr().err
    (results / "report.html").unlink()
    assert main(["--results", str(results), "--archive", str(tmp_path / "new.zip")]) == 2
    assert "has no report.html; finish the run first" in capsys.readouterr().err
    assert archive.read_text() == "mine" and not (tmp_path / "new.zip").exists()


def test_what_is_published_in_this_project_says_what_it_is(root):
    """A run of another preset could otherwise replace it."""
    for out in (root / "results/published").iterdir():
        about = about_published(out)
        assert about.world == out.name
        seeds = {int(path.name.removeprefix("seed")) for path in out.glob("runs/*/*/seed*")}
        assert set(about.seeds) == seeds
        assert all((out / f"tables/{group}.md").is_file() for group in about.groups)
        assert "0 files changed" in changes(out, out)
        if (out / SUMS).is_file():  # older publications have none
            lines = [line.split("  ") for line in (out / SUMS).read_text().splitlines()]
            assert {name for _, name in lines} == set(content_names(out)) - {SUMS}
            assert all(said == hashlib.sha256((out / name).read_bytes()).hexdigest() for said, name in lines)
