"""Bad input: one line that says what, where and the cure, or a correct partial result."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from extractors.errors import InputError
from streams.ingest.files import open_media, probe
from streams.records import AudioChunk, SourceEnd, VideoFrame
from tests.media import Pictures, Sound, babble, cut_off, tone, write

RATE = 16000


def refusal(path: Path) -> InputError:
    with pytest.raises(InputError) as refused:
        probe(path)
    text = str(refused.value)
    assert "\n" not in text and str(path) in text and refused.value.cure
    return refused.value


def test_a_missing_file(tmp_path: Path) -> None:
    assert refusal(tmp_path / "not there.wav").what == "no such file"


def test_a_folder(tmp_path: Path) -> None:
    assert "folder" in refusal(tmp_path).what


def test_zero_bytes(tmp_path: Path) -> None:
    empty = tmp_path / "empty.wav"
    empty.touch()
    assert "zero bytes" in refusal(empty).what


@pytest.mark.parametrize("name", ["notes.wav", "notes.txt", "notes.mp4", "notes.srt", "list.m3u8"])
def test_text_is_no_recording_whatever_its_name(tmp_path: Path, name: str) -> None:
    text = tmp_path / name
    secret = write(tmp_path / "other.wav", Sound(tone(1, RATE)[None], RATE))
    text.write_text(f"#EXTM3U\n#EXTINF:1,\n{secret}\n1\n00:00:00,000 --> 00:00:02,000\nwords\n" * 40)
    assert "not a media file" in refusal(text).what


def test_random_bytes(tmp_path: Path) -> None:
    noise = tmp_path / "noise.mp3"
    noise.write_bytes(np.random.default_rng(0).integers(0, 256, 3000, np.uint8).tobytes())
    refusal(noise)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="permissions do not bind this user")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    closed = write(tmp_path / "closed.wav", Sound(tone(1, RATE)[None], RATE))
    closed.chmod(0)
    assert "cannot be read" in refusal(closed).what


def test_an_mp4_that_was_never_finished(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.mp4", Sound(tone(3, RATE)[None], RATE))
    assert "index" in refusal(cut_off(whole, tmp_path / "cut.mp4", 0.6)).what


def test_an_encrypted_recording(tmp_path: Path) -> None:
    key = {"encryption_scheme": "cenc-aes-ctr", "encryption_key": "76a6c65c5ea762046bd749a2e632ccbb", "encryption_kid": "a7e61c373e219033c21091fa607bf3b8"}
    locked = write(tmp_path / "locked.mp4", None, Pictures([n / 25 for n in range(20)]), options=key)
    assert "encrypted" in refusal(locked).what


def test_only_a_cover_picture_is_no_video(tmp_path: Path) -> None:
    info = probe(write(tmp_path / "song.mp3", Sound(tone(2, 44100)[None], 44100), cover=True))
    assert info.audio and info.video is None


@pytest.mark.parametrize("suffix", ["flac", "webm", "mp3", "wav", "mkv"])
def test_a_truncated_recording_gives_what_is_there_and_says_so(tmp_path: Path, suffix: str) -> None:
    rate = 48000
    whole = write(tmp_path / f"whole.{suffix}", Sound(babble(8, rate)[None], rate))
    reader = open_media(cut_off(whole, tmp_path / f"cut.{suffix}", 0.5), session="s")
    heard = sum(len(record.payload) // 2 for record in reader if isinstance(record, AudioChunk)) / rate
    assert 2.5 < heard < 5.5
    assert any("cut off" in problem for problem in reader.problems)


def test_truncated_video_gives_the_pictures_that_are_there(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.mp4", None, Pictures([n / 25 for n in range(200)]), options={"movflags": "faststart"})
    reader = open_media(cut_off(whole, tmp_path / "cut.mp4", 0.7), session="s")
    pictures = [record for record in reader if isinstance(record, VideoFrame)]
    assert 5 < len(pictures) < 75
    assert any("cut off" in problem for problem in reader.problems)


@pytest.mark.parametrize("suffix", ["flac", "mkv", "mp4", "ogg"])
def test_damage_in_the_middle_costs_the_damaged_part(tmp_path: Path, suffix: str) -> None:
    whole = write(tmp_path / f"whole.{suffix}", Sound(babble(10, 48000)[None], 48000)).read_bytes()
    middle = len(whole) // 2
    hurt = tmp_path / f"hurt.{suffix}"
    hurt.write_bytes(whole[:middle] + b"\x55" * 2000 + whole[middle + 2000 :])
    reader = open_media(hurt, session="s")
    chunks = [record for record in reader if isinstance(record, AudioChunk)]
    assert chunks[-1].start_ms >= 9_900
    assert any("missing" in problem or "damaged" in problem for problem in reader.problems)


def test_audio_alone_and_video_alone(tmp_path: Path) -> None:
    heard = write(tmp_path / "heard.m4a", Sound(tone(2, RATE)[None], RATE))
    seen = write(tmp_path / "seen.mkv", None, Pictures([n / 25 for n in range(50)]))
    assert [reader.video_sources for reader in (open_media(heard, session="s"), open_media(seen, session="s"))] == [(), ("video/0",)]
    assert open_media(seen, session="s").participants == ()
    with pytest.raises(InputError, match="no audio track"):
        open_media(seen, session="s", video=False)


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 96000])
def test_every_rate_stays_as_it_is(tmp_path: Path, rate: int) -> None:
    pcm = babble(1.5, rate)
    records = list(open_media(write(tmp_path / "call.wav", Sound(pcm[None], rate)), session="s"))
    chunks = [record for record in records if isinstance(record, AudioChunk)]
    assert {chunk.rate for chunk in chunks} == {rate}
    assert b"".join(chunk.payload for chunk in chunks) == pcm.tobytes()


def test_silence_is_a_recording(tmp_path: Path) -> None:
    records = list(open_media(write(tmp_path / "silence.wav", Sound(np.zeros((2, RATE), np.int16), RATE)), session="s"))
    assert [record.media_ms for record in records if isinstance(record, SourceEnd)] == [1000]


@pytest.mark.parametrize("name", ["two words.wav", "Gespräch Zürich.wav", "通話 录音.wav", "call 10:30.wav", "50%d.wav", "a'b\"c.wav", "-x.wav"])
def test_any_file_name(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "plain.wav", Sound(tone(1, RATE)[None], RATE)).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert probe(name).duration_ms == 1000


@pytest.mark.parametrize(
    "wrong",
    [{"fps": 0.0}, {"fps": -1.0}, {"chunk_ms": 0}, {"from_ms": -5}, {"from_ms": 500, "to_ms": 500}, {"from_ms": 60_000}],
)
def test_impossible_options_are_refused_with_a_cure(tmp_path: Path, wrong: dict[str, float]) -> None:
    call = write(tmp_path / "call.wav", Sound(tone(1, RATE)[None], RATE))
    with pytest.raises(InputError) as refused:
        open_media(call, session="s", **wrong)  # type: ignore[arg-type]
    assert refused.value.cure


def test_other_tracks_are_named(tmp_path: Path) -> None:
    import av

    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("flac", rate=RATE, layout="mono") for _ in range(2)]
        streams[1].metadata["language"] = "fra"
        for stream in streams:
            frame = av.AudioFrame.from_ndarray(tone(1, RATE)[None], format="s16", layout="mono")
            frame.sample_rate, frame.pts = RATE, 0
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    assert any("track 1" in problem and "fra" in problem for problem in probe(path).problems)
