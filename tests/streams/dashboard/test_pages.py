"""The pages in a real browser over a real server: what arrives, what follows, what heals, and for whom it can be used."""

from __future__ import annotations

import re
import time
import wave
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streams.dashboard.pages import create_app
from streams.records import SessionEnd
from streams.subscriptions.app import Service
from streams.subscriptions.feed import Feed
from tests.streams.dashboard.calls import RULES, replayed
from tests.streams.dashboard.conftest import Browser
from tests.streams.egress.scenario import right_to_left, round_table, support_call
from tests.streams.subscriptions.conftest import begun, said, served

pytestmark = pytest.mark.integration
SERIOUS = ("serious", "critical")
HOSTILE = '<img src=x onerror="window.broken=1"></script><script>window.broken=1</script>'


def words_of(page: Any) -> list[str]:
    found: list[str] = page.locator(".turn .said").all_inner_texts()
    return found


def test_a_live_call_arrives_on_the_overview_and_the_one_that_needs_somebody_comes_first(browser: Browser) -> None:
    feed = Feed(rules=RULES)
    with served(create_app(Service(feed))) as url:
        def steps(page: Any) -> None:
            page.goto(url)
            page.get_by_text("No calls yet").wait_for()
            feed.open(begun("calm"))
            feed.event(said("calm", 0, 3, words="good morning"))
            page.locator(".call", has_text="calm.wav").get_by_text("neutral 0.80").wait_for()
            feed.open(begun("heated"))
            feed.event(said("heated", 0, 3))
            feed.event(said("heated", 3, 9, "anger", words=HOSTILE))
            page.locator(".call.urgent", has_text="angry customer").wait_for()
            assert page.locator(".call .id a").all_inner_texts() == ["heated.wav", "calm.wav"]
            assert page.locator("#story").inner_text() == "One call needs you now: heated (angry customer)"
            assert HOSTILE in page.locator(".call.urgent .last").inner_text() and page.evaluate("window.broken") is None
            assert page.locator("#open-count").inner_text() == "1" and page.title().startswith("(1)")
            page.keyboard.press("j")
            page.keyboard.press("Enter")
            page.wait_for_url("**/calls/heated")
            feed.end(SessionEnd("heated"))
            feed.end(SessionEnd("calm"))
            page.goto(url)
            page.get_by_text("No call is live; 2 finished").wait_for()

        browser.run(steps)


def test_the_page_of_a_call_follows_and_a_reload_loses_nothing(browser: Browser) -> None:
    feed = Feed(rules=RULES)
    feed.open(begun("a"))
    feed.event(said("a", 0, 2, words="first words"))
    with served(create_app(Service(feed))) as url:
        def steps(page: Any) -> None:
            page.goto(f"{url}/calls/a")
            page.locator(".turn", has_text="first words").wait_for()
            feed.event(said("a", 3, 4, words="half a sent", partial=1))
            page.locator(".turn.partial", has_text="half a sent").wait_for()
            feed.event(said("a", 3, 6, "anger", words="half a sentence, whole now"))
            page.locator('.turn[aria-current="true"]', has_text="whole now").wait_for()
            assert page.locator(".turn.partial").count() == 0
            assert "anger" in page.locator("#panel .what").inner_text()
            page.locator('body[data-charts="ready"]').wait_for()
            page.locator(".turn", has_text="first words").click()
            assert page.locator("#follow").get_attribute("aria-pressed") == "false"
            address = page.url
            feed.event(said("a", 7, 9, words=HOSTILE))
            page.locator(".turn", has_text="<img").wait_for()
            assert page.locator('.turn[aria-current="true"]').inner_text().startswith("0:00")
            page.reload()
            page.locator(".turn", has_text="<img").wait_for()
            assert page.url == address and words_of(page) == ["first words", "half a sentence, whole now", HOSTILE]
            assert "first words" in page.locator('.turn[aria-current="true"]').inner_text()
            page.keyboard.press("j")
            assert "whole now" in page.locator('.turn[aria-current="true"]').inner_text()
            page.keyboard.press("f")
            assert "<img" in page.locator("#panel blockquote").inner_text() and page.evaluate("window.broken") is None

        browser.run(steps)


