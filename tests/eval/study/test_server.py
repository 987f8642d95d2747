"""The study's server, request by request: hostile input, double submits, stale tabs; then killed and restarted."""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.request

import numpy as np
import pytest

starlette = pytest.importorskip("starlette", reason="the packages of the extra `study` are not installed")

from starlette.testclient import TestClient

from eval.study.answers import MOST_MILLISECONDS, AnswerStore
from eval.study.server import MOST_BYTES, application

HOSTILE = ("<script>alert(1)</script>", "' OR 1=1; DROP TABLE answers; --", "x" * 3000, "\u0000", "../answers.sqlite")


@pytest.fixture
def store(study):
    store = AnswerStore(study)
    yield store
    store.close()


@pytest.fixture
def client(study, store):
    return TestClient(application(study, store, ["testserver"]), raise_server_exceptions=False)


def begin(client) -> tuple[str, dict]:
    """(address of a new person's answers, their first question)."""
    said = client.post("/api/start", json={"consent": True})
    assert said.status_code == 201
    return f"/api/answers/{said.json()['token']}", said.json()["state"]


def reply(position, choice="left", milliseconds=900):
    return {"position": position, "choice": choice, "milliseconds": milliseconds}


def test_a_request_that_is_given_up_does_not_stop_the_others(store):
    """The thread that writes goes on when nobody waits for an answer any more."""
    token = store.start().result(timeout=10)
    going_on = threading.Event()
    store._change(lambda _: going_on.wait(10))
    given_up = store.answer(token, 0, "left", 900)
    assert given_up.cancel()
    going_on.set()
    assert store.answer(token, 0, "right", 900).result(timeout=10).answered == 1
    assert store.export().choice.tolist() == ["right"]


def test_a_person_answers_all_questions_of_a_booklet(client, study, store):
    address, state = begin(client)
    asked = study.questions_of(0)
    for position, question in enumerate(asked):
        assert state["position"] == position and state["length"] == study.length
        assert state["question"] == "Which is the better cat?"
        shown = [int(re.search(r"(\d+)\.png", state[side])[1]) for side in ("left", "right")]
        assert shown == [question.left, question.right]
        assert all(client.get(state[side]).headers["content-type"] == "image/png" for side in ("left", "right"))
        state = client.post(address, json=reply(position, "left")).json()
    assert state == {"position": study.length, "length": study.length}
    assert client.post(address, json=reply(study.length)).json() == state
    table = store.export()
    assert table.choice.eq("left").all() and len(table) == study.length and store.counts() == (1, 1, study.length)


def test_the_browser_is_told_nothing_about_models_answers_or_the_key(client, study):
    address, state = begin(client)
    said = json.dumps(state) + client.get("/").text + client.get("/api/about").text + client.get("/backend.js").text
    assert not any(name in said for name in ("tgan", "ojha", "nada", "mapper", "check"))
    for path in ("/pairs.csv", "/pictures/../pairs.csv", "/pictures/%2e%2e/pairs.csv", "/pictures/..%2fmanifest.json"):
        assert client.get(path).status_code == 404
    headers = client.get(address).headers
    assert headers["referrer-policy"] == "no-referrer" and headers["cache-control"] == "no-store"
    assert "default-src 'self'" in headers["content-security-policy"] and "set-cookie" not in headers


def test_a_second_answer_to_a_question_changes_nothing(client, store):
    address, _ = begin(client)
    first = client.post(address, json=reply(0, "left")).json()
    again = client.post(address, json=reply(0, "right")).json()  # double click, stale tab, repeated request
    assert first == again and first["position"] == 1
    assert client.post(address, json=reply(5, "right")).json() == first  # no question is skipped
    assert store.export()[["position", "choice"]].to_numpy().tolist() == [[0, "left"]]


def test_simultaneous_double_submits_count_once(study):
    store, other = AnswerStore(study), AnswerStore(study)  # as two processes that use the file
    token = store.start().result()

    def send(number):
        for position in range(study.length):
            (store if number % 2 else other).answer(token, position, "left", number).result()

    threads = [threading.Thread(target=send, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.export().position.tolist() == list(range(study.length))


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400), (b"null", 400), (b"[]", 400), (b'{"position": 0}', 400), (b"\xff\xfe", 400),
        (json.dumps(reply(-1)).encode(), 400), (json.dumps(reply(0, "middle")).encode(), 400),
        (json.dumps(reply("0")).encode(), 400), (json.dumps(reply(0.5)).encode(), 400),
        (json.dumps(reply(True)).encode(), 400), (json.dumps(reply(10**30)).encode(), 400),
        (json.dumps(reply(0) | {"rater": 1}).encode(), 400), (json.dumps(reply(0, milliseconds=-5)).encode(), 400),
        (b'{"position": NaN, "choice": "left", "milliseconds": 1}', 400), (b"[" * 4000, 400),
        (b" " * (MOST_BYTES + 1), 413),
        *((json.dumps(reply(0, text)).encode(), 400) for text in HOSTILE),
    ],
)  # fmt: skip
def test_hostile_answers_are_refused_in_a_sentence_and_stored_nowhere(client, store, body, status):
    address, state = begin(client)
    said = client.post(address, content=body, headers={"content-type": "application/json"})
    assert said.status_code == status and said.json()["error"].endswith(".")
    assert "<script>" not in said.headers["content-type"] and said.headers["content-type"] == "application/json"
    assert store.counts() == (0, 0, 0) and client.get(address).json() == state


