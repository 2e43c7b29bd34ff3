"""The page in a real browser: no errors, nothing loaded, no script out of data, no sideways scrolling."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from prefine.report.stage import build
from tests.report.conftest import HOSTILE, made_up_run

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
    assert opened.locator("svg.chart").count() >= 8 and opened.locator(".card").count() == 9


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
