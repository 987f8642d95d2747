"""`python -m workflow.assets`: list, fetch, verify and licences."""

import functools
import os
import re
import socket
import subprocess
import sys
from dataclasses import replace

import pytest
import yaml

from tests.workflow.toy_assets import (
    CONTENT,
    LICENCES,
    OTHER,
    archive,
    names,
    thing,
    unknown,
    whole,
)
from workflow.assets import asset_registry, command, download, verify
from workflow.assets.fetch import CONSENT


@pytest.fixture
def toy_world(tmp_path, monkeypatch):
    """Make a world `toy` of the given assets, for the command line."""

    def make(*things, default=("task",)):
        content = {
            "default": list(default),
            "licences": {key: vars(licence) for key, licence in LICENCES.items()},
            "assets": {a.name: {k: v for k, v in vars(a).items() if k != "name"} for a in things},
        }
        path = tmp_path / "worlds/toy/assets.yaml"
        path.parent.mkdir(parents=True)
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        monkeypatch.setattr(asset_registry, "WORLDS", tmp_path / "worlds")
        monkeypatch.delenv(CONSENT, raising=False)

    return make


def run(*words, into=None):
    place = ["--into", str(into)] if into else []
    return command.main([*words[:1], "--world", "toy", *place, *words[1:]])


def test_offline_opens_no_socket_and_still_verifies_unpacks_and_asks(
    toy_world, tmp_path, monkeypatch, capsys
):
    packed = archive(tmp_path, ("a", b"1"))
    there = thing("https://example.org/a", sha256=verify.sha256(packed), file="set.zip")
    gone = thing("https://example.org/b", name="gone", file="gone.bin", licence="strict")
    toy_world(replace(there, unpack="zip"), gone)

    def no_socket(*_, **__):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", no_socket)
    monkeypatch.setattr(command, "Downloader", no_socket)
    assert run("fetch", "--offline", into=tmp_path) == 2
    out, err = capsys.readouterr()
    assert "thing: present, SHA-256 matches" in out and (tmp_path / "set/a").exists()
    assert err.startswith("error: gone: ") and "--offline is set; get it by hand from" in err


@pytest.mark.parametrize(
    "words", ["fetch afhq --offline", "list", "verify", "licences --out page.md"]
)
def test_no_command_loads_the_network_library_before_it_needs_it(root, tmp_path, words):
    code = (
        "import socket, sys\n"
        "def refuse(*a, **k): raise AssertionError('a socket was opened')\n"
        "socket.socket = refuse\n"
        "from workflow.assets.command import main\n"
        "main(sys.argv[1:])\n"
        "print(sorted({'requests', 'urllib3', 'torch'} & set(sys.modules)))"
    )
    call = [sys.executable, "-c", code, *words.split()]
    here = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(call, cwd=tmp_path, env=here, capture_output=True, text=True, check=False)
    assert done.stdout.endswith("[]\n"), done.stderr


def test_without_consent_nothing_is_fetched_and_the_command_to_accept_is_printed(
    toy_world, site, tmp_path, capsys, monkeypatch
):
    site.routes |= {"/a": [whole()], "/b": [whole()]}
    free = thing(f"{site.url}/b", name="free_thing", file="b.bin")
    toy_world(thing(f"{site.url}/a", licence="strict"), free)
    assert run("fetch", into=tmp_path / "x") == 2
    out, err = capsys.readouterr()
    terms = "Strict Licence, https://example.org/strict"
    assert terms in out and site.paths() == ["/b"]
    typed = err.split("run: python -m workflow.assets ")[1].split()
    assert typed[-2:] == ["--accept", "strict"] and err.count("\n") == 1
    assert command.main(typed) == 0
    assert f"Terms: {terms}" in capsys.readouterr().out and site.paths() == ["/b", "/a"]
    monkeypatch.setenv(CONSENT, "free, strict")
    assert run("fetch", into=tmp_path / "y") == 0


def test_failures_are_reported_at_the_end_and_the_rest_is_fetched(
    toy_world, site, tmp_path, capsys
):
    site.routes["/good"] = [whole()]
    toy_world(
        thing(f"{site.url}/gone", name="first", file="first.bin"),
        thing(name="second", file="second.bin"),
        thing(f"{site.url}/good"),
        thing(f"{site.url}/good", name="other", file="other.bin", needed_by=["other_task"]),
    )
    assert run("fetch", into=tmp_path / "x") == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[1] for line in lines] == [" first", " second"]
    for line, name in zip(lines, ("first", "second"), strict=True):
        assert f"from https://example.org/thing, put it at {tmp_path / 'x' / name}.bin" in line
    assert names(tmp_path / "x") == ["thing.bin"]
    assert run("fetch", "other_task", into=tmp_path / "x") == 0
    assert names(tmp_path / "x") == ["other.bin", "thing.bin"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["fetch", "thong"], "there is no asset or task 'thong'; did you mean 'thing'?"),
        (["fetch", "--accept", "strickt"], "there is no licence 'strickt'; did you mean 'strict'?"),
        (["fetch", "--trust", "thong"], "there is no asset 'thong'; did you mean 'thing'?"),
        (["fetch", "--trust", "thing"], "--trust thing is refused: its authors publish the hash"),
    ],
)
def test_a_misspelled_name_is_reported_with_the_nearest_one(
    toy_world, tmp_path, capsys, words, sentence
):
    toy_world(thing())
    assert run(*words, into=tmp_path / "x") == 2
    assert capsys.readouterr().err.startswith(f"error: {sentence}")


