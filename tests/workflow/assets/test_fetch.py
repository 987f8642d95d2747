"""Files are verified, pinned at first use, accepted when placed by hand, or asked for."""

import hashlib
import json
from dataclasses import replace

import pytest

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
from workflow.assets.asset_registry import Registry
from workflow.assets.download import Downloader
from workflow.assets.fetch import Fetch


def test_a_file_with_a_known_md5_only_is_checked_by_it_and_its_sha256_is_pinned(site, tmp_path):
    right = hashlib.md5(CONTENT).hexdigest()
    known = {"sha256": None, "confidence": "mirror"}
    site.routes |= {"/wrong": [whole(OTHER)], "/good": [whole()]}
    (sentence,) = fetch(tmp_path, thing(f"{site.url}/wrong", md5=right, **known))
    assert "gave a file that has MD5" in sentence and names(tmp_path) == []
    assert fetch(tmp_path, thing(f"{site.url}/good", md5=right, **known)) == []
    assert json.loads((tmp_path / "pins.json").read_text()) == {"thing": SHA}


def test_an_unpublished_hash_is_pinned_at_first_use_and_enforced(site, tmp_path):
    site.routes |= {"/a": [whole(), whole(OTHER)], "/b": [whole(OTHER)]}
    first, second = unknown(f"{site.url}/a"), unknown(f"{site.url}/b", name="a", file="a.bin")
    assert fetch(tmp_path, first, second) == []
    pins = tmp_path / "pins.json"
    assert json.loads(pins.read_text())["thing"] == SHA
    assert list(json.loads(pins.read_text())) == ["a", "thing"]  # sorted
    assert pins.stat().st_mode == (tmp_path / "a.bin").stat().st_mode  # who may read what
    (tmp_path / "thing.bin").unlink()
    (sentence,) = fetch(tmp_path, first)
    assert f"{SHA[:12]}" in sentence and not (tmp_path / "thing.bin").exists()


def test_pins_made_by_another_process_are_kept(site, tmp_path):
    site.routes["/a"] = [whole()]
    registry = Registry("toy", {}, LICENCES, [])
    call = Fetch(registry, tmp_path, downloader=Downloader(PATIENCE, say=print))
    (tmp_path / "pins.json").write_text('{"other": "ab"}')
    call.get(unknown(f"{site.url}/a", licence="free"))
    assert json.loads((tmp_path / "pins.json").read_text()) == {"other": "ab", "thing": SHA}


def test_damaged_pins_are_reported(tmp_path):
    (tmp_path / "pins.json").write_text("{")
    with pytest.raises(UserError, match="pins.json is damaged"):
        fetch(tmp_path, thing())


def test_a_third_partys_hash_must_match_unless_the_user_trusts_the_file(site, tmp_path):
    site.routes["/a"] = [whole(OTHER)]
    asset = thing(f"{site.url}/a", confidence="mirror", bytes=7)
    (sentence,) = fetch(tmp_path, replace(asset, bytes=None))
    assert "(--trust thing accepts it)" in sentence and names(tmp_path) == []
    assert fetch(tmp_path, asset, trust=["thing"]) == []
    assert json.loads((tmp_path / "pins.json").read_text())["thing"] != SHA
    assert fetch(tmp_path, asset) == []  # trusted once, pinned for ever
    assert site.paths() == ["/a", "/a"]


def test_a_doubtful_hash_only_warns(site, tmp_path, capsys):
    site.routes["/a"] = [whole(OTHER)]
    assert fetch(tmp_path, thing(f"{site.url}/a", confidence="doubtful")) == []
    assert "warning: it has SHA-256" in capsys.readouterr().out
    assert "thing" in json.loads((tmp_path / "pins.json").read_text())


def test_a_file_placed_by_hand_is_verified_and_used_without_a_request_or_consent(site, tmp_path):
    (tmp_path / "thing.bin").write_bytes(CONTENT)
    assert fetch(tmp_path, thing(f"{site.url}/a", licence="strict")) == []
    assert site.seen == []


@pytest.mark.parametrize("content", [OTHER, b"", PAGE])
def test_a_wrong_file_placed_by_hand_is_refused_and_not_changed(site, tmp_path, content):
    path = tmp_path / "thing.bin"
    path.write_bytes(content)
    asset = thing(f"{site.url}/a") if content is OTHER else unknown(f"{site.url}/a")
    (sentence,) = fetch(tmp_path, asset)
    assert sentence.startswith(f"thing: {path} ") and "not changed" in sentence
    assert path.read_bytes() == content and site.seen == [] and names(tmp_path) == ["thing.bin"]


def test_an_asset_without_an_address_is_asked_for(tmp_path):
    (sentence,) = fetch(tmp_path, thing())
    path = tmp_path / "thing.bin"
    assert sentence == (
        f"thing: {path} is missing and cannot be fetched automatically; get it by hand from "
        f"https://example.org/thing, put it at {path} and repeat the command: the file will be "
        "verified and used."
    )


def test_a_fetched_archive_is_pinned_and_unpacked_beside_itself(site, tmp_path):
    packed = archive(tmp_path, ("a.png", b"1"), ("sub/b.png", b"22"))
    site.routes["/a"] = [whole(packed.read_bytes())]
    into = tmp_path / "into"
    assert fetch(into, unknown(f"{site.url}/a", file="set.zip", unpack="zip")) == []
    assert names(into) == ["pins.json", "set", "set.zip"]
    assert (into / "set/sub/b.png").read_bytes() == b"22"


def test_a_folder_unpacked_by_hand_is_used_without_its_archive(site, tmp_path, capsys):
    (tmp_path / "set").mkdir()
    (tmp_path / "set/a.png").write_bytes(b"1")
    asset = unknown(f"{site.url}/a", file="set.zip", unpack="zip", licence="strict")
    assert fetch(tmp_path, asset) == []
    assert site.seen == [] and "unpacked by hand, not verified" in capsys.readouterr().out


def test_an_empty_folder_does_not_count_as_unpacked(site, tmp_path):
    packed = archive(tmp_path, ("a.png", b"1"))
    site.routes["/a"] = [whole(packed.read_bytes())]
    (tmp_path / "into/set").mkdir(parents=True)
    asset = unknown(f"{site.url}/a", file="set.zip", unpack="zip")
    assert fetch(tmp_path / "into", asset) == []
    assert names(tmp_path / "into/set") == ["a.png"]


def test_an_archive_that_cannot_be_unpacked_is_not_pinned(tmp_path):
    """The right file, put there later, is accepted without --trust."""
    asset = unknown(file="set.zip", unpack="zip")
    (tmp_path / "set.zip").write_bytes(b"no zip")
    (sentence,) = fetch(tmp_path, asset)
    assert "cannot be unpacked" in sentence and "move it away to fetch it again" in sentence
    assert names(tmp_path) == ["set.zip"]
    archive(tmp_path, ("a.png", b"1"))
    assert fetch(tmp_path, asset) == []
