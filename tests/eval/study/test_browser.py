"""The study's pages in Debian's Chromium: `pytest -m browser`; skipped where there is no browser."""

import json
import re
import signal
from pathlib import Path

import pytest

from eval.study.__main__ import main
from eval.study.answers import AnswerStore
from tests.eval.study.test_server import free_port, running

pytestmark = pytest.mark.browser
PHONE, LAPTOP = {"width": 390, "height": 760}, {"width": 1280, "height": 800}


@pytest.fixture
def person(chromium):
    """Open a browser of a person of their own; afterwards the console has no error and nothing left the machine.

    Ask for it after `served`: then it ends first, and no page loads from a server that has stopped.
    """
    contexts, problems = [], []

    def visit(address, **options):
        context = chromium.new_context(viewport=options.pop("viewport", LAPTOP), **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        own = re.compile(r"http://127\.0\.0\.1:|file:|data:|blob:")
        page.on("request", lambda request: own.match(request.url) or problems.append(request.url))
        page.goto(address)
        return page

    visit.problems = problems
    yield visit
    for context in contexts:
        context.close()
    assert not problems


@pytest.fixture
def served(study):
    with running(study.folder, free_port()) as (_, base):
        yield study, base


def start(page):
    page.get_by_role("button", name="I agree, start").click()
    at(page, 1)


def at(page, number):
    """Wait until the pair with a number is there and takes an answer."""
    page.wait_for_function(
        "number => document.getElementById('place').textContent.startsWith(number + ' of') && ready", arg=number
    )


def answers(study):
    store = AnswerStore(study)
    table = store.export()
    store.close()
    return table


@pytest.mark.parametrize("how", ["keys", "clicks", "touch"])
def test_a_person_answers_with_keyboard_mouse_or_touch(served, person, how):
    study, base = served
    options = {"viewport": PHONE, "has_touch": True, "is_mobile": True} if how == "touch" else {}
    page = person(base, **options)
    page.get_by_role("button", name="I agree, start").wait_for()
    assert "I agree." in page.inner_text("main") and f"{study.length} pairs" in page.inner_text("main")
    start(page)
    assert page.inner_text("h1") == "Which is the better cat?"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    boxes = [page.locator(f"#{side}-image").bounding_box() for side in ("left", "right")]
    assert boxes[0]["x"] + boxes[0]["width"] <= boxes[1]["x"] and min(box["width"] for box in boxes) > 150
    for number in range(1, study.length + 1):
        at(page, number)
        side = "left" if number % 2 else "right"
        if how == "keys":
            page.keyboard.press(f"Arrow{side.title()}")
        elif how == "touch":
            page.locator(f"#{side}").tap()
        else:
            page.locator(f"#{side}").click()
    page.wait_for_selector("#thanks:visible")
    assert page.locator("#save").is_hidden()
    table = answers(study)
    assert table.choice.tolist() == (["left", "right"] * study.length)[: study.length]
    assert (table.milliseconds < 60_000).all() and page.context.cookies() == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [PHONE, LAPTOP], ids=["phone", "laptop"])
def test_every_view_of_the_page_is_accessible(served, person, violations, viewport, scheme):
    study, base = served
    page = person(base, viewport=viewport, color_scheme=scheme)
    page.get_by_role("button", name="I agree, start").wait_for()
    assert violations(page) == []
    start(page)
    assert violations(page) == []
    for number in range(1, study.length + 1):
        at(page, number)
        page.keyboard.press("ArrowLeft")
    page.wait_for_selector("#thanks:visible")
    assert violations(page) == []
    page.evaluate("document.querySelector('main').append(new Image())")  # no text for those who do not see it
    assert [rule for rule, _ in violations(page)] == ["image-alt"]


def test_double_clicks_stale_tabs_the_back_button_and_the_link_count_nothing_twice(served, person):
    study, base = served
    page = person(base)
    start(page)
    page.locator("#left").dblclick()
    at(page, 2)
    link = page.get_attribute("#link", "href")
    assert link == page.url and re.fullmatch(rf"{base}s/[\w-]+", link)
    stale = page.context.new_page()  # a second tab, at the second pair
    stale.goto(link)
    at(stale, 2)
    page.keyboard.press("ArrowRight")
    at(page, 3)
    stale.keyboard.press("ArrowLeft")  # the second pair again: it is taken to the third
    at(stale, 3)
    page.goto("about:blank")
    page.go_back()
    at(page, 3)
    page.goto(base)  # the start page knows this browser
    at(page, 3)
    other = person(link)  # on another device, by the link
    at(other, 3)
    assert answers(study)[["position", "choice"]].to_numpy().tolist() == [[0, "left"], [1, "right"]]