@pytest.mark.parametrize("token", [*HOSTILE[:3], "1", "offline-", "%00"])
def test_unknown_links_are_refused(client, store, token):
    address = f"/api/answers/{urllib.request.quote(token, safe='%')}"
    assert client.get(address).status_code == 404
    assert client.post(address, json=reply(0)).status_code == 404
    assert store.counts() == (0, 0, 0)


def test_forms_other_hosts_and_starts_without_consent_are_refused(client, store):
    address, _ = begin(client)
    form = {"content-type": "text/plain"}  # what another site's form can send
    assert client.post(address, content=json.dumps(reply(0)), headers=form).status_code == 415
    assert client.get("/", headers={"host": "evil.example"}).status_code == 400
    for body in ({}, {"consent": False}, {"consent": "yes"}):
        assert client.post("/api/start", json=body).status_code == 400
    assert store.counts() == (0, 0, 0)


def test_a_long_absence_is_stored_as_the_longest_time(client, store):
    address, _ = begin(client)
    client.post(address, json=reply(0, milliseconds=2**52))
    assert store.export().milliseconds.tolist() == [MOST_MILLISECONDS]


def test_an_answer_that_cannot_be_stored_is_an_error_that_the_page_repeats(client, store, monkeypatch):
    address, _ = begin(client)
    with monkeypatch.context() as patched:
        patched.setattr(store, "answer", lambda *_: 1 / 0)
        assert client.post(address, json=reply(0)).status_code == 500
    assert client.post(address, json=reply(0)).json()["position"] == 1


def test_booklets_are_given_out_equally_often(client, study, store):
    for _ in range(2 * study.booklet_count):
        begin(client)
    used = [booklet for (booklet,) in store._base.execute("SELECT booklet FROM raters")]
    assert np.bincount(used).tolist() == [2] * study.booklet_count


# ---- the real server --------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def running(folder, port):
    """The server as a user starts it: (process, address)."""
    words = [sys.executable, "-m", "eval.study", "serve", str(folder), "--port", str(port)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        for line in process.stdout:
            if found := re.search(r"open (http://\S+)", line):
                yield process, found[1]
                break
        else:
            raise AssertionError("the server did not start")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def fetch(address, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, data, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.load(response)


def test_a_killed_server_loses_no_confirmed_answer_and_counts_none_twice(study):
    port, people, confirmed = free_port(), 6, {}
    lock, stop = threading.Lock(), threading.Event()

    def person(number, base):
        """Answer as fast as possible, repeating each request until it is confirmed, as the page does."""
        token = None
        while not stop.is_set():
            try:
                if token is None:
                    token = fetch(f"{base}api/start", {"consent": True})["token"]
                position = fetch(f"{base}api/answers/{token}")["position"]
                while position < study.length:
                    choice = ("left", "right")[(position + number) % 2]
                    state = fetch(f"{base}api/answers/{token}", reply(position, choice))
                    with lock:
                        confirmed[token] = state["position"]
                    position = state["position"]
                return
            except (OSError, ValueError, http.client.HTTPException):  # the connection was cut
                stop.wait(0.02)

    kills = 3
    base = f"http://127.0.0.1:{port}/"
    threads = [threading.Thread(target=person, args=(number, base)) for number in range(people)]
    for thread in threads:
        thread.start()
    try:
        for number in range(kills):
            with running(study.folder, port) as (process, _):
                while sum(confirmed.values()) < (number + 1) * people * study.length // (kills + 1):
                    stop.wait(0.005)
                process.send_signal(signal.SIGKILL)
                process.wait()
            kept = AnswerStore(study)
            with lock:
                before = dict(confirmed)
            assert any(position < study.length for position in before.values()), "killed while nobody answered"
            for token, position in before.items():
                assert kept.progress(token).answered >= position, f"lost after kill {number}"
            kept.close()
        with running(study.folder, port):
            for thread in threads:
                thread.join(timeout=60)
    finally:
        stop.set()
    assert len(confirmed) == people
    table = AnswerStore(study).export()
    assert not table.duplicated(["rater", "position"]).any()
    finished = table.groupby("rater").size()
    assert (finished == study.length).sum() == people  # a start whose reply was lost has no answers
    for _, part in table.groupby("rater"):
        assert set(zip(part.position % 2, part.choice, strict=True)) in (
            {(0, "left"), (1, "right")}, {(0, "right"), (1, "left")}
        )  # fmt: skip


def test_the_server_listens_on_this_machine_alone_and_logs_no_request(study):
    with running(study.folder, free_port()) as (process, base):
        assert base.startswith("http://127.0.0.1:")
        token = fetch(f"{base}api/start", {"consent": True})["token"]
        fetch(f"{base}api/answers/{token}", reply(0))
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=20)[0]
    assert token not in said and "127.0.0.1:" not in said
    assert process.returncode in (0, 130)
    assert os.listdir(study.folder).count("answers.sqlite") == 1


def test_an_address_that_is_taken_is_one_sentence(study, capsys):
    from eval.study.__main__ import main

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert main(["serve", str(study.folder), "--port", str(taken.getsockname()[1])]) == 2
    said = capsys.readouterr().err
    assert "cannot be used" in said and said.count("\n") == 1
    assert main(["serve", str(study.folder), "--port", "99999"]) == 2
    assert main(["serve", "nowhere"]) == 2
    assert "nowhere is no study (manifest.json is missing)" in capsys.readouterr().err
