"""The page in a real browser: votes by keyboard, reload, restart, undo, the end; hostile responses stay text."""

import shutil
from pathlib import Path

import pytest

from prefine.evaluate.arena.votes import read_votes
from tests.evaluate.arena.runs import evaluated

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (apt-get install chromium)")


@pytest.fixture(scope="module")
def browser():
    sync = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra 'dev')")
    with sync.sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser):
    """Opens an arena's page; at the end nothing may have gone wrong or been asked of another machine."""
    contexts, wrong = [], []

    def make(one, width=1280, scheme="light"):
        context = browser.new_context(viewport={"width": width, "height": 860}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.on("console", lambda m: wrong.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda e: wrong.append(str(e)))
        page.on("request", lambda r: None if r.url.startswith(("http://127.0.0.1:", "data:")) else wrong.append(r.url))
        page.goto(one.server.url)
        page.locator("#duel:visible, #end:visible").wait_for()
        return page

    yield make
    for context in contexts:
        context.close()
    assert wrong == []


def reached(page, text):
    page.locator("#count", has_text=text).wait_for()
    return page.locator("#left").inner_text(), page.locator("#right").inner_text()


def outcomes(one):
    by_id = {d.id: d for d in one.duels}
    return [{by_id[v.duel].left: "left"}.get(v.outcome, v.outcome) for v in read_votes([one.ballot.path])]


def test_votes_by_keyboard_reload_restart_undo_and_the_end(opened, runs, visit):
    first = opened(runs / "a", runs / "b")
    page = visit(first)
    shown = [reached(page, "Pair 1 of 6")]
    for n, key in enumerate(("1", "ArrowRight", "t"), 2):
        page.keyboard.press(key)
        shown.append(reached(page, f"Pair {n} of 6"))
    assert shown == [tuple(c.text for c in d.sides) for d in first.duels[:4]]
    assert [v.outcome for v in first.ballot.votes] == [
        first.duels[0].left,
        {"a": "b", "b": "a"}[first.duels[1].left],
        "tie",
    ]

    page.reload()
    assert reached(page, "Pair 4 of 6") == shown[3]
    page.keyboard.press("u")
    assert reached(page, "Pair 3 of 6") == shown[2] and len(first.ballot.votes) == 2
    page.keyboard.press("s")
    reached(page, "Pair 4 of 6, 1 skipped")
    first.stop()

    second = opened(runs / "a", runs / "b")
    page = visit(second)
    assert reached(page, "Pair 4 of 6, 1 skipped") == shown[3]
    for n in (5, 6):
        page.keyboard.press("ArrowLeft")
        reached(page, f"Pair {n} of 6")
    page.keyboard.press("2")
    page.get_by_role("heading", name="All pairs are done").wait_for()
    assert "dpo" not in page.content() and page.locator("#votes").is_hidden()
    page.get_by_role("button", name="Show skipped pairs again").click()
    assert reached(page, "Pair 6 of 6") == shown[2]
    page.keyboard.press("u")  # back to the last vote, and forth again
    reached(page, "Pair 5 of 6")
    page.keyboard.press("2")
    reached(page, "Pair 6 of 6")
    page.keyboard.press("1")
    page.get_by_role("button", name="Show the result").click()
    table = page.locator("#result table")
    table.wait_for()
    assert table.locator("tbody th").all_inner_texts() == ["a", "b"]
    wins = [v.outcome for v in second.ballot.votes].count("a")
    assert table.locator("tbody td").nth(2).inner_text() == str(wins)
    page.keyboard.press("u")
    page.wait_for_timeout(100)
    assert len(second.ballot.votes) == 6


def test_buttons_vote_and_keys_can_be_turned_off(opened, runs, visit):
    one = opened(runs / "a", runs / "b")
    page = visit(one)
    page.get_by_label("Keyboard shortcuts").uncheck()
    page.keyboard.press("1")
    page.keyboard.press("Tab")
    page.get_by_role("button", name="Tie").click()
    reached(page, "Pair 2 of 6")
    page.get_by_label("Keyboard shortcuts").check()
    page.keyboard.press("Control+1")
    page.get_by_role("button", name="Response 2").focus()
    page.keyboard.press("Enter")
    reached(page, "Pair 3 of 6")
    assert [v.outcome for v in one.ballot.votes] == ["tie", {"a": "b", "b": "a"}[one.duels[1].left]]


def test_a_key_that_is_held_down_votes_once(opened, runs, visit):
    one = opened(runs / "a", runs / "b")
    page = visit(one)
    page.keyboard.down("1")
    for _ in range(5):
        page.keyboard.down("1")
    page.keyboard.up("1")
    reached(page, "Pair 2 of 6")
    assert len(one.ballot.votes) == 1


HOSTILE = {
    0: '<script>window.hacked = 1</script><img src="http://evil.example/x.png" onerror="window.hacked = 2">',
    1: "\u202eright to left\u202c and \u2067isolated, unclosed \u202e",
    2: "zero\u200bwidth \ufeff\u2060 \x1b[31mred\x1b[0m \x07bell",
    3: "x" * 100_000,
    4: "Z" + "\u0301" * 3000 + "\n" * 300 + "end",
    5: "</style><style>body{display:none}</style>&lt;b&gt; ${1} {{2}} \u05e9\u05dc\u05d5\u05dd",
}


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_hostile_responses_are_text_and_stay_on_their_side(opened, tmp_path, visit, width, scheme):
    evaluated(tmp_path / "a", "dpo", {i: "a plain response" for i in HOSTILE})
    evaluated(tmp_path / "b", "sft", HOSTILE, cut=True)
    one = opened(tmp_path / "a", tmp_path / "b")
    page = visit(one, width, scheme)
    places = set()
    for n, duel in enumerate(one.duels, 1):
        reached(page, f"Pair {n} of 6")
        side = "left" if duel.sides[0].text != "a plain response" else "right"
        other = {"left": "right", "right": "left"}[side]
        text = duel.b.text
        shown = page.locator(f"#{side}").inner_text()
        assert page.locator(f"#{other}").inner_text() == "a plain response"
        assert page.locator(f"#cut-{side}").is_visible() and page.locator(f"#cut-{other}").is_hidden()
        if "\u202e" in text:
            assert "\u202e" not in shown and shown.count("U+202E") == 2 and "U+2067" in shown
        elif "\u200b" in text:
            assert shown == "zeroU+200Bwidth U+FEFFU+2060 U+001B[31mredU+001B[0m U+0007bell"
        else:
            assert page.locator(f"#{side}").text_content() == text
        panel, plain = (page.locator(f"#{s}").bounding_box() for s in (side, other))
        assert panel["width"] == plain["width"] and panel["height"] <= 860 * 0.8
        if width > 700:
            assert panel["y"] == plain["y"]
            places.add((plain["y"], plain["width"]))
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert page.locator(f"#{side}").evaluate("e => e.scrollWidth <= e.clientWidth")  # lines are broken
        assert page.locator("footer").is_visible() and page.evaluate("window.hacked === undefined")
        page.keyboard.press("t")
    assert len(places) <= 1
    page.get_by_role("heading", name="All pairs are done").wait_for()


def test_a_stopped_server_is_said(opened, runs, browser):
    one = opened(runs / "a", runs / "b")
    page = browser.new_page()
    page.goto(one.server.url)
    page.locator("#duel:visible").wait_for()
    one.stop()
    page.keyboard.press("1")
    page.get_by_role("alert").filter(has_text="Every vote so far is stored").wait_for()
    page.close()


def test_an_empty_response_is_said(opened, tmp_path, visit):
    evaluated(tmp_path / "a", "dpo", {0: ""}, start={0: "something"})
    page = visit(opened(tmp_path / "a"))
    assert "an empty response" in reached(page, "Pair 1 of 1")


def test_names_for_those_who_listen(opened, runs, visit):
    page = visit(opened(runs / "a", runs / "b"))
    assert page.get_by_role("region", name="Prompt").is_visible()
    for name in ("Response 1", "Response 2"):
        assert page.get_by_role("region", name=name).is_visible()
        assert page.get_by_role("button", name=name).is_visible()
    assert page.get_by_role("status").inner_text() == "Pair 1 of 6"
    assert page.get_by_role("progressbar", name="Pair 1 of 6").is_visible()
    assert Path(page.url.rstrip("/")).name not in page.content()