def test_the_page_waits_for_a_killed_server_and_repeats_the_answer(person, study):
    port = free_port()
    with running(study.folder, port) as (process, base):
        page = person(base)
        start(page)
        process.send_signal(signal.SIGKILL)
        process.wait()
        page.keyboard.press("ArrowLeft")
        page.wait_for_function("() => document.getElementById('trouble').textContent.startsWith('No connection')")
    with running(study.folder, port):
        at(page, 2)
        assert page.inner_text("#trouble") == ""
    assert answers(study).choice.tolist() == ["left"]
    refused = [text for text in person.problems if "ERR_CONNECTION_REFUSED" in text or "Failed to load" in text]
    assert refused  # the browser itself reports the requests that failed
    person.problems[:] = [text for text in person.problems if text not in refused]


def test_an_unknown_link_says_so_and_another_person_may_begin(served, person):
    study, base = served
    page = person(f"{base}s/nobody")
    page.wait_for_function("() => document.getElementById('trouble').textContent.includes('link is not known')")
    person.problems.clear()  # the browser reports the 404
    page = person(base)
    start(page)
    for number in range(1, study.length + 1):
        at(page, number)
        page.keyboard.press("ArrowLeft")
    page.get_by_role("button", name="Another person").click()
    start(page)
    page.keyboard.press("ArrowRight")
    at(page, 2)
    assert answers(study).rater.nunique() == 2


def test_hostile_questions_are_shown_as_text(person, make_study):
    text = "<img src=x onerror=document.title='broken'> 'better'?"
    study = make_study("odd", questions={"dog2cat": text}, consent="<b>I agree</b>")
    with running(study.folder, free_port()) as (_, base):
        page = person(base)
        page.wait_for_selector("#start:visible")
        assert page.inner_text("#consent") == "<b>I agree</b>"
        start(page)
        assert page.inner_text("h1") == text and page.title() == "Which picture is better?"


def test_the_page_without_a_server_keeps_answers_and_its_file_is_imported(person, study, tmp_path):
    assert main(["page", str(study.folder), "--out", str(tmp_path / "page")]) == 0
    address = f"file://{tmp_path / 'page' / 'index.html'}?booklet=2"
    page = person(address)
    start(page)
    for number in range(1, 5):
        at(page, number)
        page.keyboard.press("ArrowLeft")
    at(page, 5)
    page.reload()  # the browser keeps the answers
    at(page, 5)
    stale = page.context.new_page()
    stale.goto(address)
    at(stale, 5)
    page.keyboard.press("ArrowRight")
    at(page, 6)
    stale.keyboard.press("ArrowLeft")
    at(stale, 6)
    for number in range(6, study.length + 1):
        at(page, number)
        page.keyboard.press("ArrowRight")
    with page.expect_download() as download:
        page.get_by_role("link", name="Save the answers").click()
    saved = tmp_path / download.value.suggested_filename
    download.value.save_as(saved)
    assert json.loads(saved.read_text())["booklet"] == 2
    assert main(["import", str(study.folder), str(saved), str(saved)]) == 0
    table = answers(study)
    assert table.choice.tolist() == ["left"] * 4 + ["right"] * (study.length - 4) and set(table.booklet) == {2}


def test_the_exported_page_names_no_model(study, tmp_path):
    assert main(["page", str(study.folder), "--out", str(tmp_path / "page")]) == 0
    names = {path.name for path in (tmp_path / "page").iterdir()}
    assert names == {"index.html", "study.js", "study.css", "backend.js", "pictures"}
    text = "".join(path.read_text() for path in Path(tmp_path / "page").glob("*.*"))
    assert not any(name in text for name in ("tgan", "ojha", "mapper", "check", '"repeat'))
    assert main(["page", str(study.folder), "--out", str(tmp_path / "page")]) == 2
