"""Every state that a call can be in has a look of its own: nothing there yet, nobody to hear, too much to draw, not sure, not allowed."""

from __future__ import annotations

import re
import time
from typing import Any

import msgspec
import pytest

from fusion.events import EmotionEvent
from streams.dashboard.pages import create_app
from streams.subscriptions.app import Service
from streams.subscriptions.feed import Feed
from tests.streams.dashboard.calls import RULES, replayed
from tests.streams.dashboard.conftest import Browser
from tests.streams.egress.scenario import right_to_left, round_table, support_call
from tests.streams.subscriptions.conftest import begun, said, served

pytestmark = pytest.mark.integration
READY = "() => document.body.dataset.state === 'ready'"
DRAWN = "() => document.body.dataset.state === 'ready' && document.body.dataset.charts"


def shown(page: Any, address: str) -> None:
    page.goto(address)
    page.wait_for_function(DRAWN)


def background(page: Any, selector: str) -> str:
    found: str = page.locator(selector).first.evaluate("node => getComputedStyle(node).backgroundImage")
    return found


def test_while_a_call_is_read_the_page_says_so_and_shows_where_things_will_stand(browser: Browser) -> None:
    feed = Feed()
    replayed(feed, "a", support_call(1))
    with served(create_app(Service(feed))) as url:
        def steps(page: Any) -> None:
            held: list[Any] = []
            page.route("**/v1/sessions/a", lambda route: held.append(route))
            page.goto(f"{url}/calls/a")
            page.get_by_role("heading", name="Reading the call…").wait_for()
            assert page.locator(".skeleton").is_visible() and page.locator('#panel [role="status"]').inner_text() == "Reading the call…"
            assert not page.locator("#tools").is_visible()
            held[0].continue_()
            page.wait_for_function(READY)
            assert page.locator(".skeleton").count() == 0 and page.locator("#tools").is_visible()

        browser.run(steps)


def test_a_server_that_is_not_there_yet_is_waited_for_and_asked_at_once_when_wanted(browser: Browser) -> None:
    feed = Feed()
    replayed(feed, "a", support_call(1))
    with served(create_app(Service(feed))) as url:
        def steps(page: Any) -> None:
            page.route("**/v1/sessions?*", lambda route: route.abort())
            page.goto(url)
            page.locator("#link-text", has_text=re.compile(r"live again in \d+ s; nothing is lost")).wait_for()
            assert page.locator("#link").bounding_box()["width"] > 1000  # a strip over the page, not a small word
            page.unroute("**/v1/sessions?*")
            page.get_by_role("button", name="Try now").click()
            page.locator(".call", has_text="a.wav").wait_for()

        browser.run(steps, expected=("ERR_FAILED",))


def test_a_live_call_in_which_nothing_happened_yet_says_what_will_come(browser: Browser) -> None:
    feed = Feed()
    feed.open(begun("a"))
    with served(create_app(Service(feed))) as url:
        def steps(page: Any) -> None:
            shown(page, f"{url}/calls/a")
            assert page.locator("#story").inner_text() == "Nothing was said and no face was seen yet."
            assert page.locator(".lane.part").all_inner_texts() == ["nothing yet", "nothing yet"]
            assert page.get_by_text("Nobody has spoken and no face was seen yet.").is_visible()
            assert "with the first words" in page.locator("#panel").inner_text()
            assert not page.locator("#marks").is_visible() and not page.locator("#seek").is_visible()
            feed.event(said("a", 0, 2, words="hello"))
            page.locator(".turn", has_text="hello").wait_for()
            page.locator("#legend", has_text="neutral").wait_for()
            assert page.locator("#now").inner_text().startswith("Customer")

        browser.run(steps)


def test_a_call_without_picture_says_so_and_has_no_row_of_faces(browser: Browser) -> None:
    feed = Feed()
    replayed(feed, "a", support_call(1, video=False))
    with served(create_app(Service(feed))) as url:
        def steps(page: Any) -> None:
            shown(page, f"{url}/calls/a")
            assert "sound without picture" in page.locator("#about").inner_text()
            page.locator(".turn", has_text="Customer").first.click()
            assert "no picture in this recording" in page.locator("#panel").inner_text() and page.locator(".faces").count() == 0

        browser.run(steps)


def test_a_recording_without_sound_shows_what_was_seen_and_no_talk(browser: Browser) -> None:
    feed = Feed()
    seen = [event for event in support_call(10) if event.kind == "face"]
    replayed(feed, "a", seen, audio=(), video=("video/0",))
    with served(create_app(Service(feed))) as url:
        def steps(page: Any) -> None:
            shown(page, f"{url}/calls/a")
            assert "picture without sound" in page.locator("#about").inner_text()
            assert page.get_by_role("heading", name="What was seen").is_visible() and page.locator(".talk").count() == 0
            assert page.locator(".turn").count() == len(seen) and not page.locator("#seek").is_visible()

        browser.run(steps)