def test_an_alert_fires_is_announced_acknowledged_by_key_and_closes(browser: Browser) -> None:
    feed = Feed(rules=RULES)
    feed.open(begun("a"))
    with served(create_app(Service(feed))) as url:
        def steps(page: Any) -> None:
            page.goto(f"{url}/alerts")
            page.get_by_text("No alert has fired").wait_for()
            feed.event(said("a", 0, 6, "anger", words="this is enough"))
            page.locator(".alert.open", has_text="angry customer").wait_for()
            assert "Alert angry customer: a" in page.locator("#said").inner_text()
            page.keyboard.press("a")
            assert page.evaluate("document.activeElement.id") == "by"
            page.keyboard.type("Ann Lee")
            page.keyboard.press("Tab")
            page.locator("body").press("j")
            page.keyboard.press("a")
            page.locator(".alert.taken", has_text="Taken by Ann Lee").wait_for()
            assert page.locator("#story").inner_text() == "1 open, all taken"
            feed.event(said("a", 10, 12))
            page.locator(".alert.closed").wait_for()
            page.reload()
            page.get_by_text("Taken by Ann Lee").wait_for()
            page.locator(".alert summary").click()
            page.locator(".cited a").first.click()
            page.wait_for_url(re.compile(r"/calls/a#t=0&e="))
            page.locator('.turn[aria-current="true"]', has_text="this is enough").wait_for()

        browser.run(steps)


def test_an_acknowledgement_that_cannot_be_kept_is_said_and_the_alert_stays_open(browser: Browser) -> None:
    feed = Feed(rules=RULES)
    feed.open(begun("a"))
    feed.event(said("a", 0, 6, "anger"))
    with served(create_app(Service(feed))) as url:
        def steps(page: Any) -> None:
            page.goto(f"{url}/alerts")
            page.get_by_label("Your name").fill("Ann Lee")
            full = {"error": "the acknowledgement could not be kept", "cure": "try again"}
            page.route("**/acknowledge", lambda route: route.fulfill(status=503, json=full))
            page.get_by_role("button", name="Acknowledge").click()
            page.get_by_role("alert").filter(has_text="Not taken: the acknowledgement could not be kept").wait_for()
            assert page.locator(".alert.open:not(.taken)").count() == 1
            page.unroute("**/acknowledge")
            page.get_by_role("button", name="Acknowledge").click()
            page.locator(".alert.taken", has_text="Taken by Ann Lee").wait_for()
            assert not page.get_by_role("alert").is_visible()

        browser.run(steps, expected=("503",))


def test_a_broken_connection_says_so_and_heals_without_loss(browser: Browser) -> None:
    feed = Feed()
    feed.open(begun("a"))
    feed.event(said("a", 0, 2, words="before"))
    first = served(create_app(Service(feed)))
    url = first.__enter__()

    def steps(page: Any) -> None:
        page.goto(f"{url}/calls/a")
        page.locator(".turn", has_text="before").wait_for()
        page.locator('#link[data-state="live"]').wait_for()
        first.__exit__(None, None, None)
        page.locator("#link-text", has_text=re.compile(r"live again in \d+ s; nothing is lost")).wait_for()
        feed.event(said("a", 3, 5, words="in between"))
        feed.event(said("a", 6, 8, words="and more"))
        with served(create_app(Service(feed)), int(url.rsplit(":", 1)[1])):
            page.locator('#link[data-state="live"]').wait_for()
            page.locator(".turn", has_text="and more").wait_for()
            feed.event(said("a", 9, 11, words="after"))
            page.locator(".turn", has_text="after").wait_for()
            assert words_of(page) == ["before", "in between", "and more", "after"]

    browser.run(steps, expected=("WebSocket connection", "Failed to load resource", "ERR_CONNECTION"))


def test_axis_transcript_evidence_and_playback_are_one_selection(browser: Browser, tmp_path: Path) -> None:
    recording = tmp_path / "a.wav"
    with wave.open(str(recording), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(2 * 8000 * 190))
    feed = Feed(rules=RULES)
    replayed(feed, "a", support_call(3), media=recording)
    with served(create_app(Service(feed))) as url:
        def steps(page: Any) -> None:
            page.goto(f"{url}/calls/a")
            page.wait_for_function("() => document.getElementById('media')?.readyState > 0")
            page.locator(".turn").nth(8).click()
            chosen = page.locator(".turn").nth(8).get_attribute("data-id")
            assert page.evaluate("document.querySelector('.sp.on').dataset.id") == chosen and chosen in page.url
            at = float(re.search(r"t=([\d.]+)", page.url)[1])  # type: ignore[index]
            assert abs(page.evaluate("document.getElementById('media').currentTime") - at) < 0.1
            page.locator(f'.sp[data-id="{page.locator(".turn").nth(3).get_attribute("data-id")}"]').click()
            assert page.locator(".turn").nth(3).get_attribute("aria-current") == "true"
            page.evaluate("document.getElementById('media').playbackRate = 8")
            page.locator("h1").click()
            page.keyboard.press(" ")
            page.wait_for_function(f"() => document.getElementById('media').currentTime > {at + 10}")
            page.wait_for_function("() => document.querySelector('.turn.now')?.getAttribute('aria-current') === 'true'")
            page.keyboard.press(" ")
            assert page.evaluate("document.getElementById('media').paused")
            page.keyboard.press("ArrowLeft")
            page.get_by_role("link", name="report").click()
            page.wait_for_url("**/report")
            assert page.locator("h1").inner_text()

        browser.run(steps, expected=("sandbox", "Blocked", "ERR_"))


