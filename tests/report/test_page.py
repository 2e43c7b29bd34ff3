"""The page in a real browser: no errors, nothing loaded, no script out of data, no sideways scrolling."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from prefine.report.stage import build
from tests.report.conftest import HOSTILE, STRANGE, made_up_run

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (apt-get install chromium)")


@pytest.fixture(scope="module")
def report(demo_run, tmp_path_factory) -> Path:
    return build(demo_run, tmp_path_factory.mktemp("report") / "report.html", "Demo <i>title</i>", num_examples=9)


@pytest.fixture(scope="module")
def browser():
    sync = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra 'dev')")
    with sync.sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()


@pytest.fixture
def opened(browser, report, request):
    """The page at a width and color scheme, and everything that went wrong while it was open."""
    width, scheme = getattr(request, "param", (1280, "light"))
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page, wrong = context.new_page(), []
    page.on("console", lambda m: wrong.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda e: wrong.append(str(e)))
    page.on("request", lambda r: None if r.url.startswith(("file:", "data:")) else wrong.append(r.url))
    page.goto(report.as_uri())
    yield page
    context.close()
    assert wrong == []


def test_data_is_escaped_and_nothing_is_external(report):
    html = report.read_text()
    assert HOSTILE not in html and "&lt;script&gt;window.hacked" in html
    assert html.count("<script") == 1 and "Demo &lt;i&gt;title" in html and "&lt;b&gt;not bold" in html
    assert not re.findall(r"""<(?:img|link|script|iframe)[^>]*(?:src|href)=(?!"data:)""", html)
    assert "default-src 'none'" in html