def test_one_participant_who_writes_from_right_to_left_reads_from_the_right(browser: Browser) -> None:
    feed = Feed()
    replayed(feed, "a", right_to_left())
    with served(create_app(Service(feed))) as url:
        def steps(page: Any) -> None:
            shown(page, f"{url}/calls/a")
            assert page.locator(".lane.part").count() == 1 and "rows as above" not in page.locator("#lanes").inner_text()
            said_there = page.locator(".turn .said").first
            assert said_there.evaluate("node => getComputedStyle(node).direction") == "rtl" and said_there.get_attribute("lang") == "ur"
            right = "node => { const r = document.createRange(); r.selectNodeContents(node); return node.getBoundingClientRect().right - r.getBoundingClientRect().right; }"
            assert said_there.evaluate(right) < 2
            assert page.locator("#panel blockquote").evaluate("node => getComputedStyle(node).direction") == "rtl"
            assert page.locator("#lanes").evaluate("node => getComputedStyle(node).direction") == "ltr"  # time goes one way

        browser.run(steps)


def test_eight_participants_keep_the_transcript_on_the_screen(browser: Browser) -> None:
    feed = Feed()
    replayed(feed, "a", round_table(8, 3))
    with served(create_app(Service(feed))) as url:
        def steps(page: Any) -> None:
            shown(page, f"{url}/calls/a")
            assert page.locator(".lane.part").count() == 8
            assert page.locator("#h-said").bounding_box()["y"] < 860
            page.locator(".stagebox").focus()
            page.keyboard.press("End")
            page.wait_for_function("() => document.querySelector('.stagebox').scrollTop > 50")
            ruler, box = page.locator(".ruler").bounding_box(), page.locator(".stagebox").bounding_box()
            assert abs(ruler["y"] - box["y"]) < 3  # the time stays in sight

        browser.run(steps)


def test_a_call_of_three_hours_stays_small_in_the_page_and_is_all_there(browser: Browser) -> None:
    feed = Feed()
    events = support_call(180)
    late = max(e.end_ms for e in events) / 1000 + 2
    replayed(feed, "a", [*events, said("a", late, late + 3, words="the very last words")], ended=False)
    with served(create_app(Service(feed))) as url:
        def steps(page: Any) -> None:
            shown(page, f"{url}/calls/a")
            nodes = "() => document.querySelectorAll('*').length"
            assert page.evaluate(nodes) < 5000 and page.locator(".turn").count() < 80
            assert page.locator(".turn").last.locator(".said").inner_text() == "the very last words"
            page.locator("#turns").evaluate("box => { box.scrollTop = box.scrollHeight / 2; }")
            page.wait_for_function("() => /^1:[23]/.test(document.querySelector('.turn').innerText)")
            assert page.evaluate(nodes) < 5000
            first = page.locator(".turn").first
            assert int(first.locator("..").get_attribute("aria-posinset")) > 1000
            first.click()
            page.locator("h1").click()
            page.keyboard.press("j")
            assert page.locator('.turn[aria-current="true"]').is_visible()
            strip = page.get_by_role("slider", name="Part of the call that is shown")
            strip.focus()
            page.keyboard.press("Home")
            assert strip.get_attribute("aria-valuetext").startswith("0:00 to 10:0")
            page.keyboard.press("PageDown")
            assert int(strip.get_attribute("aria-valuenow")) > 500
            assert page.locator(".sp[data-id]").count() < 800
            page.locator("h1").click()
            page.keyboard.press("0")
            page.wait_for_function("() => document.querySelectorAll('.strip').length === 0")
            assert page.locator(".sp.cell").count() > 20 and page.evaluate(nodes) < 5000
            page.get_by_role("searchbox", name="Find words in the transcript").fill("the very last")
            page.keyboard.press("Enter")
            page.locator('.turn[aria-current="true"]', has_text="the very last words").wait_for()
            page.locator("h1").click()
            page.keyboard.press("f")
            feed.event(said("a", late + 5, late + 8, words="and one more"))
            page.locator('.turn[aria-current="true"]', has_text="and one more").wait_for()

        browser.run(steps)


def test_who_is_withheld_has_an_outline_a_lock_and_the_reason(browser: Browser) -> None:
    feed = Feed()
    replayed(feed, "a", support_call(1))
    with served(create_app(Service(feed))) as url:
        def steps(page: Any) -> None:
            shown(page, f"{url}/calls/a")
            row = page.locator('.lane.part[data-p="agent"]')
            assert "withheld: employees are not emotion-analysed" in row.inner_text() and row.locator(".lock").count() >= 1
            assert row.locator(".sp").first.evaluate("node => getComputedStyle(node).borderTopStyle") == "dashed" and row.locator(".curve").count() == 0
            page.locator(".turn", has_text="Agent").first.click()
            panel = page.locator("#panel").inner_text()
            assert "No emotion is inferred here: employees are not emotion-analysed" in panel and "Probability" not in panel

        browser.run(steps)


