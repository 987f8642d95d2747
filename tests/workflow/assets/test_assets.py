"""Assets: checked, pinned, taken when placed by hand, or asked for; and the command that does it."""

import functools
import hashlib
import json
import re
import socket
import subprocess
import sys
from dataclasses import fields, replace

import pytest
import yaml

from nada.run.errors import UserError
from tests.workflow.toy_assets import (
    CONTENT,
    LICENCES,
    OTHER,
    PAGE,
    PATIENCE,
    SHA,
    archive,
    fetch,
    names,
    thing,
    unknown,
    whole,
)
from workflow.assets import download
from workflow.assets import registry as assets
from workflow.assets.download import Downloader
from workflow.assets.registry import Asset, Fetch, Registry

# ---- hashes, pins, files placed by hand ---------------------------------------------------------


def test_an_md5_is_checked_where_only_that_is_known_and_the_sha256_is_pinned(site, tmp_path):
    right = hashlib.md5(CONTENT).hexdigest()
    known = {"sha256": None, "confidence": "mirror"}
    site.routes |= {"/wrong": [whole(OTHER)], "/good": [whole()]}
    (sentence,) = fetch(tmp_path, thing(f"{site.url}/wrong", md5=right, **known))
    assert "gave a file that has MD5" in sentence and names(tmp_path) == []
    assert fetch(tmp_path, thing(f"{site.url}/good", md5=right, **known)) == []
    assert json.loads((tmp_path / "pins.json").read_text()) == {"thing": SHA}


def test_a_hash_that_nobody_published_is_pinned_on_first_use_and_enforced(site, tmp_path):
    site.routes |= {"/a": [whole(), whole(OTHER)], "/b": [whole(OTHER)]}
    first, second = unknown(f"{site.url}/a"), unknown(f"{site.url}/b", name="a", file="a.bin")
    assert fetch(tmp_path, first, second) == []
    pins = tmp_path / "pins.json"
    assert json.loads(pins.read_text())["thing"] == SHA
    assert list(json.loads(pins.read_text())) == ["a", "thing"]  # sorted
    assert pins.stat().st_mode == (tmp_path / "a.bin").stat().st_mode  # who may read what
    (tmp_path / "thing.bin").unlink()
    (sentence,) = fetch(tmp_path, first)
    assert f"pinned is {SHA[:12]}" in sentence and not (tmp_path / "thing.bin").exists()


def test_pins_that_another_process_made_meanwhile_are_kept(site, tmp_path):
    site.routes["/a"] = [whole()]
    registry = Registry("toy", {}, LICENCES, [])
    call = Fetch(registry, tmp_path, downloader=Downloader(PATIENCE, say=print))
    (tmp_path / "pins.json").write_text('{"other": "ab"}')
    call.get(unknown(f"{site.url}/a", licence="free"))
    assert json.loads((tmp_path / "pins.json").read_text()) == {"other": "ab", "thing": SHA}


def test_damaged_pins_are_named(tmp_path):
    (tmp_path / "pins.json").write_text("{")
    with pytest.raises(UserError, match="pins.json is damaged"):
        fetch(tmp_path, thing())


def test_a_third_partys_hash_must_match_unless_the_user_trusts_the_file(site, tmp_path):
    site.routes["/a"] = [whole(OTHER)]
    asset = thing(f"{site.url}/a", confidence="mirror", bytes=7)
    (sentence,) = fetch(tmp_path, replace(asset, bytes=None))
    assert "(--trust thing takes it all the same)" in sentence and names(tmp_path) == []
    assert fetch(tmp_path, asset, trust=["thing"]) == []
    assert json.loads((tmp_path / "pins.json").read_text())["thing"] != SHA
    assert fetch(tmp_path, asset) == []  # trusted once, pinned for ever
    assert site.paths() == ["/a", "/a"]


def test_a_doubtful_hash_only_warns(site, tmp_path, capsys):
    site.routes["/a"] = [whole(OTHER)]
    assert fetch(tmp_path, thing(f"{site.url}/a", confidence="doubtful")) == []
    assert "warning: it has SHA-256" in capsys.readouterr().out
    assert "thing" in json.loads((tmp_path / "pins.json").read_text())


def test_a_file_placed_by_hand_is_checked_and_taken_without_a_request_or_consent(site, tmp_path):
    (tmp_path / "thing.bin").write_bytes(CONTENT)
    assert fetch(tmp_path, thing(f"{site.url}/a", licence="strict")) == []
    assert site.seen == []


