"""The report as a reader meets it: in a browser, with no network, by mouse, by keyboard, in light and dark."""

from __future__ import annotations

import json
import re
import wave
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest

from fusion.events import EmotionEvent
from fusion.naming import clock
from fusion.preceding import conversation_figures
from fusion.settle import settled
from streams.alerts.rules import DEFAULT, load
from streams.commands.serve import judge
from streams.egress.report import ReportSession, render
from streams.egress.report_view import leads
from streams.egress.vtt import captions, emotion_track
from streams.records import Alert, Cited, Decision, Participant, SessionStart
from tests.streams.egress.scenario import right_to_left, round_table, support_call

pytestmark = pytest.mark.integration

YES = Decision(True, True, True, "role customer: analysed")
NO = Decision(True, True, False, "employees are not emotion-analysed")
PEOPLE = (Participant("customer", "customer"), Participant("agent", "employee"))
CALL = ReportSession("call.wav", 600_000, PEOPLE, {"customer": YES, "agent": NO}, "en", True, True)
EVENTS = support_call()
LONG = support_call(180)


def picture(seed: int) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 255, (72, 72, 3), np.uint8)
    return bytes(cv2.imencode(".jpg", cv2.GaussianBlur(noise, (9, 9), 4))[1])


def with_faces(events: list[EmotionEvent]) -> dict[str, bytes]:
    shown, crops = None, {}
    for index, event in enumerate(events):
        if event.label not in (None, "unknown", shown):
            crops[event.id], shown = picture(index), event.label
    return crops


def table(people: int) -> ReportSession:
    names = tuple(Participant(f"person-{i + 1}") for i in range(people))
    return ReportSession("table.wav", 300_000, names, {p.id: YES for p in names}, "en")


def fired(events: list[EmotionEvent]) -> list[Alert]:
    start = SessionStart("call-1", PEOPLE, {"customer": YES, "agent": NO})
    return judge(start, load(DEFAULT), events)


MAKERS: dict[str, Callable[[], str]] = {
    "call": lambda: render(EVENTS, session=CALL, crops=with_faces(EVENTS), alerts=fired(EVENTS)),
    "no picture": lambda: render(support_call(video=False), session=msgspec.structs.replace(CALL, has_video=False)),
    "one participant": lambda: render([e for e in EVENTS if e.participant == "customer"], session=msgspec.structs.replace(CALL, participants=PEOPLE[:1])),
    "face only": lambda: render([e for e in EVENTS if e.kind == "face"], session=msgspec.structs.replace(CALL, participants=PEOPLE[:1], has_audio=False)),
    "eight": lambda: render(round_table(), session=table(8)),
    "right to left": lambda: render(right_to_left(), session=ReportSession("u.wav", 20_000, PEOPLE[:1], {"customer": YES}, "ur")),
    "withheld only": lambda: render([e for e in EVENTS if e.participant == "agent"], session=CALL),
    "empty": lambda: render([], session=ReportSession("silence.wav", 30_000, (Participant("left"),))),
    "three hours": lambda: render(LONG, session=msgspec.structs.replace(CALL, duration_ms=180 * 60_000), alerts=fired(LONG)),
}


@cache
def page_of(name: str) -> str:
    return MAKERS[name]()


# Every state on the laptop or on the phone, the main one on both.
SCREENS = [(name, *((1440, "light") if index % 2 == 0 else (390, "dark"))) for index, name in enumerate(MAKERS)] + [("call", 390, "dark")]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pages")


@pytest.fixture
def open_page(browser: Any, folder: Path) -> Iterator[Callable[..., Any]]:
    """Opens a page from a file and fails the test on any script error, console warning or request to elsewhere."""
    problems: list[str] = []
    contexts = []

    def opened(html: str, *, address: str = "", place: Path | None = None, width: int = 1440, height: int = 900, **options: Any) -> Any:
        path = place or folder / "page.html"
        path.write_text(html, "utf-8")
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda line: problems.append(line.text) if line.type in ("error", "warning") else None)
        page.on("request", lambda request: None if request.url.startswith(("file:", "data:", "blob:")) else problems.append(request.url))
        page.goto(path.as_uri() + address)
        page.wait_for_selector("body[data-charts]", timeout=60_000)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert problems == []


def current(page: Any) -> int:
    return int(page.locator(".turn[aria-current=true]").get_attribute("data-i"))


