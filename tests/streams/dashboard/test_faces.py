"""Faces at moments of change on the page of a call: cut from the recording that is served, and of nobody whom policy protects."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import av
import cv2
import httpx
import msgspec
import numpy as np
import pytest

from extractors.cues import FaceObservation, FaceQuality
from extractors.errors import InputError
from fusion.events import EmotionEvent
from streams.dashboard.pages import create_app
from streams.egress import face_index
from streams.egress.faces import CropRequest
from streams.records import FaceCueRecord
from streams.subscriptions import archive
from streams.subscriptions.app import Service
from streams.subscriptions.feed import Feed
from tests.streams.dashboard.calls import replayed
from tests.streams.dashboard.conftest import Browser
from tests.streams.dashboard.test_commands import results
from tests.streams.egress.scenario import support_call
from tests.streams.subscriptions.conftest import served

WIDTH, HEIGHT, FPS = 320, 240, 5
BOX = (120, 60, 80, 80)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A minute in which a square grows brighter."""
    path = tmp_path_factory.mktemp("clip") / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for index in range(60 * FPS):
            picture = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
            picture[60:140, 120:200] = brightness(index / FPS)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode(None))
    return path


def brightness(second: float) -> int:
    return int(4 * second)


def spoken(role: str = "customer") -> list[EmotionEvent]:
    return [event for event in support_call(1) if event.role == role]


def requests(events: list[EmotionEvent]) -> list[CropRequest]:
    return [CropRequest(e.id, (e.start_ms + e.end_ms) // 2, BOX, (WIDTH, HEIGHT)) for e in events]


def served_with_faces(clip: Path, events: list[EmotionEvent], *, media: bool = True) -> Feed:
    feed = Feed()
    replayed(feed, "a", support_call(1), media=clip if media else None, video=("video/0",))
    feed.show_faces("a", requests(events))
    return feed


def faces_of(feed: Feed) -> list[dict[str, Any]]:
    with served(create_app(Service(feed))) as url:
        found: list[dict[str, Any]] = httpx.get(f"{url}/v1/sessions/a/faces").raise_for_status().json()["faces"]
        assert httpx.get(f"{url}/v1/sessions/a/faces").json()["faces"] == found
    return found


def test_a_face_is_cut_at_its_moment_from_the_recording_that_is_served(clip: Path) -> None:
    events = spoken()
    found = faces_of(served_with_faces(clip, events))
    assert [face["event"] for face in found] == [event.id for event in events]
    for face in found:
        data = np.frombuffer(base64.b64decode(face["image"].removeprefix("data:image/jpeg;base64,")), np.uint8)
        middle = cv2.imdecode(data, cv2.IMREAD_COLOR)[40:56, 40:56].mean()
        assert abs(middle - brightness(face["at_ms"] / 1000)) < 12


def test_no_face_of_a_withheld_participant_is_ever_given_whatever_a_file_says(clip: Path) -> None:
    assert faces_of(served_with_faces(clip, spoken("employee"))) == []


def test_without_the_recording_and_with_one_that_cannot_be_read_there_are_no_faces(clip: Path, tmp_path: Path) -> None:
    assert faces_of(served_with_faces(clip, spoken(), media=False)) == []
    broken = tmp_path / "a.mp4"
    broken.write_bytes(b"no picture")
    assert faces_of(served_with_faces(broken, spoken())) == []


def test_while_a_recording_is_replayed_its_faces_come_with_their_events(clip: Path) -> None:
    feed, events = Feed(), support_call(1)
    replayed(feed, "a", events[:2], media=clip, video=("video/0",), ended=False)
    for ms in range(0, 60_000, 200):
        face = FaceObservation(0, BOX, 0.9, FaceQuality(True, 0.9, 80, 3.0))
        feed.record(FaceCueRecord("a", "video/0", ms // 200, ms, WIDTH, HEIGHT, (face,)))
    first = faces_of(feed)
    for event in events[2:]:
        feed.event(msgspec.structs.replace(event, session="a"))
    later = faces_of(feed)
    labels = {event.id: event.label for event in events}
    assert len(first) == 1 < len(later) and later[0] == first[0]
    assert all(labels[a["event"]] != labels[b["event"]] for a, b in zip(later, later[1:], strict=False))


def test_places_of_faces_come_back_as_they_were_written_and_others_are_refused(tmp_path: Path) -> None:
    kept = requests(spoken())
    assert face_index.read(tmp_path) == []
    face_index.write(tmp_path, kept)
    assert face_index.read(tmp_path) == kept and b"jpeg" not in (tmp_path / face_index.FILE).read_bytes()
    face_index.write(tmp_path, [])
    assert not (tmp_path / face_index.FILE).exists()
    (tmp_path / face_index.FILE).write_text('[{"key": 1}]')
    with pytest.raises(InputError, match="run the replay again"):
        face_index.read(tmp_path)


def test_a_results_folder_with_a_broken_list_of_faces_is_still_shown(tmp_path: Path) -> None:
    session = results(tmp_path, "call")
    (tmp_path / "call" / face_index.FILE).write_text("{")
    feed = Feed()
    problems = list(archive.load(feed, tmp_path))
    assert len(problems) == 1 and "faces.json" in problems[0] and feed.session(session) is not None


@pytest.mark.integration
def test_the_page_shows_faces_on_the_axis_and_beside_the_evidence(browser: Browser, clip: Path) -> None:
    events = [spoken()[0], spoken()[3]]
    with served(create_app(Service(served_with_faces(clip, [*events, *spoken("employee")])))) as url:
        def steps(page: Any) -> None:
            page.goto(f"{url}/calls/a")
            page.locator(".faces .at").nth(1).wait_for()
            page.locator('body[data-charts="ready"]').wait_for()
            assert [b.get_attribute("data-id") for b in page.locator(".faces .at").all()] == [e.id for e in events]
            page.locator(".faces .at").nth(1).click()
            assert page.locator('.turn[aria-current="true"]').get_attribute("data-id") == events[1].id
            picture = page.locator("#panel img.crop")
            assert picture.get_attribute("alt").startswith("Face of customer at 0:") and picture.evaluate("i => i.naturalWidth") > 60
            page.locator(".turn", has_text="Agent").first.click()
            assert page.locator("#panel img").count() == 0

        browser.run(steps, expected=("media",))