def test_each_curve_stands_in_the_row_of_its_person(browser: Browser) -> None:
    feed = Feed()
    replayed(feed, "table", round_table(5, 2), ended=False)
    truth: dict[str, list[float]] = {}
    for event in sorted(round_table(5, 2), key=lambda e: e.start_ms):
        if event.valence is not None:
            truth.setdefault(event.participant, []).append(event.valence)
    read = """() => Object.fromEntries([...document.querySelectorAll('.lane.part')].map(lane => {
        const box = lane.querySelector('.curve'), doc = Bokeh.documents.at(-1), roots = doc.roots();
        const views = roots.map(r => Bokeh.index.get_by_id ? Bokeh.index.get_by_id(r.id) : Bokeh.index[r.id]);
        const at = views.findIndex(v => v && box.contains(v.el));
        return [lane.dataset.p, [...roots[at].renderers.at(-1).data_source.data.y0]];
    }))"""
    with served(create_app(Service(feed))) as url:
        def steps(page: Any) -> None:
            page.goto(f"{url}/calls/table")
            page.locator('body[data-charts="ready"]').wait_for()
            assert page.evaluate(read) == truth
            late = msgspec.structs.replace(round_table(5, 2)[0], id="f" * 16, session="table", start_ms=150_000, end_ms=152_000, valence=-0.9)
            feed.event(late)
            page.wait_for_function(f"() => ({read})()[{late.participant!r}].at(-1) === -0.9")

        browser.run(steps)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_has_a_serious_accessibility_fault_or_scrolls_sideways(browser: Browser, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    feed = Feed(rules=RULES)
    replayed(feed, "done", support_call(4))
    replayed(feed, "live", support_call(3, seed=3), ended=False)
    replayed(feed, "table", round_table(8, 2), ended=False)
    replayed(feed, "rtl", right_to_left())
    replayed(feed, "long", support_call(25))
    feed.open(begun("fresh"))
    feed.timed("live", 1, 9_000)
    feed.event(said("live", 500, 510, "anger"))
    paths = ("/", "/calls/live", "/calls/table", "/calls/rtl", "/calls/long", "/calls/fresh", "/alerts", "/search?q=number", "/compare?a=done&b=live", "/calls/none")
    narrow = (390, 844) if scheme == "light" else (1440, 900)
    with served(create_app(Service(feed))) as url:
        def steps(page: Any) -> None:
            for path in paths:
                page.goto(url + path)
                page.wait_for_function("() => !document.querySelector('main').innerText.includes('Reading the')")
                page.wait_for_timeout(400)
                if path == "/calls/live":
                    feed.event(said("live", 512, 515, "anger", words="and another", partial=round(time.time()) % 900 + 1))
                    page.locator(".turn.partial").wait_for()
                faults = [(v["id"], v["nodes"][0]["html"][:120]) for v in axe.Axe().run(page).response["violations"] if v["impact"] in SERIOUS]
                assert faults == [], path
                assert page.evaluate("document.documentElement.scrollWidth") <= narrow[0], path

        browser.run(steps, scheme=scheme, size=narrow, expected=("404",))


def test_every_key_of_the_list_does_what_it_says(browser: Browser, tmp_path: Path) -> None:
    recording = tmp_path / "a.wav"
    with wave.open(str(recording), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(2 * 8000 * 190))
    feed = Feed(rules=RULES)
    replayed(feed, "a", support_call(3), media=recording)
    feed.open(begun("b"))
    feed.event(said("b", 0, 3))
    feed.event(said("b", 4, 12, "anger"))
    chosen = "document.querySelector('.turn[aria-current=\"true\"]').dataset.id"
    with served(create_app(Service(feed))) as url:
        def steps(page: Any) -> None:
            page.goto(url)
            page.locator(".call").nth(1).wait_for()
            page.keyboard.press("Tab")
            assert page.evaluate("document.activeElement.className") == "skip"
            page.keyboard.press("?")
            page.get_by_role("dialog", name="Keys").wait_for()
            listed = page.locator("#keys kbd").all_inner_texts()
            assert listed == ["J", "K", "Enter", "A", "←", "→", "Space", "F", "+", "−", "0", "Esc", "?"]
            page.keyboard.press("Escape")
            page.keyboard.press("j")
            page.keyboard.press("j")
            assert page.evaluate("document.activeElement.innerText") == "a.wav"
            page.keyboard.press("k")
            assert page.evaluate("document.activeElement.innerText") == "b.wav"
            page.keyboard.press("a")
            page.wait_for_url("**/alerts")
            page.locator(".alert").first.wait_for()
            page.keyboard.press("j")
            assert page.evaluate("document.activeElement.className").startswith("alert open")
            page.keyboard.press("Enter")
            page.wait_for_url("**/calls/b#**")
            page.locator('.turn[aria-current="true"]').wait_for()
            page.keyboard.press("k")
            assert page.locator("#follow").get_attribute("aria-pressed") == "false"
            page.keyboard.press("f")
            assert page.locator("#follow").get_attribute("aria-pressed") == "true"

            page.goto(f"{url}/calls/a")
            page.wait_for_function("() => document.getElementById('media')?.readyState > 0 && document.body.dataset.charts")
            before = page.evaluate(chosen)
            page.keyboard.press("j")
            assert page.evaluate(chosen) != before
            page.keyboard.press("k")
            assert page.evaluate(chosen) == before
            position = "Number(document.querySelector('.ruler').getAttribute('aria-valuenow'))"
            at = page.evaluate(position)
            for key, moved in (("ArrowRight", 1), ("Shift+ArrowRight", 11), ("ArrowLeft", 10), ("Shift+ArrowLeft", 0)):
                page.keyboard.press(key)
                assert page.evaluate(position) == at + moved
            span = "Number(document.getElementById('lanes').style.getPropertyValue('--span'))"
            whole = page.evaluate(span)
            page.keyboard.press("+")
            page.keyboard.press("+")
            assert page.evaluate(span) < whole / 3
            page.keyboard.press("-")
            assert page.evaluate(span) < whole * 0.6
            page.keyboard.press("0")
            assert page.evaluate(span) == whole
            page.keyboard.press(" ")
            page.wait_for_function("() => !document.getElementById('media').paused")
            page.keyboard.press(" ")
            assert page.evaluate("document.getElementById('media').paused")
            assert page.evaluate("Math.max(...[...document.querySelectorAll('[tabindex]')].map(n => n.tabIndex))") == 0  # the order of the page

            page.goto(f"{url}/search?q=order&label=neutral")
            page.locator(".hit").first.wait_for()
            page.keyboard.press("j")
            page.keyboard.press("Enter")
            page.wait_for_url("**/calls/a#**")
            page.locator('.turn[aria-current="true"]').wait_for()

        browser.run(steps)


def test_what_covers_the_page_on_a_telephone_is_closed_by_escape(browser: Browser) -> None:
    feed = Feed()
    replayed(feed, "a", support_call(1))
    with served(create_app(Service(feed))) as url:
        def steps(page: Any) -> None:
            page.goto(f"{url}/calls/a")
            page.locator(".turn").nth(1).click()
            page.locator("#evidence").wait_for()
            page.keyboard.press("Escape")
            page.locator("#evidence").wait_for(state="hidden")
            page.locator("#marks summary").click()
            page.locator("#legend").wait_for()

        browser.run(steps, size=(390, 844))


def test_a_token_keeps_visitors_out_until_they_sign_in(browser: Browser) -> None:
    feed = Feed()
    replayed(feed, "a", support_call(1))
    with served(create_app(Service(feed, token="a long secret"))) as url:
        def steps(page: Any) -> None:
            page.goto(url)
            page.get_by_label("Token").fill("wrong")
            page.get_by_role("button", name="Sign in").click()
            page.get_by_text("the token is not valid here").wait_for()
            page.get_by_label("Token").fill("a long secret")
            page.get_by_role("button", name="Sign in").click()
            page.locator(".call", has_text="a.wav").wait_for()
            page.locator('#link[data-state="live"]').wait_for()
            cookie = page.context.cookies()[0]
            assert cookie["httpOnly"] and cookie["sameSite"] == "Strict" and page.evaluate("document.cookie") == ""
            page.context.clear_cookies()
            page.goto(f"{url}/alerts?token=a+long+secret")
            page.wait_for_url(f"{url}/alerts")
            page.get_by_text("No alert has fired").wait_for()

        browser.run(steps, expected=("401",))