def marked(page: Any) -> int:
    return int(page.locator(".sp.on").get_attribute("data-i"))


# What the file is


def test_a_ten_minute_call_with_faces_is_one_file_under_two_megabytes() -> None:
    page = page_of("call")
    assert len(page.encode()) < 2_000_000
    assert not re.findall(r"""(?:src|href)=["'](?!#|data:)[^"']""", page)


@pytest.mark.parametrize("name", ["call", "eight", "empty"])
def test_the_same_events_give_the_same_page(name: str) -> None:
    assert MAKERS[name]() == page_of(name)


def test_the_order_in_which_events_arrive_does_not_show() -> None:
    assert render(EVENTS[::-1], session=CALL) == render(EVENTS, session=CALL)


def test_nothing_is_said_about_the_emotion_of_an_employee(open_page: Callable[..., Any]) -> None:
    # Even events that carry an emotion by mistake give no figure, no curve, no face and no label in words.
    wrong = [msgspec.structs.replace(e, id=e.id[::-1], participant="agent", role="employee") for e in EVENTS if e.label == "anger"]
    mine = [e for e in EVENTS if e.participant == "agent"]
    html = render([*mine, *wrong], session=CALL, crops={e.id: picture(1) for e in wrong})
    assert not re.search(r"anger\b(?!:)", re.sub(r"<(style|script>).*?</\1", "", html, flags=re.DOTALL)) and "<img" not in html
    page = open_page(render([*EVENTS, *wrong], session=CALL))
    assert page.locator(".who", has_text="Agent").locator(".note").count() == 1
    assert page.locator(".quarters tr", has_text="Agent").inner_text().count("withheld") == 1
    page.locator(".turn", has_text="Agent").first.click()
    panel = page.locator("#panel").inner_text()
    assert "employees are not emotion-analysed" in panel and "Probability" not in panel and "valence" not in panel


# States


@pytest.mark.parametrize(("name", "width", "scheme"), SCREENS)
def test_every_state_opens_and_fits_the_screen(name: str, width: int, scheme: str, open_page: Callable[..., Any]) -> None:
    page = open_page(page_of(name), width=width, height=844, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("h1").inner_text().endswith(".")
    assert "not what a person feels" in page.locator("footer").inner_text()
    assert page.evaluate("document.body.dataset.charts") == ("none" if name == "empty" else "ready")


@pytest.mark.parametrize(("name", "width", "scheme"), [
    ("call", 1440, "light"), ("call", 390, "dark"), ("right to left", 1440, "dark"), ("empty", 390, "light"), ("withheld only", 1440, "light"),
])
def test_axe_has_no_finding(name: str, width: int, scheme: str, open_page: Callable[..., Any]) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = open_page(page_of(name), width=width, color_scheme=scheme)
    found = axe.run(page).response["violations"]
    assert [(v["id"], v["impact"], v["nodes"][0]["html"][:200]) for v in found] == []


def test_the_headline_tells_the_story() -> None:
    def told(page: str) -> str:
        return re.search("<h1>(.*?)</h1>", page)[1]  # type: ignore[index]

    assert told(page_of("call")) == "The customer turned from neutral to angry at 3:09; calmer from 6:04, happy at the end."
    assert told(page_of("withheld only")).startswith("Nobody in this conversation is emotion-analysed")
    assert told(page_of("empty")) == "No speech and no face was found in this recording."
    assert told(page_of("right to left")) == "The customer was angry but for single moments (2 of 4 events)."


def test_a_three_hour_call_opens_on_the_turn_with_an_overview(open_page: Callable[..., Any]) -> None:
    page = open_page(page_of("three hours"))
    start, span = (page.evaluate(f"+document.getElementById('lanes').style.getPropertyValue('{name}')") for name in ("--t0", "--span"))
    assert 500 < span < 700 and start < 56 * 60 < start + span
    page.locator("#all").click()
    assert page.evaluate("+document.getElementById('lanes').style.getPropertyValue('--span')") > 10_000
    assert page.evaluate("Bokeh.documents[0].get_model_by_name('view').end") > 10_000, "the curves zoom with the spans"
    box = page.locator("#c-overview").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 10)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2 + 20, box["y"] + 10, steps=3)
    page.mouse.up()


