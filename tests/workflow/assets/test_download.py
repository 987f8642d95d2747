"""Downloads over a bad network: continued, tried again, given up in words; loopback servers only."""

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
import requests

from nada.run.errors import UserError
from tests.workflow.toy_assets import (
    CONTENT,
    HALF,
    OTHER,
    PAGE,
    PATIENCE,
    SHA,
    fetch,
    names,
    page,
    redirect,
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


def test_a_file_arrives_whole_under_its_name_and_leaves_nothing_beside_it(site, tmp_path):
    site.routes["/a"] = [whole()]
    assert fetch(tmp_path, thing(f"{site.url}/a")) == []
    assert names(tmp_path) == ["thing.bin"]
    assert (tmp_path / "thing.bin").read_bytes() == CONTENT


def test_a_broken_download_goes_on_where_it_stopped_if_the_remote_is_the_same(site, tmp_path):
    site.routes["/a"] = [whole(stop=HALF), whole()]
    assert fetch(tmp_path, thing(f"{site.url}/a")) == []
    assert (tmp_path / "thing.bin").read_bytes() == CONTENT
    assert site.ranges() == [None, f"bytes={HALF}-"]
    assert site.seen[1][1]["If-Range"] == '"1"'


def test_the_next_call_goes_on_with_what_the_last_one_left(site, tmp_path):
    site.routes["/a"] = [whole(stop=HALF), whole()]
    asset = thing(f"{site.url}/a")
    (sentence,) = fetch(tmp_path, asset, limits=replace(PATIENCE, tries=1))
    assert "broke off" in sentence and "https://example.org/thing" in sentence
    assert names(tmp_path) == ["thing.bin.part", "thing.bin.part.json"]
    assert fetch(tmp_path, asset) == []
    assert names(tmp_path) == ["thing.bin"]
    assert site.ranges() == [None, f"bytes={HALF}-"]


def test_a_finished_part_is_taken_without_asking_again(site, tmp_path):
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


def test_a_server_that_ignores_ranges_starts_over(site, tmp_path):
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
def test_without_a_strong_mark_of_its_version_a_file_is_fetched_from_the_start(
    site, tmp_path, etag
):
    site.routes["/a"] = [whole(etag=etag, stop=HALF), whole(etag=etag)]
    assert fetch(tmp_path, thing(f"{site.url}/a")) == []
    assert site.ranges() == [None, None]


def test_a_date_marks_the_version_too(site, tmp_path):
    date = "Tue, 01 Sep 2020 10:00:00 GMT"
    first = whole(etag=None, stop=HALF, Last_Modified=date)
    site.routes["/a"] = [first, whole(etag=None, check=False)]
    assert fetch(tmp_path, thing(f"{site.url}/a")) == []
    assert site.seen[1][1]["If-Range"] == date
    assert site.ranges() == [None, f"bytes={HALF}-"]


def test_a_server_that_gives_less_than_the_range_is_asked_for_the_rest(site, tmp_path):
    def few(request):
        start = int(request.headers["Range"].removeprefix("bytes=").rstrip("-"))
        place = f"bytes {start}-{start + 99}/{len(CONTENT)}"
        body = CONTENT[start : start + 100]
        send(request, 206, body, ETag='"1"', Content_Length=100, Content_Range=place)

    site.routes["/a"] = [whole(stop=HALF), few, whole()]
    assert fetch(tmp_path, thing(f"{site.url}/a")) == []
    assert site.ranges() == [None, f"bytes={HALF}-", f"bytes={HALF + 100}-"]


def test_a_range_that_begins_elsewhere_starts_over(site, tmp_path):
    place = f"bytes 0-{len(CONTENT) - 1}/{len(CONTENT)}"
    wrong = status(206, CONTENT, ETag='"1"', Content_Length=len(CONTENT), Content_Range=place)
    site.routes["/a"] = [whole(stop=HALF), wrong, whole()]
    assert fetch(tmp_path, unknown(f"{site.url}/a")) == []
    assert (tmp_path / "thing.bin").read_bytes() == CONTENT


def test_a_range_that_is_not_there_starts_over(site, tmp_path):
    site.routes["/a"] = [whole(stop=HALF), status(416), whole()]
    assert fetch(tmp_path, thing(f"{site.url}/a")) == []
    assert site.ranges() == [None, f"bytes={HALF}-", None]


@pytest.mark.parametrize(("bad", "word"), [(stall, "nothing for"), (drip, "only")])
def test_a_stalling_server_is_given_up_for_the_next_mirror(site, tmp_path, bad, word):
    site.routes |= {"/slow": [bad], "/good": [whole()]}
    said = []
    limits = replace(PATIENCE, stall=0.5, tries=2)
    asset = thing(f"{site.url}/slow", f"{site.url}/good")
    assert fetch(tmp_path, asset, limits=limits, say=said.append) == []
    assert site.paths() == ["/slow", "/slow", "/good"]
    assert f"gave {word}" in said[0]
    assert (tmp_path / "thing.bin").read_bytes() == CONTENT


def test_tries_are_bounded_and_counted_anew_only_when_one_brought_something(
    site, tmp_path, monkeypatch
):
    monkeypatch.setattr(download, "PROGRESS", HALF // 2)
    quarter = whole(stop=HALF // 2)
    site.routes |= {"/stuck": [status(503)], "/slow": [quarter, quarter, quarter, whole()]}
    limits = replace(PATIENCE, tries=2)
    assert fetch(tmp_path, thing(f"{site.url}/slow"), limits=limits) == []
    site.seen.clear()
    (sentence,) = fetch(tmp_path, thing(f"{site.url}/stuck", file="b.bin"), limits=limits)
    assert site.paths() == ["/stuck"] * 2 and "answered 503 (2 times)" in sentence


@pytest.mark.parametrize("code", [408, 429, 500, 503])
def test_a_busy_server_is_asked_again_after_the_pause_that_it_wants(
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
def test_a_dead_link_is_left_at_once_for_the_next_mirror(site, tmp_path, code):
    site.routes |= {"/dead": [status(code), whole()], "/good": [whole()]}
    assert fetch(tmp_path, thing(f"{site.url}/dead", f"{site.url}/good")) == []
    assert site.paths() == ["/dead", "/good"]


def test_nobody_listening_is_one_sentence(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}/a"
    (sentence,) = fetch(tmp_path, thing(address))
    assert sentence.startswith(f"thing: {address} broke off (ConnectionError) (3 times); get it by")
    assert names(tmp_path) == []


def test_a_server_that_claims_more_than_it_sends_does_not_pass(site, tmp_path):
    site.routes["/a"] = [whole(length=len(CONTENT) + 1, etag=None)]
    (sentence,) = fetch(tmp_path, unknown(f"{site.url}/a"))
    assert "broke off" in sentence and not (tmp_path / "thing.bin").exists()


def test_a_server_that_claims_less_than_there_is_does_not_pass(site, tmp_path):
    site.routes["/a"] = [whole(length=HALF)]
    (sentence,) = fetch(tmp_path, thing(f"{site.url}/a"))
    assert "gave a file that has SHA-256" in sentence and names(tmp_path) == []


def test_a_file_of_another_size_than_known_is_refused_before_it_is_fetched(site, tmp_path):
    said = []
    site.routes["/a"] = [whole(stop=0)]
    (sentence,) = fetch(tmp_path, thing(f"{site.url}/a", bytes=7), say=said.append)
    assert f"offers {len(CONTENT)} bytes where 7 are expected" in sentence
    assert len(site.seen) == 1 and names(tmp_path) == []


def test_a_file_of_unknown_length_and_hash_is_taken_only_if_its_end_can_be_seen(site, tmp_path):
    site.routes["/endless"] = [status(200, CONTENT)]
    (sentence,) = fetch(tmp_path, unknown(f"{site.url}/endless"))
    assert "does not say how long the file is" in sentence and names(tmp_path) == []
    pieces = CONTENT[:-9], CONTENT[-9:]
    site.routes["/cut"] = [chunked(*pieces, end=b""), chunked(*pieces)]
    assert fetch(tmp_path, unknown(f"{site.url}/cut")) == []
    assert (tmp_path / "thing.bin").read_bytes() == CONTENT and len(site.seen) == 3
    assert json.loads((tmp_path / "pins.json").read_text()) == {"thing": SHA}


def test_a_file_that_goes_on_beyond_its_size_is_cut_off(site, tmp_path):
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


def test_a_file_without_an_end_does_not_fill_the_disk(site, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "RESERVE", 4 * len(CONTENT))
    spaces = iter([10**9, 10**9, 10])
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: usage._replace(free=next(spaces)))
    site.routes["/a"] = [status(200, CONTENT * 9)]
    (sentence,) = fetch(tmp_path, thing(f"{site.url}/a"))
    assert "to spare, but its disk has 0.0 MB; free some space" in sentence


def test_wrong_bytes_are_deleted_and_the_next_mirror_is_taken(site, tmp_path):
    site.routes |= {"/wrong": [whole(OTHER)], "/good": [whole()]}
    said = []
    asset = thing(f"{site.url}/wrong", f"{site.url}/good", bytes=len(CONTENT))
    assert fetch(tmp_path, asset, say=said.append) == []
    assert "/wrong gave a file that has SHA-256" in said[0]
    assert (tmp_path / "thing.bin").read_bytes() == CONTENT


def test_a_part_from_one_mirror_is_not_continued_from_another(site, tmp_path):
    site.routes |= {"/cut": [whole(OTHER, stop=HALF)], "/good": [whole()]}
    asset = thing(f"{site.url}/cut", f"{site.url}/good")
    assert fetch(tmp_path, asset, limits=replace(PATIENCE, tries=1)) == []
    assert site.ranges() == [None, None]


def test_another_coding_than_asked_for_is_refused(site, tmp_path):
    site.routes["/a"] = [whole(Content_Encoding="gzip")]
    (sentence,) = fetch(tmp_path, unknown(f"{site.url}/a"))
    assert "another coding" in sentence and site.seen[0][1]["Accept-Encoding"] == "identity"


# ---- redirects ----------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirects_are_followed(site, tmp_path, code):
    site.routes |= {"/a": [redirect("/b?x=1", code)], "/b": [whole()]}
    assert fetch(tmp_path, thing(f"{site.url}/a")) == []
    assert site.paths() == ["/a", "/b?x=1"]


@pytest.mark.parametrize("target", ["http://[::1", "http://127.0.0.1/\xff", "//[x"])
def test_a_redirect_to_what_is_no_address_is_one_sentence(site, tmp_path, target):
    site.routes |= {"/a": [redirect(target)], "/good": [whole()]}
    (sentence,) = fetch(tmp_path, unknown(f"{site.url}/a"))
    assert "leads to what is no web address; get it by hand" in sentence
    assert fetch(tmp_path, thing(f"{site.url}/a", f"{site.url}/good")) == []


@pytest.mark.parametrize("target", ["file:///etc/hostname", "ftp://127.0.0.1/a", "data:,abc"])
def test_a_redirect_that_leaves_the_web_is_refused(site, tmp_path, target):
    site.routes["/a"] = [redirect(target)]
    (sentence,) = fetch(tmp_path, unknown(f"{site.url}/a"))
    assert f"leads to {target}, which is no web address" in sentence and names(tmp_path) == []


def test_redirects_are_bounded(site, tmp_path):
    site.routes["/a"] = [redirect("/a")]
    (sentence,) = fetch(tmp_path, thing(f"{site.url}/a"))
    assert "leads on more than 3 times" in sentence and len(site.seen) == PATIENCE.hops + 1


def test_a_redirect_from_https_to_http_is_refused(site, tmp_path):
    class Secure(requests.adapters.HTTPAdapter):
        """Stands for TLS: the loopback server answers for https://secure.test."""

        def send(self, request, **options):
            request.url = request.url.replace("https://secure.test", site.url)
            return super().send(request, **options)

    session = requests.Session()
    session.mount("https://", Secure())
    site.routes |= {"/a": [redirect(f"{site.url}/b")], "/b": [whole()], "/c": [redirect("/b")]}
    (sentence,) = fetch(tmp_path, thing("https://secure.test/a"), session=session)
    assert f"leads away from https, to {site.url}/b" in sentence and site.paths() == ["/a"]
    assert fetch(tmp_path, thing("https://secure.test/c"), session=session) == []


# ---- web pages in place of files ----------------------------------------------------------------


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/octet-stream"])
def test_a_web_page_is_no_file_whatever_it_is_called(site, tmp_path, kind):
    site.routes["/a"] = [status(200, PAGE, Content_Type=kind, Content_Length=len(PAGE))]
    (sentence,) = fetch(tmp_path, unknown(f"{site.url}/a"))
    assert "answers with a web page instead of the file" in sentence and names(tmp_path) == []


@pytest.mark.parametrize(
    "words",
    [
        b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
        b"\xef\xbb\xbf\n<!-- saved from elsewhere --><html></html>",
        b'{"error": "not found"}',
        b"<head><title>Sign in</title></head>",
    ],
)
def test_an_answer_in_words_is_no_file(site, tmp_path, words):
    site.routes["/a"] = [status(200, words, Content_Length=len(words))]
    (sentence,) = fetch(tmp_path, unknown(f"{site.url}/a"))
    assert "answers with a web page instead of the file" in sentence and names(tmp_path) == []


FORM = (
    '<!DOCTYPE html><html><form action="/search"><input name="q" value="no"></form>'
    '<form id="download-form" action="{action}" method="get">'
    '<input type="hidden" name="id" value="abc"><input type="hidden" name="confirm" value="t&amp;1">'
    '<input type="submit" value="Download anyway"></form></html>'
)
LINK = '<html><a href="/help">?</a><a href="/download?id=abc&amp;confirm=t%261">Download</a></html>'


@pytest.mark.parametrize("form", [FORM.format(action="/download"), LINK], ids=["form", "link"])
def test_google_drives_confirmation_page_is_followed(site, tmp_path, form):
    site.routes |= {"/uc": [page(form.encode())], "/download": [whole()]}
    assert fetch(tmp_path, thing("gd:abc"), drive=f"{site.url}/uc") == []
    assert site.paths() == ["/uc?id=abc&export=download", "/download?id=abc&confirm=t%261"]
    assert (tmp_path / "thing.bin").read_bytes() == CONTENT


def test_google_drives_confirmation_page_is_followed_once_a_try_and_no_further(site, tmp_path):
    form = FORM.format(action="/download").encode()
    site.routes |= {"/uc": [page(form)], "/download": [page(form)]}
    (sentence,) = fetch(tmp_path, thing("gd:abc", page=None), drive=f"{site.url}/uc")
    assert "gd:abc answers with a web page instead of the file" in sentence
    assert "get it by hand from https://drive.google.com/file/d/abc/view, put it at" in sentence
    assert len(site.seen) == 2


def test_a_download_from_google_drive_goes_on_where_it_stopped(site, tmp_path):
    site.routes["/uc"] = [page(FORM.format(action="/download").encode())]
    site.routes["/download"] = [whole(stop=HALF), whole()]
    assert fetch(tmp_path, thing("gd:abc"), drive=f"{site.url}/uc") == []
    assert site.ranges()[-1] == f"bytes={HALF}-"


def test_a_small_file_of_google_drive_comes_without_a_page(site, tmp_path):
    site.routes["/uc"] = [whole()]
    assert fetch(tmp_path, thing("gd:abc"), drive=f"{site.url}/uc") == []


@pytest.mark.parametrize("behind", [False, True], ids=["at once", "after the confirmation"])
@pytest.mark.parametrize("code", [200, 403])
def test_google_drives_quota_is_told_in_words(site, tmp_path, behind, code):
    quota = page(b"<html><title>Google Drive - Quota exceeded</title></html>", code)
    form = page(FORM.format(action="/download").encode())
    site.routes |= {"/uc": [form if behind else quota], "/download": [quota]}
    (sentence,) = fetch(tmp_path, thing("gd:abc"), drive=f"{site.url}/uc")
    assert "gd:abc has been fetched too often: Google Drive's quota is used up" in sentence


@pytest.mark.parametrize(
    "text", ["<html><![endif]--><![x", "<html><form action='http://[::1/download'>"]
)
def test_a_malformed_page_of_google_drive_is_one_sentence(site, tmp_path, text):
    site.routes["/uc"] = [page(text.encode())]
    (sentence,) = fetch(tmp_path, thing("gd:abc"), drive=f"{site.url}/uc")
    assert sentence.startswith("thing: gd:abc ") and "; get it by hand from" in sentence


@pytest.mark.parametrize(
    ("code", "words"), [(200, "answers with a web page"), (404, "answered 404")]
)
def test_another_page_of_google_drive_is_no_file(site, tmp_path, code, words):
    site.routes["/uc"] = [page(PAGE, code)]
    (sentence,) = fetch(tmp_path, thing("gd:abc"), drive=f"{site.url}/uc")
    assert f"gd:abc {words}" in sentence


# ---- disk, processes, progress ------------------------------------------------------------------


def test_a_disk_without_room_is_told_before_the_download_begins(site, tmp_path, monkeypatch):
    free = shutil.disk_usage(tmp_path)._replace(free=download.RESERVE + len(CONTENT) - 1)
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: free)
    site.routes["/a"] = [whole()]
    (sentence,) = fetch(tmp_path, thing(f"{site.url}/a"))
    assert "thing.bin needs 0.1 MB and 256.0 MB to spare, but its disk has" in sentence
    assert names(tmp_path) == []


def test_a_disk_that_fills_up_is_one_sentence_and_what_was_fetched_is_kept(
    site, tmp_path, monkeypatch
):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(download.Progress, "add", full)
    site.routes |= {"/a": [whole()], "/b": [whole()]}
    (sentence,) = fetch(tmp_path, thing(f"{site.url}/a"))
    assert sentence.startswith(
        f"thing: {tmp_path / 'thing.bin'} cannot be written: the disk is full"
    )
    assert (tmp_path / "thing.bin.part").stat().st_size > 0


def test_a_place_that_cannot_be_written_is_one_sentence_and_the_rest_goes_on(site, tmp_path):
    (tmp_path / "thing.bin").mkdir()
    site.routes["/a"] = [whole()]
    other = thing(f"{site.url}/a", name="other", file="other.bin")
    (sentence,) = fetch(tmp_path, thing(f"{site.url}/a"), other)
    assert "thing.bin cannot be written: Is a directory; mend that" in sentence
    assert (tmp_path / "other.bin").is_file()


def test_two_processes_do_not_fetch_one_file_at_once(site, tmp_path):
    site.routes["/a"] = [whole()]
    with Part(tmp_path / "thing.bin"):
        (sentence,) = fetch(tmp_path, thing(f"{site.url}/a"))
    assert "another process is fetching" in sentence and site.seen == []
    assert fetch(tmp_path, thing(f"{site.url}/a")) == []


def test_a_part_that_another_process_has_just_finished_is_not_taken_for_a_part(
    tmp_path, monkeypatch
):
    real = download.fcntl.flock

    def finished_meanwhile(file, how):
        os.replace(tmp_path / "thing.bin.part", tmp_path / "thing.bin")
        real(file, how)

    (tmp_path / "thing.bin.part").write_bytes(CONTENT)
    monkeypatch.setattr(download.fcntl, "flock", finished_meanwhile)
    with pytest.raises(UserError, match="another process"), Part(tmp_path / "thing.bin") as part:
        part.discard()
    assert (tmp_path / "thing.bin").read_bytes() == CONTENT


def test_progress_says_how_much_how_fast_and_how_long(monkeypatch):
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
def test_lines_of_progress_are_rarer_where_nobody_watches(monkeypatch, terminal, seconds):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal, raising=False)
    assert download.Progress("thing", 0, 1, print).every == seconds