def changed(events: list[EmotionEvent], name: str, **use: Any) -> list[EmotionEvent]:
    """The events with another use of one modality."""
    return [
        msgspec.structs.replace(e, modalities=e.modalities | {name: msgspec.structs.replace(e.modalities[name], **use)}) if name in e.modalities else e
        for e in events
    ]


def test_abstention_is_hatched_and_poor_quality_says_which(browser: Browser) -> None:
    feed = Feed()
    events = support_call(1)
    first = next(e for e in events if e.label)
    unsure = [msgspec.structs.replace(e, label="unknown") if e.id == first.id else e for e in events]
    replayed(feed, "a", changed(unsure, "face", present=False, weight=0.0, reason="face not usable (turned away, dark)"))
    replayed(feed, "b", changed(events, "speech", quality=0.23))
    with served(create_app(Service(feed))) as url:
        def steps(page: Any) -> None:
            shown(page, f"{url}/calls/a#e={first.id}")
            assert "gradient" in background(page, f'.sp[data-id="{first.id}"]')
            panel = page.locator("#panel").inner_text()
            assert "The system abstains" in panel and "face: not usable (turned away, dark)" in panel
            assert page.locator(".sp.poor").count() > 0 and "poor picture or sound" in page.locator("#legend").inner_text()
            shown(page, f"{url}/calls/b#e={first.id}")
            page.locator("#panel", has_text="voice: poor quality, 0.23 of 1").wait_for()

        browser.run(steps)


def test_half_said_words_are_provisional_until_the_final_event_and_nobody_is_told_of_each(browser: Browser) -> None:
    feed = Feed(rules=RULES)
    feed.open(begun("a"))
    feed.event(said("a", 0, 2, words="first words"))
    with served(create_app(Service(feed))) as url:
        def steps(page: Any) -> None:
            shown(page, f"{url}/calls/a")
            page.locator(".turn", has_text="first words").wait_for()
            told = page.locator("#said").inner_text()
            for step, words in enumerate(("I want", "I want my", "I want my money")):
                feed.event(said("a", 3, 4 + 2 * step, "anger", words=words, partial=step + 1))
                page.locator(".turn.partial", has_text=f"{words} …").wait_for()
            assert page.locator(".turn.partial").count() == 1 and "so far anger" in page.locator(".turn.partial").inner_text()
            assert page.locator(".sp.soft").count() == page.locator(".tk.soft").count() == 1
            assert page.locator(".sp.soft").evaluate("node => getComputedStyle(node).borderTopStyle") == "dotted"
            assert "so far anger" not in page.locator("#now").inner_text() and page.locator("#said").inner_text() == told
            page.reload()
            page.wait_for_function(READY)
            feed.event(said("a", 3, 9, "anger", words="I want my money back", partial=9))
            page.locator(".turn.partial", has_text="money back").wait_for()
            feed.event(said("a", 3, 9, "anger", words="I want my money back."))
            page.locator('.turn[aria-current="true"]', has_text="I want my money back.").wait_for()
            assert page.locator(".turn.partial, .lane .soft").count() == 0 and page.locator(".turn").count() == 2
            feed.event(said("a", 3, 9, "anger", words="too late", partial=10))
            page.locator("#now", has_text="anger").wait_for()
            assert page.locator(".turn.partial").count() == 0

        browser.run(steps)


def test_the_overview_does_not_move_for_half_said_words(browser: Browser) -> None:
    feed = Feed()
    feed.open(begun("a"))
    feed.event(said("a", 0, 2, words="first words"))
    with served(create_app(Service(feed))) as url:
        def steps(page: Any) -> None:
            page.goto(url)
            page.locator(".call").wait_for()
            page.evaluate("""() => { window.moved = 0; new MutationObserver(all => { window.moved += all.length; }).observe(
                document.querySelector('.call .now'), { childList: true, subtree: true, characterData: true }); }""")
            for step in range(5):
                feed.event(said("a", 3, 4 + step, "anger", partial=step + 1))
                page.wait_for_timeout(250)
            assert page.evaluate("window.moved") == 0 and "first words" in page.locator(".call .last").inner_text()
            feed.event(said("a", 3, 9, "anger"))
            page.locator(".call .now", has_text="anger 0.80").wait_for()

        browser.run(steps)


