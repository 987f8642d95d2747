"""The report in Debian's Chromium, on a phone, a tablet and a wide screen: `pytest -m browser`."""


import pytest

pytestmark = pytest.mark.browser
WIDTHS = (390, 900, 1600)


@pytest.fixture
def opened(chromium):
    """Open a file at a width; afterwards nothing was requested and the console has no error."""
    contexts, problems = [], []

    def visit(path, width=1600, **options):
        context = chromium.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(120_000)  # ms: a busy machine
        page.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        own = path.as_uri()
        page.on("request", lambda request: request.url.startswith((own, "data:")) or problems.append(request.url))
        page.goto(own)
        return page

    yield visit
    for context in contexts:
        context.close()
    assert not problems


def scrolls_sideways(page):
    return page.evaluate("document.documentElement.scrollWidth > window.innerWidth")


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_does_not_scroll_sideways_and_its_tables_scroll_inside(opened, pages, width):
    for path in pages:
        page = opened(path, width)
        assert not scrolls_sideways(page)
        boxes = page.evaluate("[...document.querySelectorAll('.scroll')].map((b) => b.getBoundingClientRect().right)")
        assert boxes and max(boxes) <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_is_accessible(opened, pages, violations, width, scheme):
    for path in pages:
        page = opened(path, width, color_scheme=scheme)
        assert violations(page) == []


def test_a_click_on_a_head_sorts_the_table_and_a_second_one_turns_it(opened, small_report):
    page = opened(small_report)
    column = "[...document.querySelectorAll('#table-ablation tbody tr')].map((row) => parseFloat(row.cells[1].dataset.value))"
    before, head = page.evaluate(column), page.locator("#table-ablation thead th").nth(1)
    head.get_by_role("button").click()
    assert page.evaluate(column) == sorted(before) and head.get_attribute("aria-sort") == "ascending"
    head.get_by_role("button").click()
    assert page.evaluate(column) == sorted(before)[::-1] and head.get_attribute("aria-sort") == "descending"


def test_a_sort_by_text_and_a_filter_by_words(opened, small_report):
    page = opened(small_report)
    page.locator("#table-costs thead th").nth(1).get_by_role("button").click()
    names = page.locator("#table-costs tbody tr td:nth-child(2)").all_inner_texts()
    assert names == sorted(names, key=str.lower)
    page.get_by_label("Show rows with").fill("tgan catch-up")
    shown = page.locator("#table-costs tbody tr:visible")
    assert shown.count() == 1 and "from D catch-up" in shown.inner_text()


@pytest.mark.parametrize("width", WIDTHS)
def test_a_number_opens_its_runs(opened, small_report, violations, width):
    page = opened(small_report, width)
    page.locator("#table-ablation tr:has-text('NADA adaptive') .num").first.click()
    dialog = page.get_by_role("dialog")
    assert dialog.is_visible() and "NADA adaptive, dog2cat" in dialog.inner_text()
    assert dialog.locator("thead th").first.inner_text() == "metric" and "seed 2" in dialog.inner_text()
    dialog.get_by_text("Run of seed 1").click()
    dialog.get_by_text("Hyperparameters").click()
    told = dialog.inner_text()
    assert "dog2cat/nada-adaptive/seed1" in told and "cd" * 32 in told and "layers.k" in told
    assert dialog.locator(".pic").count() == 4
    assert not scrolls_sideways(page) and violations(page) == []
    page.keyboard.press("Escape")
    assert not dialog.is_visible()


def test_a_picture_enlarges_without_smoothing_and_names_its_latent_code_and_seed(opened, small_report):
    page = opened(small_report)
    small = page.locator("#grid-ablation .pic").nth(3)
    assert small.bounding_box()["width"] >= 96
    small.click()
    large = page.get_by_role("dialog").locator(".large")
    assert large.bounding_box()["width"] >= 300
    assert large.evaluate("(e) => getComputedStyle(e).imageRendering") == "pixelated"
    title = page.locator("#detail-title").inner_text()
    assert "seed 0, latent code 0, truncation 0.7" in title


def test_a_button_switches_to_the_dark_mode_and_the_page_keeps_it(opened, small_report):
    page = opened(small_report, color_scheme="light")
    colour = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(colour)
    page.get_by_role("button", name="Dark mode").click()
    dark = page.evaluate(colour)
    assert dark != light
    page.reload()
    assert page.evaluate(colour) == dark
    page.get_by_role("button", name="Light mode").click()
    assert page.evaluate(colour) == light


def test_the_heads_of_a_table_stay_in_view(opened, small_report):
    page = opened(small_report, 390)
    box = page.locator(".scroll:has(#table-ablation)")
    box.evaluate("(e) => { e.style.maxHeight = '8rem'; e.scrollTo(200, 60); }")
    head = page.locator("#table-ablation thead th").first.bounding_box()
    frame = box.bounding_box()
    assert head["y"] - frame["y"] < 3 and head["x"] - frame["x"] < 3


def test_print_shows_all_rows_of_tables(opened, small_report):
    page = opened(small_report, 900)
    page.emulate_media(media="print")
    clipped = "[...document.querySelectorAll('.scroll')].filter((b) => b.scrollHeight > b.clientHeight + 1).length"
    assert page.evaluate(clipped) == 0 and not page.locator("nav").is_visible()


def test_tables_and_claims_as_pages_of_their_own_fit_a_phone(opened, small_report, violations):
    for name in ("tables/ablation.html", "tables/table1_paper.html", "claims.html"):
        page = opened(small_report.parent / name, 390, color_scheme="dark")
        assert not scrolls_sideways(page) and violations(page) == []
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