def test_without_a_script_the_axis_the_transcript_and_the_figures_can_be_read(browser: Any, folder: Path) -> None:
    (folder / "plain.html").write_text(page_of("call"), "utf-8")
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((folder / "plain.html").as_uri())
    assert page.locator(".turn").count() == len(set(leads(EVENTS))) and page.locator(".sp").count() == len(EVENTS)
    assert "need scripts" in page.locator("#evidence").inner_text()
    context.close()


# Selecting


def test_selecting_anywhere_selects_everywhere_and_the_address_keeps_it(open_page: Callable[..., Any]) -> None:
    page = open_page(page_of("call"))
    target = next(i for i, e in enumerate(EVENTS) if e.label == "sadness")
    page.locator(f".turn[data-i='{target}']").click()
    assert current(page) == marked(page) == target
    assert f"t={EVENTS[target].start_ms / 1000:g}" in page.url
    panel = page.locator("#panel").inner_text()
    assert EVENTS[target].transcript.text in panel and "44 %" in panel and EVENTS[target].evidence[0].text in panel  # type: ignore[union-attr]

    other = next(i for i, e in enumerate(EVENTS) if e.label == "happiness")
    page.locator(f".sp[data-i='{other}']").click()
    assert current(page) == marked(page) == other
    page.locator(".faces button:not(.hid)").first.click()
    assert current(page) == marked(page) != other

    again = open_page(page_of("call"), address=f"#t={EVENTS[target].start_ms / 1000}")
    assert current(again) == target


def test_turns_are_marked_on_the_axis_and_told_with_what_preceded_them(open_page: Callable[..., Any]) -> None:
    shifts = conversation_figures(EVENTS, 600_000).shifts
    page = open_page(page_of("call"))
    assert page.locator(".lane .turnpoint").count() == page.locator("#turned ol > li").count() == len(shifts) > 3
    place = {e.id: i for i, e in enumerate(EVENTS)}
    second = page.locator("#turned ol > li").nth(1)
    told = second.inner_text()
    assert clock(shifts[1].at_ms) in told and shifts[1].text in told and "because" not in told
    for last in shifts[1].last_words:
        assert EVENTS[place[last.event]].transcript.text in told  # type: ignore[union-attr]
    second.locator(".go").first.click()
    assert current(page) == marked(page) == place[shifts[1].event]
    assert page.locator(f".turn[data-i='{place[shifts[1].event]}'] .shift").text_content() == f"turned from {shifts[1].before.label}"
    assert shifts[1].text in page.locator("#panel").inner_text()
    page.locator(".lane .turnpoint").nth(2).click()
    assert current(page) == place[shifts[2].event]


def test_alerts_are_flags_that_lead_to_their_evidence(open_page: Callable[..., Any]) -> None:
    alerts = fired(EVENTS)
    page = open_page(page_of("call"))
    assert page.locator(".alertflag").count() == page.locator("#alerts ol > li").count() == len(alerts) >= 3
    angry = next(i for i, a in enumerate(sorted(alerts, key=lambda a: a.fired_ms)) if a.rule == "customer angry")
    alert = next(a for a in alerts if a.rule == "customer angry")
    listed = page.locator("#alerts ol > li").nth(angry)
    assert alert.condition.casefold() in listed.inner_text().casefold() and "warning" in listed.inner_text()
    place = {e.id: i for i, e in enumerate(EVENTS)}
    assert listed.locator("ul .go").count() == len(alert.evidence)
    listed.locator("ul .go").first.click()
    assert current(page) == marked(page) == place[alert.evidence[0].event]
    page.locator(".alertflag").nth(angry).click()
    assert current(page) == place[alert.evidence[-1].event]
    flag, lane = page.locator(".alertflag").nth(angry).bounding_box(), page.locator(".alertlane").bounding_box()
    assert flag["x"] - lane["x"] == pytest.approx(alert.fired_ms / 600_000 * lane["width"], rel=0.06)


def test_names_of_flags_never_cover_one_another(open_page: Callable[..., Any]) -> None:
    page = open_page(page_of("three hours"))
    for press in ("", "0"):
        if press:
            page.keyboard.press(press)
            page.wait_for_timeout(300)
        boxes = page.evaluate("""[...document.querySelectorAll('.alertflag')].map(f => ({ y: Math.round(f.getBoundingClientRect().y), flag: f.getBoundingClientRect(),
            name: f.querySelector('span').getBoundingClientRect() })).filter(b => b.flag.width > 0)""")
        assert len(boxes) > 5
        for box in boxes:
            if box["name"]["width"]:
                others = [o["flag"] for o in boxes if o is not box and o["y"] == box["y"]]
                assert all(o["right"] <= box["name"]["left"] + 1 or o["left"] >= box["name"]["right"] - 1 for o in others)