def test_a_turn_is_a_marker_and_a_sentence_with_what_preceded_it(browser: Browser) -> None:
    feed = Feed(rules=RULES)
    replayed(feed, "a", support_call(4))
    with served(create_app(Service(feed))) as url:
        def steps(page: Any) -> None:
            shown(page, f"{url}/calls/a")
            count = page.locator(".pin").count()
            assert count >= 2 and page.locator(".turncard").count() == count
            card = page.locator(".turncard").first
            assert "Preceded, within 30 s, by" in card.inner_text() and "because" not in page.locator("#shifts").inner_text()
            page.locator(".pin").nth(1).click()
            turned = page.locator(".turned").nth(1).get_attribute("data-id")
            assert page.locator('.turn[aria-current="true"]').get_attribute("data-id") == turned
            assert "turned from" in page.locator("#panel .what").inner_text() and page.locator('.turn[aria-current="true"] .shift').inner_text().startswith("was ")
            card.locator(".plain").last.focus()
            page.keyboard.press("Enter")
            assert page.locator('.turn[aria-current="true"]').get_attribute("data-id") != turned
            flag = page.locator(".fl").first
            flag.click(position={"x": 2, "y": 8})
            assert page.locator('.turn[aria-current="true"]').get_attribute("data-id") == flag.get_attribute("data-id")

        browser.run(steps)


def test_a_call_whose_analysis_is_behind_says_by_how_much(browser: Browser) -> None:
    feed = Feed()
    for session in ("late", "well"):
        feed.open(begun(session))
        feed.event(said(session, 0, 2))
    now = int(time.time() * 1000)
    feed.timed("late", now - 45_000, 4_000)
    feed.timed("well", now, 300)
    with served(create_app(Service(feed))) as url:
        def steps(page: Any) -> None:
            page.goto(url)
            page.locator('.call[data-session="late"] .late', has_text=re.compile(r"^(4\d|5\d) s behind$")).wait_for()
            assert page.locator('.call[data-session="well"] .late').count() == 0
            assert "Analysed up to 0:0" in page.locator(".late").get_attribute("title")
            shown(page, f"{url}/calls/late")
            page.locator("#now .late").wait_for()

        browser.run(steps)


def test_a_call_that_came_in_live_is_called_by_its_id_and_a_recording_by_its_name(browser: Browser) -> None:
    feed, odd = Feed(), "<i>" + "é/" * 2000
    for session, way in (("44e32ab8a310486f9940d0df18a87be0", "twilio"), (odd, "live"), ("call-7", "call-7.wav")):
        feed.open(msgspec.structs.replace(begun(session), media=way))
        feed.event(said(session, 0, 2))
    with served(create_app(Service(feed))) as url:
        def steps(page: Any) -> None:
            page.goto(url)
            page.locator(".call").nth(2).wait_for()
            assert set(page.locator(".call .id a").all_inner_texts()) == {"44e32ab8…", "<i>é/é/é…", "call-7.wav"}
            page.get_by_role("link", name="44e32ab8…").click()
            page.locator("#about", has_text="by twilio").wait_for()
            shown(page, f"{url}/calls/call-7")
            assert page.locator("#about b").inner_text() == "call-7.wav"

        browser.run(steps)


def test_two_calls_are_compared_on_one_scale_and_found_by_name(browser: Browser) -> None:
    feed = Feed()
    for name, minutes in (("first", 2), ("second", 3), ("third", 1)):
        replayed(feed, name, support_call(minutes))
    with served(create_app(Service(feed))) as url:
        def steps(page: Any) -> None:
            page.goto(f"{url}/compare?a=first&b=second")
            page.locator(".side").nth(1).wait_for()
            assert len(set(page.locator(".axis").evaluate_all("all => all.map(x => x.style.getPropertyValue('--span'))"))) == 1
            page.get_by_label("Calls named").fill("thi")
            page.keyboard.press("Enter")
            page.locator("select[name=b] option", has_text="third.wav").wait_for(state="attached")
            page.wait_for_function("() => document.querySelector('select[name=b]').length === 2")
            page.locator("select[name=b]").select_option("third")
            page.locator(".side h2", has_text="third.wav").wait_for()
            assert "a=first&b=third" in page.url

        browser.run(steps)


def test_a_search_begins_with_something_to_try_and_marks_the_words(browser: Browser) -> None:
    feed = Feed()
    replayed(feed, "a", support_call(4))
    with served(create_app(Service(feed))) as url:
        def steps(page: Any) -> None:
            page.goto(f"{url}/search")
            page.get_by_role("link", name="Anger of customers").click()
            page.wait_for_url("**/search?label=anger&role=customer")
            page.locator(".hit .state", has_text="anger").first.wait_for()
            page.get_by_label("Words").fill("ridiculous")
            page.keyboard.press("Enter")
            page.locator("mark", has_text="ridiculous").first.wait_for()

        browser.run(steps)
