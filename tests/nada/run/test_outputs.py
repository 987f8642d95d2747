"""No command writes over a file that it did not make, or over one that it reads."""

import os

import pytest

from baselines import adapt
from eval import claims, observe, paper_table, score, tables
from eval.figures import grid, pareto, training_curves
from nada.images.arrays import save_images
from nada.run.atomic import atomic_path
from nada.run.errors import UserError
from nada.run.outputs import begins_with, check_output, check_outputs
from tests.nada.images.pictures import noise
from workflow import forecast
from workflow.assets import command as assets_command
from workflow.worlds.mini import references
from workflow.worlds.rehearsal import make


def test_a_new_an_empty_and_an_own_file_are_free(tmp_path):
    check_output(tmp_path / "new.csv")
    (tmp_path / "empty.csv").touch()
    check_output(tmp_path / "empty.csv")
    (tmp_path / "own.csv").write_text("a,b\n1,2\n")
    check_output(tmp_path / "own.csv", begins_with("a,b"))


@pytest.mark.parametrize("content", ["a,b,c\n1,2,3\n", "a\n", "a,b extra", "\n"])
def test_another_file_is_refused_by_name(tmp_path, content):
    path = tmp_path / "mine.csv"
    path.write_text(content)
    for ours in (None, begins_with("a,b")):
        with pytest.raises(UserError, match="mine.csv: exists already"):
            check_output(path, ours)


def test_an_input_is_refused_under_any_name_it_has(tmp_path):
    (tmp_path / "scores.csv").write_text("a,b\n")
    (tmp_path / "link.csv").symlink_to("scores.csv")
    for name in ("scores.csv", "link.csv", "../" + tmp_path.name + "/scores.csv"):
        with pytest.raises(UserError, match="is an input of this command"):
            check_output(tmp_path / name, begins_with("a,b"), [None, tmp_path / "scores.csv"])
    check_output(tmp_path / "new.csv", None, [tmp_path / "scores.csv", tmp_path / "absent"])


def test_files_that_are_written_together_are_free_together(tmp_path):
    endings = (".csv", ".md")
    check_outputs(str(tmp_path / "x"), endings)
    (tmp_path / "x.md").write_text("my notes")
    with pytest.raises(UserError, match=r"x\.md: exists already and is not what this"):
        check_outputs(str(tmp_path / "x"), endings)
    (tmp_path / "x.csv").write_text("a\n")
    check_outputs(str(tmp_path / "x"), endings)
    with pytest.raises(UserError, match=r"x\.csv: is an input of this command"):
        check_outputs(str(tmp_path / "x"), endings, [tmp_path / "x.csv"])


def test_a_folder_and_a_pipe_are_refused(tmp_path):
    with pytest.raises(IsADirectoryError):
        check_output(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="pipe: is not a regular file"):
        check_output(tmp_path / "pipe")
    with pytest.raises(UserError, match="pipe: is not a regular file"), atomic_path(tmp_path / "pipe"):
        pass
    assert not (tmp_path / "pipe").is_file()


GROUP = ["--spec", "group.json", "--scores", "scores.csv", "--out"]
#: Command, its arguments up to the output, a file of the user's that it would write, the output.
COMMANDS = {
    "score": (score.main, ["--spec", "group.json", "--out"], "mine.csv", "mine.csv"),
    "tables": (tables.main, GROUP, "README.md", "README"),
    "tables of scores": (tables.main, GROUP, "scores.csv", "scores"),
    "paper_table": (paper_table.main, GROUP, "README.md", "README"),
    "pareto": (pareto.main, GROUP, "plot.png", "plot"),
    "training_curves": (training_curves.main, GROUP, "scores.csv", "scores"),
    "grid": (grid.main, ["--spec", "group.json", "--out"], "a.png", "a"),
    "claims": (
        claims.main,
        ["--claims", "claims.yaml", "--scores", "scores.csv", "--world", "mini", "--out"],
        "scores.csv",
        "scores",
    ),
    "observe": (observe.main, ["--spec", "look.json", "--out"], "images.npz", "images.npz"),
    "observe over its observation": (
        observe.main,
        ["--spec", "look.json", "--out"],
        "look.json",
        "look.json",
    ),
    "forecast": (
        forecast.main,
        ["--results", "results", "--device", "cpu", "--out"],
        "mine.csv",
        "mine.csv",
    ),
    "licences": (assets_command.main, ["licences", "--out"], "README.md", "README.md"),
    "references": (
        references.main,
        ["--domain", "cat", "--count", "2", "--out"],
        "images.npz",
        "images.npz",
    ),
    "adapt": (
        adapt.main,
        ["--spec", "group.json", "--state", "state", "--out"],
        "mine/model.safetensors",
        "mine",
    ),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_leaves_a_user_s_file_alone_and_says_so(tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    main, arguments, file, out = COMMANDS[name]
    for path in ("group.json", "look.json", "scores.csv", "claims.yaml"):
        (tmp_path / path).write_text("{}")
    (tmp_path / file).parent.mkdir(exist_ok=True)
    if file.endswith(".npz"):
        save_images(file, noise(4, 4)[None])
    else:
        (tmp_path / file).write_text("mine")
    before = (tmp_path / file).read_bytes()
    assert main([*arguments, out]) == 2
    error = capsys.readouterr().err
    assert error.startswith((f"error: {file}: exists already", f"error: {file}: is an input")) and error.count("\n") == 1
    assert (tmp_path / file).read_bytes() == before


def test_the_rehearsal_does_not_write_over_files_that_it_did_not_make(tmp_path, capsys):
    path = make.place("inception_pytorch_fid", tmp_path)
    path.write_bytes(b"published")
    arguments = ["fetch", "inception_pytorch_fid", "--into", str(tmp_path)]
    assert make.main(arguments) == 2
    assert f"{path} exists and was not made by" in capsys.readouterr().err
    assert path.read_bytes() == b"published"