@pytest.mark.parametrize("content", [OTHER, b"", PAGE])
def test_a_wrong_file_placed_by_hand_is_left_alone_and_refused(site, tmp_path, content):
    path = tmp_path / "thing.bin"
    path.write_bytes(content)
    asset = thing(f"{site.url}/a") if content is OTHER else unknown(f"{site.url}/a")
    (sentence,) = fetch(tmp_path, asset)
    assert sentence.startswith(f"thing: {path} ") and "left alone" in sentence
    assert path.read_bytes() == content and site.seen == [] and names(tmp_path) == ["thing.bin"]


def test_what_no_program_may_fetch_is_asked_for(tmp_path):
    (sentence,) = fetch(tmp_path, thing())
    path = tmp_path / "thing.bin"
    assert sentence == (
        f"thing: {path} is missing and no program may fetch it; get it by hand from "
        f"https://example.org/thing, put it at {path} and type the same command again: it will be "
        "checked and taken."
    )


def test_a_fetched_archive_is_pinned_and_unpacked_beside_itself(site, tmp_path):
    packed = archive(tmp_path, ("a.png", b"1"), ("sub/b.png", b"22"))
    site.routes["/a"] = [whole(packed.read_bytes())]
    into = tmp_path / "into"
    assert fetch(into, unknown(f"{site.url}/a", file="set.zip", unpack="zip")) == []
    assert names(into) == ["pins.json", "set", "set.zip"]
    assert (into / "set/sub/b.png").read_bytes() == b"22"


def test_a_folder_unpacked_by_hand_is_taken_without_its_archive(site, tmp_path, capsys):
    (tmp_path / "set").mkdir()
    (tmp_path / "set/a.png").write_bytes(b"1")
    asset = unknown(f"{site.url}/a", file="set.zip", unpack="zip", licence="strict")
    assert fetch(tmp_path, asset) == []
    assert site.seen == [] and "unpacked by hand and not checked" in capsys.readouterr().out


def test_an_empty_folder_is_no_unpacked_archive(site, tmp_path):
    packed = archive(tmp_path, ("a.png", b"1"))
    site.routes["/a"] = [whole(packed.read_bytes())]
    (tmp_path / "into/set").mkdir(parents=True)
    asset = unknown(f"{site.url}/a", file="set.zip", unpack="zip")
    assert fetch(tmp_path / "into", asset) == []
    assert names(tmp_path / "into/set") == ["a.png"]


def test_what_cannot_be_unpacked_is_not_pinned(tmp_path):
    """The right file, put in its place later, is taken without --trust."""
    asset = unknown(file="set.zip", unpack="zip")
    (tmp_path / "set.zip").write_bytes(b"no zip")
    (sentence,) = fetch(tmp_path, asset)
    assert "cannot be unpacked" in sentence and "move it away to fetch it again" in sentence
    assert names(tmp_path) == ["set.zip"]
    archive(tmp_path, ("a.png", b"1"))
    assert fetch(tmp_path, asset) == []


# ---- the command --------------------------------------------------------------------------------


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
        monkeypatch.setattr(assets, "WORLDS", tmp_path / "worlds")
        monkeypatch.delenv(assets.CONSENT, raising=False)

    return make


def run(*words, into=None):
    place = ["--into", str(into)] if into else []
    return assets.main([*words[:1], "--world", "toy", *place, *words[1:]])


def test_offline_opens_no_socket_and_still_checks_unpacks_and_asks(
    toy_world, tmp_path, monkeypatch, capsys
):
    packed = archive(tmp_path, ("a", b"1"))
    there = thing("https://example.org/a", sha256=assets.sha256(packed), file="set.zip")
    gone = thing("https://example.org/b", name="gone", file="gone.bin", licence="strict")
    toy_world(replace(there, unpack="zip"), gone)

    def no_socket(*_, **__):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", no_socket)
    monkeypatch.setattr(assets, "Downloader", no_socket)
    assert run("fetch", "--offline", into=tmp_path) == 2
    out, err = capsys.readouterr()
    assert "thing: there, SHA-256 matches" in out and (tmp_path / "set/a").exists()
    assert err.startswith("error: gone: ") and "--offline is set; get it by hand from" in err


@pytest.mark.parametrize(
    "words", ["fetch afhq --offline", "list", "verify", "licences --out page.md"]
)
def test_no_command_loads_the_network_library_before_it_needs_it(tmp_path, words):
    code = (
        "import socket, sys\n"
        "def refuse(*a, **k): raise AssertionError('a socket was opened')\n"
        "socket.socket = refuse\n"
        "from workflow.assets.registry import main\n"
        "main(sys.argv[1:])\n"
        "print(sorted({'requests', 'urllib3', 'torch'} & set(sys.modules)))"
    )
    call = [sys.executable, "-c", code, *words.split()]
    done = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.endswith("[]\n"), done.stderr


