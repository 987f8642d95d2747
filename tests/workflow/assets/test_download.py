"""Downloads over an unreliable network: resumed, retried, or reported; loopback servers only."""

import contextlib
import errno
import json
import os
import shutil
import socket
import sys
import time
from dataclasses import replace

import pytest

from nada.run.errors import UserError
from tests.workflow.toy_assets import (
    CONTENT,
    HALF,
    OTHER,
    PATIENCE,
    SHA,
    fetch,
    names,
    send,
    status,
    thing,
    unknown,
    whole,
)
from workflow.assets import download
from workflow.assets.download import Part


def drip(request):
    """One byte every now and then: no read ever times out."""
    send(request, 200, ETag='"1"', Content_Length=len(CONTENT))
    for _ in range(40):
        try:
            request.wfile.write(b"\0")
        except OSError:
            return
        time.sleep(0.05)


def stall(request):
    send(request, 200, CONTENT[:HALF], ETag='"1"', Content_Length=len(CONTENT))
    request.wfile.flush()
    time.sleep(1)


def chunked(*chunks, end=b"0\r\n\r\n"):
    def answer(request):
        request.protocol_version = "HTTP/1.1"
        body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + end
        send(request, 200, body, Transfer_Encoding="chunked", Connection="close")
        request.close_connection = True

    return answer


# ---- a bad network ------------------------------------------------------------------------------


def test_a_downloaded_file_is_complete_and_leaves_no_other_files(site, tmp_path):
    site.routes["/a"] = [whole()]
    assert fetch(tmp_path, thing(f"{site.url}/a")) == []
    assert names(tmp_path) == ["thing.bin"]
    assert (tmp_path / "thing.bin").read_bytes() == CONTENT


def test_an_interrupted_download_resumes_if_the_remote_file_is_unchanged(site, tmp_path):
    site.routes["/a"] = [whole(stop=HALF), whole()]
    assert fetch(tmp_path, thing(f"{site.url}/a")) == []
    assert (tmp_path / "thing.bin").read_bytes() == CONTENT
    assert site.ranges() == [None, f"bytes={HALF}-"]
    assert site.seen[1][1]["If-Range"] == '"1"'


def test_the_next_process_resumes_a_download(site, tmp_path):
    site.routes["/a"] = [whole(stop=HALF), whole()]
    asset = thing(f"{site.url}/a")
    (sentence,) = fetch(tmp_path, asset, limits=replace(PATIENCE, tries=1))
    assert "failed (" in sentence and "https://example.org/thing" in sentence
    assert names(tmp_path) == ["thing.bin.part", "thing.bin.part.json"]
    assert fetch(tmp_path, asset) == []
    assert names(tmp_path) == ["thing.bin"]
    assert site.ranges() == [None, f"bytes={HALF}-"]


def test_a_complete_part_is_used_without_a_request(site, tmp_path):
    asset = thing(f"{site.url}/a")
    with Part(tmp_path / "thing.bin") as part:
        part.begin({"url": asset.urls[0], "etag": '"1"', "modified": None, "length": len(CONTENT)})
        part.file.write(CONTENT)
    assert fetch(tmp_path, asset) == []
    assert site.seen == [] and names(tmp_path) == ["thing.bin"]


def test_ctrl_c_keeps_the_part_and_says_so(site, tmp_path):
    site.routes["/a"] = [whole()]

    def interrupt(_line):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        fetch(tmp_path, thing(f"{site.url}/a"), limits=replace(PATIENCE, lines=0), say=interrupt)
    assert "thing.bin.part is kept" in caught.value.__notes__[0]
    kept = (tmp_path / "thing.bin.part").read_bytes()
    assert kept and CONTENT.startswith(kept)


