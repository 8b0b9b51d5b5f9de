"""One media clock for sound and picture, whatever the container, the chunk size and the part that is read."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from streams.ingest.files import open_media, probe
from streams.records import AudioChunk, SourceEnd, VideoFrame
from tests.media import CODECS, MARK, Pictures, Sound, babble, tone, write

RATE = 48000
STAMPS = [n / 25 for n in range(75)]


def heard(records: Iterable[object], source: str = "audio/0") -> np.ndarray:
    """Samples of a source on the media clock, gaps as zeros."""
    chunks = [record for record in records if isinstance(record, AudioChunk) and record.source == source]
    line = np.zeros(chunks[-1].start_sample + len(chunks[-1].payload) // 2, np.int16)
    for chunk in chunks:
        line[chunk.start_sample : chunk.start_sample + len(chunk.payload) // 2] = np.frombuffer(chunk.payload, "<i2")
    return line


def seen(records: Iterable[object]) -> list[VideoFrame]:
    return [record for record in records if isinstance(record, VideoFrame)]


def picture(frame: VideoFrame) -> np.ndarray:
    return np.frombuffer(frame.payload, np.uint8).reshape(frame.height, frame.width, 3)


@pytest.mark.parametrize("suffix", sorted(CODECS))
def test_every_container_gives_its_sound(tmp_path: Path, suffix: str) -> None:
    pcm = tone(3, RATE)
    reader = open_media(write(tmp_path / f"tone.{suffix}", Sound(pcm[None], RATE)), session="s")
    line = heard(reader).astype(float)
    assert abs(len(line) / RATE - 3) < 0.1
    middle = line[RATE : 2 * RATE] / 32768
    peak = np.abs(np.fft.rfft(middle * np.hanning(RATE))).argmax()
    assert peak == 440 and 0.18 < np.sqrt((middle**2).mean()) < 0.24
    assert not reader.problems and reader.position_ms >= 2_900


def test_sources_are_numbered_without_gaps_and_come_in_media_order(tmp_path: Path) -> None:
    pcm = np.stack([babble(3, RATE, 1), babble(3, RATE, 2)])
    reader = open_media(write(tmp_path / "talk.mkv", Sound(pcm, RATE), Pictures(STAMPS)), session="s")
    records = list(reader)
    for source in (*reader.audio_sources, *reader.video_sources):
        numbers = [record.seq for record in records if record.source == source]
        assert numbers == list(range(len(numbers)))
        assert isinstance([record for record in records if record.source == source][-1], SourceEnd)
    times = [record.start_ms if isinstance(record, AudioChunk) else record.media_ms for record in records]
    assert times == sorted(times)


@pytest.mark.parametrize("chunk_ms", [1, 33, 100, 250, 10_000])
def test_the_chunk_length_never_changes_the_samples(tmp_path: Path, chunk_ms: int) -> None:
    pcm = babble(3, 11025)
    path = write(tmp_path / "call.wav", Sound(pcm[None], 11025))
    assert (heard(open_media(path, session="s", chunk_ms=chunk_ms)) == pcm).all()


def test_channels_keep_their_samples(tmp_path: Path) -> None:
    pcm = np.stack([babble(3, 8000, 1), babble(3, 8000, 2)])
    records = list(open_media(write(tmp_path / "call.wav", Sound(pcm, 8000)), session="s", channels="left=customer,right=agent"))
    assert (heard(records, "audio/0") == pcm[0]).all() and (heard(records, "audio/1") == pcm[1]).all()


def test_music_is_mixed_to_one_source(tmp_path: Path) -> None:
    left, right = tone(3, RATE, 440), tone(3, RATE, 440) // 2
    reader = open_media(write(tmp_path / "music.wav", Sound(np.stack([left, right]), RATE)), session="s")
    mixed = heard(reader).astype(float)
    assert reader.audio_sources == ("audio/0",) and "mixed" in reader.channel_reason
    assert np.abs(mixed - (left.astype(float) + right) / 2).max() <= 1


def test_mono_marked_stereo_is_read_once_and_a_later_difference_is_reported(tmp_path: Path) -> None:
    first = babble(35, 8000, 1, 0.4)
    left, right = np.concatenate([first, babble(10, 8000, 2)]), np.concatenate([first, babble(10, 8000, 3)])
    reader = open_media(write(tmp_path / "call.wav", Sound(np.stack([left, right]), 8000)), session="s")
    if probe(tmp_path / "call.wav").stereo == "same":
        assert (heard(reader) == left).all()
        assert any("differ from about 0:3" in problem for problem in reader.problems)
    same = open_media(write(tmp_path / "mono.wav", Sound(np.stack([first, first]), 8000)), session="s")
    assert (heard(same) == first).all() and not same.problems and "mono" in same.channel_reason


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "mov", "webm"])
def test_a_late_start_and_a_gap_keep_sound_and_picture_together(tmp_path: Path, suffix: str) -> None:
    sound = Sound(tone(3, RATE)[None], RATE, start_s=1.5, gaps=[(RATE, 0.75)])
    codec = "libvpx" if suffix == "webm" else "libx264"
    reader = open_media(write(tmp_path / f"late.{suffix}", sound, Pictures([n / 25 for n in range(100)], codec=codec)), session="s")
    records = list(reader)
    level = np.abs(heard(records).astype(float)) > 1000
    loud = np.flatnonzero(np.convolve(level, np.ones(480) / 480, "same") > 0.3) / RATE
    assert loud[0] == pytest.approx(1.5, abs=0.03)
    silent = np.diff(loud).max()
    assert silent == pytest.approx(0.75, abs=0.05)
    assert seen(records)[0].media_ms == 0
    assert len(reader.problems) == 1 and "0.75 s are missing at 0:02.5" in reader.problems[0]


def test_a_late_picture_keeps_its_stamp(tmp_path: Path) -> None:
    path = write(tmp_path / "late.mp4", Sound(tone(3, RATE)[None], RATE), Pictures([0.852 + n / 25 for n in range(50)]))
    assert seen(open_media(path, session="s"))[0].media_ms == 852


def test_a_cut_from_a_longer_recording_starts_at_zero(tmp_path: Path) -> None:
    sound = Sound(tone(2, RATE)[None], RATE, codec="flac", start_s=3600)
    path = write(tmp_path / "cut.mkv", sound, Pictures([3600.5 + n / 25 for n in range(25)]))
    records = list(open_media(path, session="s"))
    assert isinstance(records[0], AudioChunk) and records[0].start_sample == 0
    assert seen(records)[0].media_ms == 500


def test_pictures_of_variable_rate_are_picked_by_their_stamps(tmp_path: Path) -> None:
    stamps = [0.0, 0.013, 0.09, 0.1, 0.111, 0.19, 0.55, 0.56, 1.003, 1.09]
    path = write(tmp_path / "vfr.mkv", None, Pictures(stamps))
    assert [frame.media_ms for frame in seen(open_media(path, session="s", fps=10))] == [0, 100, 550, 1003]
    assert [frame.media_ms for frame in seen(open_media(path, session="s", fps=None))] == [round(stamp * 1000) for stamp in stamps]


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
@pytest.mark.parametrize("rotation", [0, 90, 180, -90])
@pytest.mark.parametrize("hflip", [False, True])
def test_a_turned_phone_gives_upright_pictures(tmp_path: Path, suffix: str, rotation: int, hflip: bool) -> None:
    path = write(tmp_path / f"phone.{suffix}", None, Pictures(STAMPS[:5], rotation=rotation, hflip=hflip))
    shown = picture(seen(open_media(path, session="s"))[0])
    expected = np.zeros((48, 64), bool)
    expected[:12, :16] = True
    expected = np.rot90(expected, rotation // 90)
    expected = expected[:, ::-1] if hflip else expected
    assert shown.shape[:2] == expected.shape
    red = (shown[..., 2] > 150) & (shown[..., 0] < 100)
    assert (red == expected).mean() > 0.95
    assert MARK[2] - 40 < shown[expected][:, 2].mean()


def test_large_pictures_are_scaled_and_flat_pixels_made_square(tmp_path: Path) -> None:
    large = write(tmp_path / "large.mkv", None, Pictures(STAMPS[:2], size=(1920, 1080)))
    assert [(frame.width, frame.height) for frame in seen(open_media(large, session="s"))][0] == (1280, 720)
    flat = write(tmp_path / "flat.mkv", None, Pictures(STAMPS[:2], size=(360, 288), aspect=Fraction(2, 1)))
    assert [(frame.width, frame.height) for frame in seen(open_media(flat, session="s"))][0] == (720, 288)


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3", "ogg", "m4a", "mkv", "webm", "mp4", "avi", "ts"])
def test_a_part_keeps_the_clock_of_the_whole(tmp_path: Path, suffix: str) -> None:
    rate = 48000
    path = write(tmp_path / f"long.{suffix}", Sound(babble(20, rate)[None], rate))
    whole = heard(open_media(path, session="s"))
    records = list(open_media(path, session="s", from_ms=7_230, to_ms=9_110))
    first = next(record for record in records if isinstance(record, AudioChunk)).start_sample
    part = heard(records)
    assert abs(first - 7_230 * rate // 1000) <= 1 and abs(len(part) - 9_110 * rate // 1000) <= 1
    around = [np.abs(part[first:].astype(int) - whole[first + shift : len(part) + shift]).max() for shift in range(-60, 61)]
    assert min(around) <= 1  # the same samples, at most a millisecond away
    assert records[-1].media_ms == 9_110  # type: ignore[union-attr]


def test_pictures_of_a_part_are_those_of_the_whole(tmp_path: Path) -> None:
    path = write(tmp_path / "long.mp4", None, Pictures([n / 30 for n in range(300)]))
    whole = seen(open_media(path, session="s", fps=7))
    part = seen(open_media(path, session="s", fps=7, from_ms=4_000, to_ms=6_000))
    inside = [frame for frame in whole if 4_000 <= frame.media_ms < 6_000]
    assert [(frame.media_ms, frame.payload) for frame in part] == [(frame.media_ms, frame.payload) for frame in inside]


def test_the_same_file_gives_the_same_records(tmp_path: Path) -> None:
    path = write(tmp_path / "talk.mp4", Sound(babble(3, RATE)[None], RATE), Pictures(STAMPS))
    assert list(open_media(path, session="s")) == list(open_media(path, session="s"))


def test_a_reading_can_be_left_early(tmp_path: Path) -> None:
    path = write(tmp_path / "talk.mp4", Sound(babble(3, RATE)[None], RATE), Pictures(STAMPS))
    with open_media(path, session="s") as reader:
        for _ in range(5):
            next(reader)
    assert reader.position_ms < 1_000
    path.unlink()


def test_probe_says_what_the_file_is(tmp_path: Path) -> None:
    import hashlib

    path = write(tmp_path / "talk.mp4", Sound(babble(3, RATE)[None], RATE), Pictures(STAMPS, rotation=90))
    info = probe(path)
    assert info.audio and info.video
    assert (info.audio.codec, info.audio.rate, info.audio.channels) == ("aac", RATE, 1)
    assert (info.video.width, info.video.height, info.video.rotation) == (64, 48, 90)
    assert info.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert info.duration_ms is not None and abs(info.duration_ms - 3_000) < 60


def test_recordings_joined_end_to_end_go_on(tmp_path: Path) -> None:
    one = write(tmp_path / "one.ts", Sound(tone(3, RATE)[None], RATE), Pictures(STAMPS)).read_bytes()
    joined = tmp_path / "joined.ts"
    joined.write_bytes(one + one)
    reader = open_media(joined, session="s")
    records = list(reader)
    ends = [record.media_ms for record in records if isinstance(record, SourceEnd)]
    assert all(end == pytest.approx(6_000, abs=150) for end in ends)
    assert len(seen(records)) == pytest.approx(60, abs=2)
    assert any("start again" in problem for problem in reader.problems)


def test_a_rate_that_changes_on_the_way_is_converted(tmp_path: Path) -> None:
    import av

    path = tmp_path / "changing.aac"
    parts = []
    for rate in (44100, 48000):
        part = tmp_path / f"{rate}.aac"
        with av.open(str(part), "w", format="adts") as container:
            stream = container.add_stream("aac", rate=rate, layout="mono")
            for at in range(0, 2 * rate, 1024):
                frame = av.AudioFrame.from_ndarray(tone(1024 / rate, rate)[None].astype(np.float32) / 32768, format="fltp", layout="mono")
                frame.sample_rate, frame.pts = rate, at
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        parts.append(part.read_bytes())
    path.write_bytes(b"".join(parts))
    reader = open_media(path, session="s")
    chunks = [record for record in reader if isinstance(record, AudioChunk)]
    assert {chunk.rate for chunk in chunks} == {44100}
    assert chunks[-1].start_ms == pytest.approx(4_100, abs=250)
    assert any("format changes" in problem for problem in reader.problems)


def test_progress_runs_from_the_start_to_the_end_of_the_part(tmp_path: Path) -> None:
    path = write(tmp_path / "call.wav", Sound(babble(5, 8000)[None], 8000))
    reader = open_media(path, session="s", from_ms=2_000, to_ms=4_000)
    assert (reader.position_ms, reader.duration_ms) == (2_000, 4_000)
    positions = [reader.position_ms for _ in reader]
    assert positions == sorted(positions) and positions[-1] == 4_000
