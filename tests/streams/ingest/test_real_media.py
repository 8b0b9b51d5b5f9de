"""Recordings from the field: clips whose headers lie, whose rate varies and whose tracks start apart."""

from __future__ import annotations

from pathlib import Path

import av
import pytest

from streams.ingest.files import open_media, probe
from streams.records import SourceEnd, VideoFrame

pytestmark = pytest.mark.corpus


@pytest.fixture
def videos(corpus: Path) -> Path:
    return corpus / "visual" / "videos"


def pictures(path: Path, fps: float | None = None) -> list[VideoFrame]:
    return [record for record in open_media(path, session="s", fps=fps) if isinstance(record, VideoFrame)]


def test_the_stage_clip_starts_its_picture_at_852_ms(videos: Path) -> None:
    clip = videos / "whitehouse_stage_clip.mp4"
    assert pictures(clip, 10)[0].media_ms == 852
    info = probe(clip)
    assert info.audio and info.audio.start_ms == 8 and info.stereo == "mixed"


def test_variable_rate_pictures_keep_their_stamps(videos: Path) -> None:
    frames = pictures(videos / "pyfeat_noface_face_vfr.mov")
    assert len(frames) == 169
    assert abs(frames[96].media_ms - 3_945) <= 42


@pytest.mark.parametrize(("name", "decoded"), [("openface_change_lighting.wmv", 88), ("pyfeat_no_face_cartoon.mp4", 95)])
def test_a_header_that_counts_too_many_pictures_ends_all_the_same(videos: Path, name: str, decoded: int) -> None:
    reader = open_media(videos / name, session="s", fps=None)
    records = list(reader)
    assert sum(isinstance(record, VideoFrame) for record in records) == decoded
    assert sum(isinstance(record, SourceEnd) for record in records) == 2
    assert not reader.problems


@pytest.mark.parametrize(
    ("name", "count", "first_ms"),
    [("openface_multi_face.avi", 702, 0), ("openface_default.wmv", 288, 9), ("pyfeat_single_face.mp4", 72, 0)],
)
def test_old_containers_are_read(videos: Path, name: str, count: int, first_ms: int) -> None:
    frames = pictures(videos / name)
    assert (len(frames), frames[0].media_ms) == (count, first_ms)


def test_every_stamp_is_the_containers(videos: Path) -> None:
    for clip in sorted(videos.iterdir()):
        with av.open(str(clip)) as container:
            stamps = [int((frame.pts or 0) * (frame.time_base or 0) * 1000) for frame in container.decode(video=0)]
        assert [frame.media_ms for frame in pictures(clip)] == stamps, clip.name


@pytest.mark.parametrize(("name", "kind"), [("dealer_service_light_stereo", "separate"), ("two_channel_5s", "separate"), ("jfk_11s", None)])
def test_real_calls_keep_their_channels(corpus: Path, name: str, kind: str | None) -> None:
    assert probe(corpus / "audio" / "calls" / f"{name}.flac").stereo == kind