def test_a_misspelled_licence_in_the_environment_names_the_variable(
    toy_world, tmp_path, capsys, monkeypatch
):
    toy_world(thing())
    monkeypatch.setenv(CONSENT, "strickt")
    assert run("fetch", into=tmp_path / "x") == 2
    wanted = "there is no licence ($BENCHMARK_ACCEPT_LICENCES) 'strickt'; did you mean 'strict'?"
    assert capsys.readouterr().err == f"error: {wanted}\n"


def test_verifying_a_large_file_shows_progress(toy_world, tmp_path, capsys, monkeypatch):
    toy_world(thing())
    (tmp_path / "thing.bin").write_bytes(CONTENT)
    monkeypatch.setattr(verify, "Progress", functools.partial(download.Progress, every=0))
    assert run("verify", into=tmp_path) == 0
    line, last = capsys.readouterr().out.splitlines()
    assert line.startswith(f"checking {tmp_path / 'thing.bin'}: 0.1 MB of 0.1 MB")
    assert last == "thing: present"


def test_a_world_without_assets_is_reported_in_one_line(capsys):
    assert command.main(["list", "--world", "papr"]) == 2
    assert capsys.readouterr().err == "error: world 'papr' has no assets; did you mean 'paper'?\n"


@pytest.mark.parametrize("file", ["../thing.bin", "a/b", "pins.json", ".."])
def test_an_entry_cannot_name_a_file_in_another_folder(toy_world, capsys, tmp_path, file):
    toy_world(thing(file=file))
    assert run("list", into=tmp_path) == 2
    assert "give a plain file name" in capsys.readouterr().err


def test_list_and_verify_report_present_missing_and_damaged_files(toy_world, tmp_path, capsys):
    good = thing()
    bad = thing(name="bad", file="bad.bin", bytes=2_000_000, licence="strict")
    part = thing("https://example.org/a", name="part", file="part.bin", about=5_000_000)
    toy_world(good, bad, part, thing(name="gone", file="gone.bin"))
    (tmp_path / "thing.bin").write_bytes(CONTENT)
    (tmp_path / "bad.bin").write_bytes(OTHER)
    (tmp_path / "part.bin.part").write_bytes(bytes(1_500_000))
    assert run("list", into=tmp_path) == 0
    rows = [re.split(" {2,}", line) for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[:4] for row in rows] == [
        ["thing", "present", "?", "Free Licence"],
        ["bad", "damaged", "2.0 MB", "Strict Licence"],
        ["part", "missing, 1.5 MB fetched", "about 5.0 MB", "Free Licence"],
        ["gone", "missing, by hand", "?", "Free Licence"],
    ]
    assert run("verify", into=tmp_path) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: bad: {tmp_path / 'bad.bin'} has {len(OTHER)} bytes where")
    assert run("verify", "thing", into=tmp_path) == 0
    assert run("verify", "gone", into=tmp_path) == 2


def test_verify_reports_a_missing_file_of_an_unpacked_archive(toy_world, tmp_path, capsys):
    packed = archive(tmp_path, ("a", b"1"))
    toy_world(unknown(file="set.zip", unpack="zip"))
    assert run("fetch", into=tmp_path) == 0
    assert run("verify", into=tmp_path) == 0
    (tmp_path / "set/a").unlink()
    assert run("verify", into=tmp_path) == 2
    lost = f"{tmp_path / 'set/a'} is missing or has another size than in {packed}"
    assert f"{lost}; remove {tmp_path / 'set'}" in capsys.readouterr().err


def test_verify_reports_an_archive_that_is_not_unpacked(toy_world, tmp_path, capsys):
    archive(tmp_path, ("a", b"1"))
    toy_world(unknown(file="set.zip", unpack="zip"))
    assert run("verify", "thing", into=tmp_path) == 2
    out, err = capsys.readouterr()
    assert out == "thing: present, not unpacked\n" and "set.zip is not unpacked; run: " in err


@pytest.mark.parametrize("words", [["list"], ["verify"], ["fetch"]])
def test_a_folder_of_assets_that_is_a_file_is_reported_in_one_line(
    toy_world, tmp_path, capsys, words
):
    toy_world(thing())
    (tmp_path / "file").write_bytes(b"")
    assert run(*words, into=tmp_path / "file") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {tmp_path / 'file'}") and "Not a directory" in line


def test_a_page_that_cannot_be_written_is_reported_in_one_line(tmp_path, capsys):
    assert command.main(["licences", "--out", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"error: {tmp_path}: Is a directory; correct the path, or the file there."


SNAKEFILE = """
from types import SimpleNamespace
from workflow.plan.code_digest import digest
PYTHON = "{job}"
PLAN = SimpleNamespace(
    world={{"assets": {{"folder": "assets", "command": "workflow.assets"}}, "registry": "toy", "fetched": {{"assets/a": "a"}}}},
    fetched=lambda asset: f"assets/.fetched/{{asset}}",
)
include: "{rules}"
"""


def test_a_failed_snakemake_job_keeps_what_it_fetched(root, tmp_path, snakemake):
    job = tmp_path / "job"
    job.write_text(
        '#!/bin/sh\necho "$@" > typed\nmkdir -p assets\necho half > assets/a.part\nexit 2\n'
    )
    job.chmod(0o755)
    rules = root / "workflow/rules/assets.smk"
    (tmp_path / "Snakefile").write_text(SNAKEFILE.format(job=job, rules=rules))
    done = snakemake("assets", "--cores", "1", cwd=tmp_path)
    assert done.returncode != 0
    assert (tmp_path / "typed").read_text() == "-m workflow.assets fetch a --into assets --world toy\n"
    assert "a.part" in names(tmp_path / "assets")
    assert not (tmp_path / "assets/.fetched/a").exists()