def test_a_call_without_turns_and_alerts_has_no_empty_section(open_page: Callable[..., Any]) -> None:
    page = open_page(page_of("withheld only"))
    assert page.locator("#turned, #alerts, .turnpoint, .alertflag, .alertlane").count() == 0


def test_an_alert_about_somebody_who_is_not_analysed_is_not_shown() -> None:
    about = [msgspec.structs.replace(a, participant="agent", role="employee") for a in fired(EVENTS)]
    assert 'class="alertflag' not in render(EVENTS, session=CALL, alerts=about)


def test_evidence_follows_the_pointer_and_the_focus_and_goes_back(open_page: Callable[..., Any]) -> None:
    page = open_page(page_of("call"))
    chosen = current(page)
    next_up = page.locator(f".turn[data-i='{chosen + 1}']")
    next_up.hover()
    assert page.locator("#panel blockquote").inner_text() == EVENTS[chosen + 1].transcript.text  # type: ignore[union-attr]
    page.locator("h1").hover()
    assert page.locator("#panel blockquote").inner_text() == EVENTS[chosen].transcript.text  # type: ignore[union-attr]
    page.locator(f".turn[data-i='{chosen + 2}']").focus()
    assert page.locator("#panel blockquote").inner_text() == EVENTS[chosen + 2].transcript.text  # type: ignore[union-attr]


def test_the_keyboard_alone_is_enough(open_page: Callable[..., Any]) -> None:
    page = open_page(page_of("call"))
    begin = current(page)
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    assert current(page) == begin + 1
    page.keyboard.press("?")
    assert page.locator("#keys").is_visible()
    page.keyboard.press("Escape")
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "ruler":
            break
    before = page.locator("#ruler").get_attribute("aria-valuenow")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert int(page.locator("#ruler").get_attribute("aria-valuenow")) == int(before) + 2
    page.keyboard.press("Tab")
    while not page.evaluate("document.activeElement.classList.contains('turn')"):
        page.keyboard.press("Tab")
    begin = current(page)
    page.keyboard.press("ArrowDown")
    assert current(page) == begin + 1 and page.evaluate("document.activeElement.dataset.i") == str(begin + 1)


def test_zooming_moves_spans_and_curves_together_and_the_pointer_hits_what_it_shows(open_page: Callable[..., Any]) -> None:
    page = open_page(page_of("call"))
    for _ in range(3):
        page.keyboard.press("+")
    curves, spans = "Bokeh.documents[0].get_model_by_name('view').start", "document.getElementById('lanes').style.getPropertyValue('--t0')"
    assert page.evaluate(f"Math.abs({curves} - {spans}) < 1e-6")
    shown = [i for i in range(len(EVENTS)) if page.locator(f".sp[data-i='{i}']").evaluate("s => { const r = s.getBoundingClientRect(),"
             " l = s.closest('.lane').getBoundingClientRect(); return r.left > l.left + 5 && r.right < l.right - 5 }")]
    assert 5 < len(shown) < 60
    box = page.locator(f".sp[data-i='{shown[-1]}']").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 40)
    assert current(page) == shown[-1]


def test_on_a_phone_the_evidence_is_a_sheet_that_closes(open_page: Callable[..., Any]) -> None:
    page = open_page(page_of("call"), width=390, height=844, has_touch=True)
    assert not page.locator("#evidence").is_visible()
    page.locator(".turn").first.tap()
    assert page.locator("#evidence").is_visible()
    page.locator("#close").tap()
    assert not page.locator("#evidence").is_visible()


def test_nothing_moves_where_motion_is_not_wanted(open_page: Callable[..., Any]) -> None:
    calm = open_page(page_of("call"), reduced_motion="reduce")
    assert calm.locator("#head").evaluate("e => getComputedStyle(e).transitionDuration") == "0s"


# Trust


EVIL = "</script><img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>{{ 7*7 }} & ' \" \u2028"


