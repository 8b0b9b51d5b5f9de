"""Faces in the report: cut from the right moment and place, and of nobody whom policy protects."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import msgspec
import numpy as np
import pytest

from extractors.cues import FaceObservation, FaceQuality
from extractors.errors import InputError
from fusion.events import Association, Context, EmotionEvent
from streams.egress.faces import SIDE_PX, CropRequest, FaceLog, crops, moments
from streams.records import Decision, FaceCueRecord, Participant
from tests.streams.egress.scenario import support_call

YES = Decision(True, True, True, "role customer: analysed")
NO = Decision(True, True, False, "employees are not emotion-analysed")
PEOPLE = (Participant("customer", "customer", video="video/0"), Participant("agent", "employee", video="video/1"))
WIDTH, HEIGHT, FPS = 320, 240, 10


def place(second: float) -> tuple[int, int, int, int]:
    """Where the face is: it wanders from left to right."""
    return int(20 + 20 * second), 60, 60, 60


def colour(second: int) -> tuple[int, int, int]:
    return 40 * (second % 6), 200 - 30 * (second % 6), 60 + 30 * (second % 6)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten seconds in which a square changes its colour every second while it moves."""
    path = tmp_path_factory.mktemp("clip") / "a clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=FPS)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = WIDTH, HEIGHT, "yuv420p", 4_000_000
        for index in range(10 * FPS):
            picture = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
            x, y, w, h = place(index / FPS)
            picture[y : y + h, x : x + w] = colour(index // FPS)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_the_crop_shows_the_face_of_its_moment_whatever_the_size_of_the_analysed_picture(clip: Path, scale: float) -> None:
    requests = []
    for second in (8, 1, 4):
        box = tuple(int(v * scale) for v in place(second + 0.5))
        requests.append(CropRequest(str(second), second * 1000 + 500, box, (int(WIDTH * scale), int(HEIGHT * scale))))  # type: ignore[arg-type]
    cut = crops(clip, requests)
    assert set(cut) == {"1", "4", "8"}
    for second, data in cut.items():
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        assert picture.shape == (SIDE_PX, SIDE_PX, 3) and len(data) < 6000
        middle = picture[20:52, 20:52].reshape(-1, 3).mean(0)
        assert np.abs(middle - np.array(colour(int(second)))).max() < 25
        assert np.abs(picture[2, 2].astype(int) - 128).max() < 25, "some surroundings are shown"


def test_a_box_at_the_edge_or_larger_than_the_picture_still_gives_a_square(clip: Path) -> None:
    boxes = {"corner": (-30, -30, 60, 60), "huge": (-50, -50, 900, 900), "out": (310, 230, 60, 60)}
    cut = crops(clip, [CropRequest(name, 1000, box, (WIDTH, HEIGHT)) for name, box in boxes.items()])
    assert {cv2.imdecode(np.frombuffer(d, np.uint8), 1).shape for d in cut.values()} == {(SIDE_PX, SIDE_PX, 3)} and set(cut) == set(boxes)


def test_a_moment_beyond_the_end_is_left_out_and_sound_alone_is_refused(clip: Path, tmp_path: Path) -> None:
    assert crops(clip, [CropRequest("late", 99_000, (0, 0, 9, 9), (WIDTH, HEIGHT))]) == {}
    assert crops(clip, []) == {}
    with pytest.raises(InputError):
        crops(tmp_path / "nothing.mp4", [CropRequest("a", 0, (0, 0, 9, 9), (WIDTH, HEIGHT))])


def seen(media_ms: int, source: str = "video/0", track: int = 0, score: float = 0.9, usable: bool = True) -> FaceCueRecord:
    face = FaceObservation(track, place(media_ms / 1000), 0.9, FaceQuality(usable, score, 60, 3.0))
    return FaceCueRecord("call-1", source, media_ms // 100, media_ms, WIDTH, HEIGHT, (face,))


def log_of(*sources: tuple[str, int]) -> FaceLog:
    log = FaceLog()
    for ms in range(0, 600_000, 100):
        for source, track in sources:
            log.feed(seen(ms, source, track))
    return log


EVENTS = support_call()


def test_the_first_event_and_every_change_is_shown_and_nothing_else() -> None:
    log = log_of(("video/0", 0))
    found = moments(EVENTS, log, PEOPLE, {"customer": YES, "agent": NO}, limit=1000)
    labels = {e.id: e.label for e in EVENTS}
    shown = [labels[r.key] for r in found]
    assert shown[0] == "neutral" and all(a != b for a, b in zip(shown, shown[1:], strict=False)) and "unknown" not in shown
    spans = {e.id: (e.start_ms, e.end_ms) for e in EVENTS}
    assert all(spans[r.key][0] <= r.media_ms <= spans[r.key][1] for r in found)
    assert len(moments(EVENTS, log, PEOPLE, {"customer": YES, "agent": NO}, limit=5)) == 5


def turned(events: list[EmotionEvent], participant: str, **changes: object) -> list[EmotionEvent]:
    if participant.startswith("face-"):
        changes["context"] = Context(None, False, Association(0, "video/0", "none"))
    return [msgspec.structs.replace(e, participant=participant, **changes) for e in events if e.participant == "customer"]


@pytest.mark.parametrize(
    ("participant", "decisions", "expected"),
    [
        ("customer", {"customer": YES, "agent": NO}, True),
        ("customer", {"customer": NO, "agent": NO}, False),
        ("customer", {}, False),
        ("agent", {"customer": YES, "agent": NO}, False),
        ("face-0", {"customer": YES, "face-*": YES}, True),
        ("face-0", {"customer": YES, "agent": NO, "face-*": NO}, False),
    ],
)
def test_only_people_whom_policy_lets_analyse_are_shown(participant: str, decisions: dict[str, Decision], expected: bool) -> None:
    log = log_of(("video/0", 0), ("video/1", 0))
    assert bool(moments(turned(EVENTS, participant), log, PEOPLE, decisions)) == expected


def test_a_withheld_event_never_shows_a_face() -> None:
    events = turned(EVENTS, "customer", status="withheld")
    assert moments(events, log_of(("video/0", 0)), PEOPLE, {"customer": YES}) == []


def test_on_a_shared_picture_the_joined_track_is_shown_and_no_other() -> None:
    log = log_of(("video/0", 0), ("video/0", 7))
    joined = Context(None, False, Association(7, "video/0", "mouth_activity", 0.8, True))
    one = turned(EVENTS, "customer", context=joined)[:1]
    only_other = FaceLog()
    for ms in range(0, 600_000, 100):
        only_other.feed(seen(ms, track=0))
    assert len(moments(one, log, PEOPLE, {"customer": YES})) == 1
    assert moments(one, only_other, PEOPLE, {"customer": YES}) == []


def test_the_log_keeps_the_best_usable_view_and_little_else() -> None:
    log = FaceLog()
    log.feed(seen(1000, score=0.4))
    log.feed(seen(1200, score=0.8))
    log.feed(seen(1400, score=0.99, usable=False))
    log.feed(EVENTS[0])
    best = log.best("video/0", 0, 900, 1499)
    assert best is not None and best.media_ms == 1200
    assert log.best("video/0", 0, 3000, 4000) is None and log.best("video/9", None, 0, 9000) is None