def test_a_download_starts_over_if_the_server_ignores_ranges(site, tmp_path):
    site.routes["/a"] = [whole(stop=HALF, ranges=False), whole(ranges=False)]
    assert fetch(tmp_path, thing(f"{site.url}/a")) == []
    assert site.ranges() == [None, f"bytes={HALF}-"]
    assert (tmp_path / "thing.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("check", [True, False], ids=["heeds If-Range", "ignores If-Range"])
def test_two_versions_of_a_remote_file_are_never_mixed(site, tmp_path, check):
    old, new = whole(OTHER, '"old"', stop=HALF), whole(etag='"new"', check=check)
    site.routes["/a"] = [old, new]
    assert fetch(tmp_path, unknown(f"{site.url}/a")) == []  # no hash would tell
    assert (tmp_path / "thing.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_without_a_strong_etag_or_a_date_a_download_starts_over(site, tmp_path, etag):
    site.routes["/a"] = [whole(etag=etag, stop=HALF), whole(etag=etag)]
    assert fetch(tmp_path, thing(f"{site.url}/a")) == []
    assert site.ranges() == [None, None]


def test_a_date_is_enough_to_resume(site, tmp_path):
    date = "Tue, 01 Sep 2020 10:00:00 GMT"
    first = whole(etag=None, stop=HALF, Last_Modified=date)
    site.routes["/a"] = [first, whole(etag=None, check=False)]
    assert fetch(tmp_path, thing(f"{site.url}/a")) == []
    assert site.seen[1][1]["If-Range"] == date
    assert site.ranges() == [None, f"bytes={HALF}-"]


def test_a_partial_range_is_followed_by_a_request_for_the_rest(site, tmp_path):
    def few(request):
        start = int(request.headers["Range"].removeprefix("bytes=").rstrip("-"))
        place = f"bytes {start}-{start + 99}/{len(CONTENT)}"
        body = CONTENT[start : start + 100]
        send(request, 206, body, ETag='"1"', Content_Length=100, Content_Range=place)

    site.routes["/a"] = [whole(stop=HALF), few, whole()]
    assert fetch(tmp_path, thing(f"{site.url}/a")) == []
    assert site.ranges() == [None, f"bytes={HALF}-", f"bytes={HALF + 100}-"]


def test_a_range_with_a_wrong_start_starts_over(site, tmp_path):
    place = f"bytes 0-{len(CONTENT) - 1}/{len(CONTENT)}"
    wrong = status(206, CONTENT, ETag='"1"', Content_Length=len(CONTENT), Content_Range=place)
    site.routes["/a"] = [whole(stop=HALF), wrong, whole()]
    assert fetch(tmp_path, unknown(f"{site.url}/a")) == []
    assert (tmp_path / "thing.bin").read_bytes() == CONTENT


def test_an_unavailable_range_starts_over(site, tmp_path):
    site.routes["/a"] = [whole(stop=HALF), status(416), whole()]
    assert fetch(tmp_path, thing(f"{site.url}/a")) == []
    assert site.ranges() == [None, f"bytes={HALF}-", None]


@pytest.mark.parametrize(("bad", "word"), [(stall, "nothing for"), (drip, "only")])
def test_a_stalling_server_is_abandoned_for_the_next_mirror(site, tmp_path, bad, word):
    site.routes |= {"/slow": [bad], "/good": [whole()]}
    said = []
    limits = replace(PATIENCE, stall=0.5, tries=2)
    asset = thing(f"{site.url}/slow", f"{site.url}/good")
    assert fetch(tmp_path, asset, limits=limits, say=said.append) == []
    assert site.paths() == ["/slow", "/slow", "/good"]
    assert f"sent {word}" in said[0]
    assert (tmp_path / "thing.bin").read_bytes() == CONTENT


def test_attempts_are_limited_and_counted_anew_only_after_progress(site, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "PROGRESS", HALF // 2)
    quarter = whole(stop=HALF // 2)
    site.routes |= {"/stuck": [status(503)], "/slow": [quarter, quarter, quarter, whole()]}
    limits = replace(PATIENCE, tries=2)
    assert fetch(tmp_path, thing(f"{site.url}/slow"), limits=limits) == []
    site.seen.clear()
    (sentence,) = fetch(tmp_path, thing(f"{site.url}/stuck", file="b.bin"), limits=limits)
    assert site.paths() == ["/stuck"] * 2 and "answered 503 (2 times)" in sentence


@pytest.mark.parametrize("code", [408, 429, 500, 503])
def test_a_busy_server_is_retried_after_the_pause_that_it_asks_for(
    site, tmp_path, monkeypatch, code
):
    pauses = []
    monkeypatch.setattr(download.time, "sleep", pauses.append)
    busy = [status(code, Retry_After=wait) for wait in ("7", None, "86400", "soon")]
    site.routes["/a"] = [*busy, whole()]
    limits = replace(PATIENCE, wait=1, longest_wait=60, tries=5)
    assert fetch(tmp_path, thing(f"{site.url}/a"), limits=limits) == []
    assert pauses == [7, 2, 60, 8]


@pytest.mark.parametrize("code", [401, 403, 404, 410])
def test_a_dead_link_is_skipped_at_once(site, tmp_path, code):
    site.routes |= {"/dead": [status(code), whole()], "/good": [whole()]}
    assert fetch(tmp_path, thing(f"{site.url}/dead", f"{site.url}/good")) == []
    assert site.paths() == ["/dead", "/good"]


def test_a_refused_connection_is_reported_in_one_sentence(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}/a"
    (sentence,) = fetch(tmp_path, thing(address))
    assert sentence.startswith(f"thing: {address} failed (ConnectionError) (3 times); get it by")
    assert names(tmp_path) == []


def test_a_body_shorter_than_its_content_length_is_refused(site, tmp_path):
    site.routes["/a"] = [whole(length=len(CONTENT) + 1, etag=None)]
    (sentence,) = fetch(tmp_path, unknown(f"{site.url}/a"))
    assert "failed (" in sentence and not (tmp_path / "thing.bin").exists()


def test_a_body_cut_by_a_wrong_content_length_is_refused_by_its_hash(site, tmp_path):
    site.routes["/a"] = [whole(length=HALF)]
    (sentence,) = fetch(tmp_path, thing(f"{site.url}/a"))
    assert "gave a file that has SHA-256" in sentence and names(tmp_path) == []


def test_a_file_of_a_wrong_size_is_refused_before_its_download(site, tmp_path):
    said = []
    site.routes["/a"] = [whole(stop=0)]
    (sentence,) = fetch(tmp_path, thing(f"{site.url}/a", bytes=7), say=said.append)
    assert f"offers {len(CONTENT)} bytes where 7 are expected" in sentence
    assert len(site.seen) == 1 and names(tmp_path) == []


def test_a_file_of_unknown_length_and_hash_needs_a_chunked_response(site, tmp_path):
    site.routes["/endless"] = [status(200, CONTENT)]
    (sentence,) = fetch(tmp_path, unknown(f"{site.url}/endless"))
    assert "does not say how long the file is" in sentence and names(tmp_path) == []
    pieces = CONTENT[:-9], CONTENT[-9:]
    site.routes["/cut"] = [chunked(*pieces, end=b""), chunked(*pieces)]
    assert fetch(tmp_path, unknown(f"{site.url}/cut")) == []
    assert (tmp_path / "thing.bin").read_bytes() == CONTENT and len(site.seen) == 3
    assert json.loads((tmp_path / "pins.json").read_text()) == {"thing": SHA}


def test_a_download_beyond_the_expected_size_is_stopped(site, tmp_path):
    def endless(request):
        send(request, 200)
        with contextlib.suppress(OSError):
            for _ in range(1000):
                request.wfile.write(CONTENT)
                site.sent += 1

    site.sent, site.routes = 0, {"/a": [endless], "/good": [whole()]}
    asset = thing(f"{site.url}/a", f"{site.url}/good", bytes=len(CONTENT))
    assert fetch(tmp_path, asset) == []
    assert site.sent < 500 and (tmp_path / "thing.bin").read_bytes() == CONTENT


def test_an_endless_file_does_not_fill_the_disk(site, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "RESERVE", 4 * len(CONTENT))
    spaces = iter([10**9, 10**9, 10])
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: usage._replace(free=next(spaces)))
    site.routes["/a"] = [status(200, CONTENT * 9)]
    (sentence,) = fetch(tmp_path, thing(f"{site.url}/a"))
    assert "of reserve, but its disk has 0.0 MB free; free some space" in sentence


def test_wrong_bytes_are_deleted_and_the_next_mirror_is_used(site, tmp_path):
    site.routes |= {"/wrong": [whole(OTHER)], "/good": [whole()]}
    said = []
    asset = thing(f"{site.url}/wrong", f"{site.url}/good", bytes=len(CONTENT))
    assert fetch(tmp_path, asset, say=said.append) == []
    assert "/wrong gave a file that has SHA-256" in said[0]
    assert (tmp_path / "thing.bin").read_bytes() == CONTENT


def test_a_part_from_one_mirror_is_not_resumed_from_another(site, tmp_path):
    site.routes |= {"/cut": [whole(OTHER, stop=HALF)], "/good": [whole()]}
    asset = thing(f"{site.url}/cut", f"{site.url}/good")
    assert fetch(tmp_path, asset, limits=replace(PATIENCE, tries=1)) == []
    assert site.ranges() == [None, None]


def test_a_compressed_response_is_refused(site, tmp_path):
    site.routes["/a"] = [whole(Content_Encoding="gzip")]
    (sentence,) = fetch(tmp_path, unknown(f"{site.url}/a"))
    assert (
        "encoding that was not requested" in sentence
        and site.seen[0][1]["Accept-Encoding"] == "identity"
    )


# ---- disk, processes, progress ------------------------------------------------------------------


def test_a_full_disk_is_reported_before_the_download(site, tmp_path, monkeypatch):
    free = shutil.disk_usage(tmp_path)._replace(free=download.RESERVE + len(CONTENT) - 1)
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: free)
    site.routes["/a"] = [whole()]
    (sentence,) = fetch(tmp_path, thing(f"{site.url}/a"))
    assert "thing.bin needs 0.1 MB plus 256.0 MB of reserve, but its disk has" in sentence
    assert names(tmp_path) == []


def test_a_disk_that_fills_up_is_reported_and_the_part_is_kept(site, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(download.Progress, "add", full)
    site.routes |= {"/a": [whole()], "/b": [whole()]}
    (sentence,) = fetch(tmp_path, thing(f"{site.url}/a"))
    assert sentence.startswith(
        f"thing: {tmp_path / 'thing.bin'} cannot be written: the disk is full"
    )
    assert (tmp_path / "thing.bin.part").stat().st_size > 0


def test_a_path_that_cannot_be_written_is_reported_and_the_rest_is_fetched(site, tmp_path):
    (tmp_path / "thing.bin").mkdir()
    site.routes["/a"] = [whole()]
    other = thing(f"{site.url}/a", name="other", file="other.bin")
    (sentence,) = fetch(tmp_path, thing(f"{site.url}/a"), other)
    assert "thing.bin cannot be written: Is a directory; fix that" in sentence
    assert (tmp_path / "other.bin").is_file()


def test_two_processes_do_not_download_one_file_at_once(site, tmp_path):
    site.routes["/a"] = [whole()]
    with Part(tmp_path / "thing.bin"):
        (sentence,) = fetch(tmp_path, thing(f"{site.url}/a"))
    assert "another process is fetching" in sentence and site.seen == []
    assert fetch(tmp_path, thing(f"{site.url}/a")) == []


def test_a_part_that_another_process_has_just_finished_is_not_overwritten(tmp_path, monkeypatch):
    real = download.fcntl.flock

    def finished_meanwhile(file, how):
        os.replace(tmp_path / "thing.bin.part", tmp_path / "thing.bin")
        real(file, how)

    (tmp_path / "thing.bin.part").write_bytes(CONTENT)
    monkeypatch.setattr(download.fcntl, "flock", finished_meanwhile)
    with pytest.raises(UserError, match="another process"), Part(tmp_path / "thing.bin") as part:
        part.discard()
    assert (tmp_path / "thing.bin").read_bytes() == CONTENT


def test_progress_shows_amount_speed_and_time_left(monkeypatch):
    said, clock = [], iter([0.0, 1.0, 2.5, 5.0])
    monkeypatch.setattr(download.time, "monotonic", lambda: next(clock))
    progress = download.Progress("thing", 10e6, 110e6, said.append, every=2)
    for _ in range(3):
        progress.add(10_000_000)
    assert said == [
        "thing: 30.0 MB of 110.0 MB, 8.0 MB/s, 10 s left",
        "thing: 40.0 MB of 110.0 MB, 6.0 MB/s, 12 s left",
    ]


@pytest.mark.parametrize(("terminal", "seconds"), [(True, 3), (False, 30)])
def test_progress_lines_are_rarer_without_a_terminal(monkeypatch, terminal, seconds):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal, raising=False)
    assert download.Progress("thing", 0, 1, print).every == seconds