def test_no_text_can_become_markup(open_page: Callable[..., Any]) -> None:
    event = EVENTS[1]
    evil = msgspec.structs.replace(
        event, transcript=msgspec.structs.replace(event.transcript, text=EVIL, language=EVIL),  # type: ignore[type-var]
        evidence=tuple(msgspec.structs.replace(e, text=EVIL, cue=EVIL) for e in event.evidence), explanation=EVIL, label=EVIL,
        probabilities={EVIL: 1.0}, participant=EVIL, role=EVIL, models={EVIL: EVIL}, compound=EVIL,
    )
    withheld = msgspec.structs.replace(EVENTS[0], policy=msgspec.structs.replace(EVENTS[0].policy, reason=EVIL))  # type: ignore[type-var]
    session = msgspec.structs.replace(CALL, media=EVIL, participants=(Participant(EVIL, EVIL),), decisions={EVIL: YES}, problems=(EVIL,), language=EVIL)
    turning = [msgspec.structs.replace(evil, id=f"t{i}", label=x, start_ms=9000 * (i + 3), end_ms=9000 * (i + 4), probabilities={x: 1.0}, valence=v)
               for i, (x, v) in enumerate([(EVIL, -1.0), (EVIL, -1.0), ("neutral", 0.0), ("neutral", 0.0)])]
    alert = msgspec.structs.replace(fired(EVENTS)[0], participant=EVIL, rule=EVIL, severity=EVIL, condition=EVIL, evidence=(Cited("t0", 0, 9, 0.5, EVIL),))
    html = render([withheld, evil, *turning], session=session, alerts=[alert])
    assert "turnpoint" in html.split("</style>")[1] and 'class="alertflag' in html
    page = open_page(html)
    for turn in page.locator(".turn").all():
        turn.click()
    assert "owned" not in page.title() or page.title().startswith("</script>")
    assert page.locator("img").count() == 0 and page.evaluate("document.scripts.length") == 4
    assert "{{ 7*7 }}" in page.locator(".turn .said").last.inner_text()


# Playback


def sound(path: Path, seconds: int) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(b"\0\0" * 8000 * seconds)


def test_playback_moves_the_axis_and_the_transcript_and_the_selection_moves_playback(open_page: Callable[..., Any], folder: Path) -> None:
    sound(folder / "my call.wav", 60)
    session = msgspec.structs.replace(CALL, has_video=False, media_href="my%20call.wav")
    page = open_page(render(EVENTS, session=session))
    page.wait_for_selector("#player:not([hidden])")
    page.locator(f".turn[data-i='{3}']").click()
    assert page.evaluate("document.getElementById('media').currentTime") == pytest.approx(EVENTS[3].start_ms / 1000, abs=0.05)
    page.locator("h1").click()
    page.keyboard.press(" ")
    page.wait_for_function(f"+document.getElementById('head').style.getPropertyValue('--at') > {EVENTS[3].start_ms / 1000 + 0.3}")
    page.keyboard.press(" ")
    assert page.evaluate("document.getElementById('media').paused")


def test_the_page_works_where_the_recording_is_absent(browser: Any, folder: Path) -> None:
    place = folder / "alone.html"
    place.write_text(render(EVENTS, session=msgspec.structs.replace(CALL, media_href="not-here.wav", has_video=False)), "utf-8")
    page = browser.new_page()
    page.goto(place.as_uri())
    page.wait_for_selector("#missing:not([hidden])")
    assert not page.locator("#player").is_visible()
    page.keyboard.press("j")
    assert page.locator(".turn[aria-current=true]").count() == 1
    page.close()


def test_a_browser_reads_the_captions_and_the_emotion_track(browser: Any) -> None:
    page = browser.new_page()
    load = """text => new Promise((done, failed) => {
        const video = document.createElement('video'), track = document.createElement('track');
        track.src = URL.createObjectURL(new Blob([text], {type: 'text/vtt'}));
        track.onload = () => done([...track.track.cues].map(c => [c.id, c.startTime, c.text]));
        track.onerror = () => failed(new Error('not read'));
        video.append(track); document.body.append(video); track.track.mode = 'hidden';
    })"""
    words, emotions = page.evaluate(load, captions(EVENTS, names={"agent": "Sam & Co"})), page.evaluate(load, emotion_track(EVENTS))
    page.close()
    assert [w[0] for w in words] == [e.id for e in settled(EVENTS) if e.transcript] and "<v Sam &amp; Co>" in words[0][2]
    assert [m[0] for m in emotions] == [e.id for e in settled(EVENTS)]
    assert json.loads(emotions[1][2])["participant"] == "customer"
