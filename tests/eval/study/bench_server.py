"""200 raters answer every 2 to 4 s, with their pictures, on one core: make bench.

    python -m pytest -o python_files='bench_*.py' tests/eval/study
"""

import http.client
import json
import os
import random
import threading
import time

import numpy as np
import pytest

from tests.eval.study.test_server import free_port, running

pytest.importorskip("starlette", reason="the packages of the extra `study` are not installed")

RATERS, PAUSE, SECONDS = 200, (2.0, 4.0), 30.0
MEDIAN, TAIL = 0.05, 0.5  # seconds: of all answers, and of 99 %


def rate(port, begin, end, times, failures):
    """One person: answers until `end`, fetching both pictures before each; appends seconds of each answer."""
    draw = random.Random(begin)
    time.sleep(max(0.0, begin - time.monotonic()))
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def call(method, address, body=None):
        headers = {"Content-Type": "application/json"}
        start = time.perf_counter()
        line.request(method, address, None if body is None else json.dumps(body), headers)
        response = line.getresponse()
        content = response.read()
        if response.status >= 400:
            failures.append((response.status, content))
        return content, time.perf_counter() - start

    said = json.loads(call("POST", "/api/start", {"consent": True})[0])
    token, state = said["token"], said["state"]
    while state["position"] < state["length"]:
        for side in ("left", "right"):
            call("GET", state[side])
        time.sleep(draw.uniform(*PAUSE))
        if time.monotonic() > end:
            break
        body = {"position": state["position"], "choice": draw.choice(["left", "right"]), "milliseconds": 2000}
        content, took = call("POST", f"/api/answers/{token}", body)
        state = json.loads(content)
        times.append(took)
    line.close()


def test_two_hundred_raters_on_one_core_wait_for_no_answer(make_study):
    study = make_study(pairs=12, per_rater=12, repeats=4)
    times, failures, port = [], [], free_port()
    with running(study.folder, port) as (process, _):
        os.sched_setaffinity(process.pid, {max(os.sched_getaffinity(0))})
        begin = time.monotonic() + 1
        people = [
            threading.Thread(
                target=rate, args=(port, begin + number * PAUSE[1] / RATERS, begin + SECONDS, times, failures)
            )
            for number in range(RATERS)
        ]
        for person in people:
            person.start()
        for person in people:
            person.join()
    median, tail = np.quantile(times, [0.5, 0.99])
    print(f"\n{len(times)} answers of {RATERS} people: median {1e3 * median:.1f} ms, 99 % within {1e3 * tail:.1f} ms")
    assert not failures and len(times) > RATERS * SECONDS / PAUSE[1] / 2
    assert median < MEDIAN and tail < TAIL