def test_without_consent_nothing_is_requested_and_the_command_is_told(
    toy_world, site, tmp_path, capsys, monkeypatch
):
    site.routes |= {"/a": [whole()], "/b": [whole()]}
    free = thing(f"{site.url}/b", name="free_thing", file="b.bin")
    toy_world(thing(f"{site.url}/a", licence="strict"), free)
    assert run("fetch", into=tmp_path / "x") == 2
    out, err = capsys.readouterr()
    terms = "Strict Licence, https://example.org/strict"
    assert terms in out and site.paths() == ["/b"]
    typed = err.split("type: python -m workflow.assets ")[1].split()
    assert typed[-2:] == ["--accept", "strict"] and err.count("\n") == 1
    assert assets.main(typed) == 0
    assert f"Terms: {terms}" in capsys.readouterr().out and site.paths() == ["/b", "/a"]
    monkeypatch.setenv(assets.CONSENT, "free, strict")
    assert run("fetch", into=tmp_path / "y") == 0


def test_every_failure_is_told_at_the_end_and_the_rest_is_fetched(
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
def test_a_slip_of_the_pen_is_one_sentence(toy_world, tmp_path, capsys, words, sentence):
    toy_world(thing())
    assert run(*words, into=tmp_path / "x") == 2
    assert capsys.readouterr().err.startswith(f"error: {sentence}")


def test_a_slip_in_the_licences_accepted_beforehand_says_where(
    toy_world, tmp_path, capsys, monkeypatch
):
    toy_world(thing())
    monkeypatch.setenv(assets.CONSENT, "strickt")
    assert run("fetch", into=tmp_path / "x") == 2
    wanted = "there is no licence ($BENCHMARK_ACCEPT_LICENCES) 'strickt'; did you mean 'strict'?"
    assert capsys.readouterr().err == f"error: {wanted}\n"


def test_a_file_that_is_long_to_check_shows_progress(toy_world, tmp_path, capsys, monkeypatch):
    toy_world(thing())
    (tmp_path / "thing.bin").write_bytes(CONTENT)
    monkeypatch.setattr(assets, "Progress", functools.partial(download.Progress, every=0))
    assert run("verify", into=tmp_path) == 0
    line, last = capsys.readouterr().out.splitlines()
    assert line.startswith(f"checking {tmp_path / 'thing.bin'}: 0.1 MB of 0.1 MB")
    assert last == "thing: present"


def test_a_world_without_assets_is_one_sentence(capsys):
    assert assets.main(["list", "--world", "papr"]) == 2
    assert capsys.readouterr().err == "error: world 'papr' has no assets; did you mean 'paper'?\n"


@pytest.mark.parametrize("file", ["../thing.bin", "a/b", "pins.json", ".."])
def test_an_entry_cannot_name_a_file_elsewhere(toy_world, capsys, tmp_path, file):
    toy_world(thing(file=file))
    assert run("list", into=tmp_path) == 2
    assert "a plain name" in capsys.readouterr().err


def test_list_and_verify_say_what_is_present_missing_and_damaged(toy_world, tmp_path, capsys):
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


def test_verify_finds_a_file_that_an_unpacked_archive_lost(toy_world, tmp_path, capsys):
    packed = archive(tmp_path, ("a", b"1"))
    toy_world(unknown(file="set.zip", unpack="zip"))
    assert run("fetch", into=tmp_path) == 0
    assert run("verify", into=tmp_path) == 0
    (tmp_path / "set/a").unlink()
    assert run("verify", into=tmp_path) == 2
    lost = f"{tmp_path / 'set/a'} is missing or has another size than in {packed}"
    assert f"{lost}; remove {tmp_path / 'set'}" in capsys.readouterr().err


def test_verify_says_of_an_archive_that_it_is_not_unpacked(toy_world, tmp_path, capsys):
    archive(tmp_path, ("a", b"1"))
    toy_world(unknown(file="set.zip", unpack="zip"))
    assert run("verify", "thing", into=tmp_path) == 2
    out, err = capsys.readouterr()
    assert out == "thing: present, not unpacked\n" and "set.zip is not unpacked; type: " in err


@pytest.mark.parametrize("words", [["list"], ["verify"], ["fetch"]])
def test_a_folder_of_assets_that_is_a_file_is_one_sentence(toy_world, tmp_path, capsys, words):
    toy_world(thing())
    (tmp_path / "file").write_bytes(b"")
    assert run(*words, into=tmp_path / "file") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {tmp_path / 'file'}") and "Not a directory" in line


def test_a_page_that_cannot_be_written_there_is_one_sentence(tmp_path, capsys):
    assert assets.main(["licences", "--out", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"error: {tmp_path}: Is a directory; correct the path, or what lies there."


SNAKEFILE = """
from types import SimpleNamespace
from workflow.plan.code_digest import digest
PYTHON = "{job}"
PLAN = SimpleNamespace(
    world={{"assets": {{"folder": "assets", "command": "workflow.assets"}}, "fetched": {{"assets/a": "a"}}}},
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
    assert (tmp_path / "typed").read_text() == "-m workflow.assets fetch a --into assets\n"
    assert "a.part" in names(tmp_path / "assets")
    assert not (tmp_path / "assets/.fetched/a").exists()


# ---- the registry of the paper's world ----------------------------------------------------------


PAPER = assets.WORLDS / "paper" / "assets.yaml"
REGISTRY = assets.load_registry("paper")
EVERY = pytest.mark.parametrize("asset", REGISTRY.assets.values(), ids=lambda asset: asset.name)


def test_no_name_stands_twice_in_the_registry():
    def check(node, where="assets.yaml"):
        if isinstance(node, yaml.MappingNode):
            keys = [key.value for key, _ in node.value]
            assert len(keys) == len(set(keys)), f"{where}: {keys}"
            for key, value in node.value:
                check(value, f"{where}.{key.value}")

    check(yaml.compose(PAPER.read_text(encoding="utf-8")))
    files = [asset.file for asset in REGISTRY.assets.values()]
    folders = [asset.folder for asset in REGISTRY.assets.values() if asset.unpack]
    assert len({*files, *folders}) == len(files) + len(folders)


@EVERY
def test_every_entry_of_the_registry_has_all_keys_with_values_that_make_sense(asset):
    entry = yaml.safe_load(PAPER.read_text(encoding="utf-8"))["assets"][asset.name]
    assert set(entry) == {field.name for field in fields(Asset)} - {"name"}
    assert re.fullmatch(r"[a-z0-9_]+", asset.name) and asset.kind in ("model", "data")
    assert asset.title and asset.purpose and asset.needed_by and asset.licence in REGISTRY.licences
    for url in asset.urls:
        assert re.fullmatch(r"gd:[\w-]{20,}|https://[^\s]+", url)
    assert asset.source.startswith("https://")
    assert asset.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", asset.sha256)
    assert asset.md5 is None or re.fullmatch(r"[0-9a-f]{32}", asset.md5)
    hashed = asset.sha256 or asset.md5
    assert asset.confidence in (("published", "mirror", "doubtful") if hashed else (None,))
    assert not (asset.bytes and asset.about)


def test_hashes_that_stand_in_an_address_or_a_name_are_those_of_the_registry():
    found = 0
    for asset in REGISTRY.assets.values():
        for digits in re.findall(r"\b[0-9a-f]{8}\b(?=\.pth)|[0-9a-f]{64}", "".join(asset.urls)):
            assert asset.sha256.startswith(digits)
            found += 1
    assert found == 4  # two CLIPs, pytorch-fid's Inception, VGG16


def test_whatever_asks_for_consent_names_its_terms():
    asked = {key for key, licence in REGISTRY.licences.items() if licence.consent}
    for licence in REGISTRY.licences.values():
        assert licence.name and licence.url.startswith("https://")
    non_commercial = {k for k, v in REGISTRY.licences.items() if re.search(r"NC|non-comm", v.name)}
    assert asked == non_commercial
    used = {asset.licence for asset in REGISTRY.assets.values()}
    assert used == set(REGISTRY.licences)


def test_the_default_names_tasks_and_roles_of_the_registry():
    chosen = REGISTRY.chosen(REGISTRY.default)
    assert {role for asset in chosen for role in asset.needed_by} == set(REGISTRY.default)
    assert all(asset.urls for asset in chosen)  # nothing by default that only a person can get


def test_the_licences_page_has_every_asset_with_source_and_terms(tmp_path):
    out = tmp_path / "licences.md"
    assert assets.main(["licences", "--out", str(out)]) == 0
    text = out.read_text(encoding="utf-8")
    models, data = text.split("## Data sets (Table 5)")
    for asset in REGISTRY.assets.values():
        licence = REGISTRY.licences[asset.licence]
        part = models if asset.kind == "model" else data
        row = next(line for line in part.splitlines() if line.startswith(f"| {asset.title} |"))
        assert f"[{licence.name}]({licence.url})" in row and f"<{asset.source}>" in row
        assert row.count("|") == 7
        assert asset.note in text
    tables = {"StyleGAN2", "StyleGAN-ADA", "StyleGAN2-pytorch", "CLIP", "FFHQ", "AFHQ", "Sketches"}
    assert tables == {asset.paper for asset in REGISTRY.assets.values()} - {None}