def test_a_report_needs_no_torch(demo_run, tmp_path):
    code = (
        "import sys; from pathlib import Path; from prefine.report.stage import build; "
        f"build(Path({str(demo_run.path)!r}), Path({str(tmp_path / 'r.html')!r})); "
        "sys.exit(any(m in sys.modules for m in ('torch', 'transformers')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@needs_browser
@pytest.mark.parametrize("opened", [(1280, "light"), (1280, "dark"), (390, "light")], indirect=True)
def test_page_opens_without_errors_requests_or_sideways_scrolling(opened):
    assert opened.evaluate("window.hacked") is None
    assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert (
        opened.locator("svg.chart").count() >= 8
        and opened.locator("h1").inner_text()
        and opened.locator(".card").count() == 9
    )


@needs_browser
def test_columns_sort_both_ways(opened):
    def names():
        return [n.strip() for n in opened.locator("#runs tbody th").all_inner_texts()]

    opened.locator("#runs thead button").nth(1).click()
    assert names() == ["dpo", "simpo", "start", "pad"]
    opened.locator("#runs thead button").nth(1).click()
    assert names() == ["pad", "start", "simpo", "dpo"]


@needs_browser
def test_filters_and_order_of_responses(opened):
    opened.select_option("#family", "mt")
    assert opened.locator(".card:visible").count() == 3
    assert opened.locator("#matches").inner_text() == "3 of 9"
    opened.fill("#contains", "no such text anywhere")
    assert opened.locator(".card:visible").count() == 0
    opened.fill("#contains", "")
    opened.select_option("#family", "")
    opened.select_option("#order", index=1)
    gains = [float(c.get_attribute("data-gain").split()[0]) for c in opened.locator(".card").all()]
    assert gains == sorted(gains, reverse=True)


@needs_browser
def test_columns_sort_by_keyboard_and_say_how(opened):
    head = opened.locator("#runs thead th").nth(1)
    assert head.get_attribute("aria-sort") == "none"
    head.locator("button").focus()
    opened.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    opened.keyboard.press("Space")
    assert head.get_attribute("aria-sort") == "ascending"
    opened.keyboard.press("Tab")
    opened.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "none"
    assert opened.locator("#runs thead th").nth(2).get_attribute("aria-sort") == "descending"


SCORES = """() => [...document.querySelectorAll(".card:not([hidden])")].map((card) => Object.fromEntries(
  [...card.querySelectorAll(".answer")].map((answer) => [
    answer.querySelector("h4").textContent.match(/^[a-z]+/)[0],
    parseFloat(answer.querySelector("h4 .score").textContent),
  ])))"""


@needs_browser
def test_one_model_can_be_shown_and_the_winner_chosen(opened):
    opened.select_option("#variant", label="simpo")
    assert set(opened.locator(".answer:visible").evaluate_all("all => all.map(a => a.dataset.model)")) == {"start", "1"}
    opened.select_option("#variant", "")
    for place, name in (("start", "start"), ("0", "dpo"), ("1", "simpo"), ("2", "pad")):
        opened.select_option("#winner", place)
        for scores in opened.evaluate(SCORES):
            best = max(scores.values())
            assert scores[name] == best and list(scores.values()).count(best) == 1
    opened.select_option("#winner", "tie")
    ties = opened.locator(".card:visible").count()
    opened.select_option("#winner", "")
    by_place = 0
    for place in ("start", "0", "1", "2"):
        opened.select_option("#winner", place)
        by_place += opened.locator(".card:visible").count()
    assert by_place + ties == 9


@needs_browser
def test_every_picture_has_a_text_and_the_table_behind_it(opened):
    figures = opened.locator("figure").all()
    assert len(figures) >= 8
    for figure in figures:
        picture = figure.locator("[role=img]")
        assert picture.count() == 1 and len(picture.get_attribute("aria-label") or "") > 20
        assert figure.locator("details table tbody tr").count() >= 1
        assert (figure.locator("figcaption").text_content() or "").strip()


@needs_browser
def test_hostile_responses_are_shown_as_text(browser, tmp_path):
    run = made_up_run(tmp_path / "demo", {"dpo": 0.1, "pad": 0.0}, prompts=24, strange=True)
    out = build(run, tmp_path / "report.html", STRANGE[0] + STRANGE[2], num_examples=24)
    assert out.stat().st_size < 5_000_000 and "\u202e" not in out.read_text() and "\x1b" not in out.read_text()
    page, wrong = browser.new_page(viewport={"width": 400, "height": 800}), []
    page.on("console", lambda m: wrong.append(m.text))
    page.on("pageerror", lambda e: wrong.append(str(e)))
    page.on("request", lambda r: None if r.url.startswith(("file:", "data:")) else wrong.append(r.url))
    page.goto(out.as_uri())
    for answer in page.locator(".answer").all():
        answer.hover()
    for summary in page.locator("#cards summary").all():
        summary.click()
    assert page.evaluate("window.hacked") is None and wrong == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    text = page.locator("#cards").inner_text()
    for said in (
        STRANGE[0],
        STRANGE[1],
        STRANGE[5],
        STRANGE[6],
        "left U+202Eto right",
        "U+001B[31mred",
        "U+200Bhidden",
    ):
        assert said in text
    assert "96,000 more characters" in text
    page.fill("#contains", "</script>")
    assert 0 < page.locator(".card:visible").count() < 24
    page.close()


@needs_browser
def test_without_scripts_everything_can_be_read(browser, report):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report.as_uri())
    assert page.locator(".card:visible").count() == 9 and page.locator("svg.chart:visible").count() >= 5
    assert page.locator("form.filters:visible").count() == 0 and page.locator("#runs button").count() == 0
    page.locator("#responses summary").first.click()
    assert page.locator("#responses details[open] li:visible").count() == 4
    context.close()


@needs_browser
def test_charts_show_values_under_the_pointer(opened):
    chart = opened.locator("#training svg.chart").first
    chart.scroll_into_view_if_needed()
    chart.hover()
    assert opened.locator("#tip").is_visible()
    assert re.search(r"step \d+\s*dpo", opened.locator("#tip").inner_text())


@needs_browser
def test_pages_of_other_runs_open_too(browser, tmp_path):
    for name, options in (("bare", {"metric": False}), ("seeds", {"seeds": (0, 1)})):
        out = build(made_up_run(tmp_path / name, {"sft": 0.1}, prompts=6, **options), tmp_path / name / "report.html")
        page, wrong = browser.new_page(), []
        page.on("console", lambda m, wrong=wrong: wrong.append(m.text))
        page.on("pageerror", lambda e, wrong=wrong: wrong.append(str(e)))
        page.goto(out.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth") and wrong == []
        page.close()
