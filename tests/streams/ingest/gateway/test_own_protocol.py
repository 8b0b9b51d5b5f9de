"""The product's own protocol as a codec: order, time, codecs, pauses, and all the ways in which a client can be wrong."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.ingest.gateway import protocol
from streams.ingest.gateway.assembler import MAX_DEAD_LETTERS, MAX_ORIGINAL_BYTES
from streams.ingest.gateway.calls import Audio, CallEvent, Refused
from streams.ingest.gateway.native import BadStart, NativeCodec
from streams.ingest.gateway.protocol import AUDIO, VIDEO, Person, Source, Start, pack
from streams.ingest.gateway.sequencer import WINDOW_FRAMES
from streams.records import AudioChunk, DeadLetter, Notice, SessionEnd, SessionStart, VideoFrame
from tests.streams.ingest.gateway.driving import counters_of, ends_of, pcm_of, records_of, tone
from tests.streams.ingest.gateway.scripts import OwnCodec, expand, mu_law_bytes

RATE = 16_000
FRAME = 320  # 20 ms
MONO = Start((Source(0, "audio", "pcm16", RATE),), session="s")
PCM = tone(50 * FRAME, rate=RATE)
END = protocol.encode(protocol.End())


def frame(seq: int, *, at: int | None = None, source: int = 0) -> bytes:
    """The seq-th 20 ms of PCM."""
    return pack(AUDIO, source, seq, seq * FRAME if at is None else at, PCM[2 * FRAME * (seq % 50) : 2 * FRAME * (seq % 50 + 1)])


def run(messages: list[str | bytes], start: Start = MONO) -> list[CallEvent]:
    codec = OwnCodec(start)
    return [event for message in messages for event in codec.feed(message)] + codec.flush()


def refusals(events: list[CallEvent]) -> list[str]:
    return [event.code for event in events if isinstance(event, Refused)]


def jpeg(size: tuple[int, int] = (64, 48), seed: int = 0) -> bytes:
    picture = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), np.uint8)
    return cv2.imencode(".jpg", picture)[1].tobytes()


class TestOrder:
    @given(st.randoms(use_true_random=False), st.lists(st.integers(0, 49), max_size=20))
    @settings(max_examples=40, deadline=None)
    def test_frames_swapped_and_repeated_within_the_window_change_nothing(self, random: object, repeats: list[int]) -> None:
        order = sorted(range(50), key=lambda seq: seq + random.uniform(0, WINDOW_FRAMES - 2))  # type: ignore[attr-defined]
        messages = [frame(seq) for seq in order]
        for seq in repeats:
            messages.insert(order.index(seq) + 1 + len(repeats), frame(seq))
        assert pcm_of(records_of(run([*messages, END]))) == {"audio/0": PCM}

    def test_a_repeated_frame_is_a_dead_letter_with_its_reason(self) -> None:
        events = run([frame(0), frame(1), frame(1), frame(2), END])
        letters = [record for record in records_of(events) if isinstance(record, DeadLetter)]
        assert [letter.reason.split(":")[0] for letter in letters] == ["duplicate"]
        assert letters[0].session == "s" and letters[0].stage == "ingest"
        assert letters[0].original == frame(1)[:MAX_ORIGINAL_BYTES]

    def test_a_missing_frame_is_waited_for_and_then_a_gap(self) -> None:
        seqs = [seq for seq in range(50) if seq != 10]
        waiting = records_of(run([frame(seq) for seq in seqs[:12]]))
        assert len(pcm_of(waiting)["audio/0"]) // 2 <= 13 * FRAME
        events = run([*(frame(seq) for seq in seqs), END])
        sound = pcm_of(records_of(events))["audio/0"]
        assert sound == PCM[: 20 * FRAME] + bytes(2 * FRAME) + PCM[22 * FRAME :]
        assert counters_of(events)["frames_lost"] == 1

    def test_a_frame_that_comes_after_it_was_given_up_is_refused(self) -> None:
        seqs = [*range(10), *range(11, 40), 10]
        assert refusals(run([*(frame(seq) for seq in seqs), END])) == ["late"]

    def test_a_sequence_that_begins_anew_goes_on_where_it_was(self) -> None:
        restarted = [pack(AUDIO, 0, seq, (25 + seq) * FRAME, PCM[2 * FRAME * (25 + seq) : 2 * FRAME * (26 + seq)]) for seq in range(25)]
        events = run([*(frame(seq) for seq in range(25)), *restarted, END])
        assert pcm_of(records_of(events)) == {"audio/0": PCM}
        assert refusals(events) == ["sequence_restart"]

    def test_a_wild_sequence_number_loses_no_frame(self) -> None:
        events = run([*(frame(seq) for seq in range(5)), frame(protocol.MAX_SEQ, at=5 * FRAME), *(frame(seq) for seq in range(5, 50)), END])
        assert pcm_of(records_of(events))["audio/0"][: len(PCM)] == PCM

    def test_a_flood_of_refusals_fills_no_topic(self) -> None:
        events = run([frame(0), *[frame(0)] * 3 * MAX_DEAD_LETTERS, END])
        assert sum(isinstance(record, DeadLetter) for record in records_of(events)) == MAX_DEAD_LETTERS


class TestTime:
    def test_a_gap_in_the_media_is_a_jump_of_the_sample_count(self) -> None:
        records = records_of(run([frame(0), frame(1, at=3 * FRAME), END]))
        chunks = [record for record in records if isinstance(record, AudioChunk)]
        assert [(chunk.seq, chunk.start_sample) for chunk in chunks] == [(0, 0), (1, 3 * FRAME)]

    def test_a_first_frame_that_begins_later_keeps_its_place(self) -> None:
        chunk = next(r for r in records_of(run([frame(0, at=RATE), END])) if isinstance(r, AudioChunk))
        assert chunk.start_ms == 1000

    @pytest.mark.parametrize("jump", [10**12, 2**63, 24 * 3600 * RATE])
    def test_a_clock_set_forward_invents_no_silence(self, jump: int) -> None:
        events = run([*(frame(seq) for seq in range(10)), *(frame(seq, at=jump + seq * FRAME) for seq in range(10, 50)), END])
        assert pcm_of(records_of(events)) == {"audio/0": PCM}
        assert refusals(events) == ["clock_jump"]

    def test_a_clock_set_back_loses_nothing(self) -> None:
        start = 3600 * RATE
        events = run([*(frame(seq, at=seq * FRAME + (start if seq < 25 else 0)) for seq in range(50)), END])
        sound = b"".join(r.payload for r in records_of(events) if isinstance(r, AudioChunk))
        assert sound == PCM and set(refusals(events)) == {"clock_jump"}

    def test_small_differences_of_the_count_are_rounding(self) -> None:
        events = run([*(frame(seq, at=seq * FRAME + (seq * 37) % 200) for seq in range(50)), END])
        assert pcm_of(records_of(events)) == {"audio/0": PCM} and refusals(events) == []


class TestPauses:
    def test_nothing_said_in_a_pause_leaves_the_codec(self) -> None:
        messages = [frame(0), protocol.encode(protocol.Pause(1)), frame(1), frame(2), protocol.encode(protocol.Continue(2)), frame(3), END]
        events = run(messages)
        sound = pcm_of(records_of(events))["audio/0"]
        assert sound == PCM[: 2 * FRAME] + bytes(4 * FRAME) + PCM[6 * FRAME : 8 * FRAME]
        assert PCM[2 * FRAME : 4 * FRAME] not in b"".join(event.pcm for event in events if isinstance(event, Audio))
        assert counters_of(events)["audio_frames_in_pause"] == 2

    def test_what_was_said_before_a_pause_does_not_wait_in_memory(self) -> None:
        codec = OwnCodec(MONO)
        events = [event for message in (frame(0), protocol.encode(protocol.Pause(1))) for event in codec.feed(message)]
        assert sum(isinstance(record, AudioChunk) for record in records_of(events)) == 1

    def test_a_pause_may_last_longer_than_any_gap(self) -> None:
        hours = 3 * 3600 * RATE
        events = run([frame(0), protocol.encode(protocol.Pause(1)), protocol.encode(protocol.Continue(2)), frame(1, at=hours), END])
        starts = [r.start_sample for r in records_of(events) if isinstance(r, AudioChunk)]
        assert starts == [0, hours] and refusals(events) == []

    def test_a_pause_sent_again_after_a_reconnect_is_known(self) -> None:
        pause, go_on = protocol.encode(protocol.Pause(1)), protocol.encode(protocol.Continue(2))
        events = run([frame(0), pause, go_on, pause, go_on, frame(1), END])
        assert pcm_of(records_of(events))["audio/0"] == PCM[: 4 * FRAME]


class TestCodecs:
    def test_mu_law_and_a_law_are_expanded(self) -> None:
        noise = mu_law_bytes(800, 5)
        start = Start((Source(3, "audio", "mulaw", 8000, 2),), session="s")
        sound = pcm_of(records_of(run([pack(AUDIO, 3, 0, 0, noise), END], start)))
        assert sound == {"audio/0": expand(noise[0::2]), "audio/1": expand(noise[1::2])}

    def test_opus_comes_back_as_what_was_said_and_in_its_place(self) -> None:
        said = np.frombuffer(tone(48_000, rate=48_000), "<i2")
        packets = list(opus_packets(said))
        start = Start((Source(0, "audio", "opus", 48_000, 1, 312),), session="s")
        events = run([*(pack(AUDIO, 0, i, i * 960, packet) for i, packet in enumerate(packets)), END], start)
        heard = np.frombuffer(pcm_of(records_of(events))["audio/0"], "<i2")[: len(said)].astype(float)
        n = len(heard)
        noise = heard[4800:n] - said[4800:n]
        assert 10 * np.log10((said[4800:n].astype(float) ** 2).mean() / (noise**2).mean()) > 10
        delays = [float(np.dot(heard[5000 + lag : 40_000 + lag], said[5000:40_000])) for lag in range(-60, 61)]
        assert abs(int(np.argmax(delays)) - 60) <= 2  # within 40 microseconds

    def test_opus_with_a_lost_packet_keeps_the_time(self) -> None:
        packets = list(opus_packets(np.frombuffer(tone(48_000, rate=48_000), "<i2")))
        start = Start((Source(0, "audio", "opus", 48_000),), session="s")
        messages = [pack(AUDIO, 0, i, i * 960, packet) for i, packet in enumerate(packets) if i != 7]
        chunks = [r for r in records_of(run([*messages, END], start)) if isinstance(r, AudioChunk)]
        assert chunks[-1].start_sample + len(chunks[-1].payload) // 2 == len(packets) * 960

    def test_a_jpeg_goes_on_byte_for_byte(self) -> None:
        start = Start((Source(0, "video", "jpeg"),), session="s")
        pictures = [jpeg(seed=i) for i in range(3)]
        records = records_of(run([*(pack(VIDEO, 0, i, 100 * i, p) for i, p in enumerate(pictures)), END], start))
        frames = [record for record in records if isinstance(record, VideoFrame)]
        assert [(f.seq, f.media_ms, f.width, f.height, f.payload) for f in frames] == [(i, 100 * i, 64, 48, p) for i, p in enumerate(pictures)]

    def test_h264_leaves_as_pictures_from_the_key_frame_on(self) -> None:
        units = list(h264_units(50))
        start = Start((Source(0, "video", "h264"),), session="s")
        frames = [r for r in records_of(run([*(pack(VIDEO, 0, i, at, unit) for i, (at, unit) in enumerate(units)), END], start)) if isinstance(r, VideoFrame)]
        assert len(frames) == 20 and frames[0].media_ms == 0 and frames[-1].media_ms == 1920  # ten a second of 25
        picture = cv2.imdecode(np.frombuffer(frames[10].payload, np.uint8), cv2.IMREAD_COLOR)
        assert picture.shape == (240, 320, 3) and abs(picture[120, 160].astype(int) - 5 * 25).max() < 12
        late = records_of(run([*(pack(VIDEO, 0, i, at, unit) for i, (at, unit) in enumerate(units[3:10])), END], start))
        assert not any(isinstance(record, VideoFrame) for record in late)

    @pytest.mark.parametrize(("source", "payload"), [
        (Source(0, "audio", "pcm16", RATE), b"odd"), (Source(0, "audio", "opus", 48_000), b"\xff" * 9), (Source(0, "video", "jpeg"), b"no picture"),
        (Source(0, "video", "jpeg"), jpeg()[:-40]), (Source(0, "video", "h264"), b"no start code at all"),
    ])
    def test_an_unreadable_payload_is_refused_and_the_call_goes_on(self, source: Source, payload: bytes) -> None:
        kind = AUDIO if source.kind == "audio" else VIDEO
        events = run([pack(kind, 0, 0, 0, payload), END], Start((source,), session="s"))
        assert refusals(events) == ["bad_payload"] and ends_of(records_of(events)) == ["completed"]

    def test_a_picture_of_gigapixels_is_refused_unread(self) -> None:
        picture = bytearray(jpeg())
        at = picture.index(b"\xff\xc0")
        picture[at + 5 : at + 9] = b"\xff\xff\xff\xff"
        assert refusals(run([pack(VIDEO, 0, 0, 0, bytes(picture)), END], Start((Source(0, "video", "jpeg"),), session="s"))) == ["bad_payload"]

    def test_an_oversized_frame_is_refused_and_leaves_a_gap(self) -> None:
        codec = NativeCodec(MONO, max_frame_bytes=1000)
        big = pack(AUDIO, 0, 1, FRAME, bytes(2000))
        events: list[CallEvent] = [codec.started, *codec.feed(frame(0)), *codec.feed(big), *codec.feed(frame(2, at=4 * FRAME)), *codec.feed(END)]
        assert refusals(events) == ["too_large"]
        assert pcm_of(records_of(events))["audio/0"] == PCM[: 2 * FRAME] + bytes(6 * FRAME) + PCM[4 * FRAME : 6 * FRAME]


class TestWhoIsWho:
    def test_a_channel_of_nobody_is_unknown_and_not_emotion_analysed(self) -> None:
        start = Start((Source(0, "audio", "pcm16", RATE, 2),), (Person("ann", "customer", "audio/0"),), session="s", notice=Notice(True))
        opened = next(r for r in records_of(run([END], start)) if isinstance(r, SessionStart))
        assert [(p.id, p.role) for p in opened.participants] == [("ann", "customer"), ("audio-1", "unknown")]
        assert [opened.decisions[name].emotion for name in ("ann", "audio-1", "face-*")] == [True, False, False]

    def test_without_notice_the_customer_is_not_emotion_analysed_either(self) -> None:
        start = Start(MONO.sources, (Person("ann", "customer", "audio/0"),), session="s")
        opened = next(r for r in records_of(run([END], start)) if isinstance(r, SessionStart))
        assert not opened.decisions["ann"].emotion and opened.decisions["ann"].transcribe

    @pytest.mark.parametrize(("start", "code"), [
        (Start((Source(0, "audio", "gsm", 8000),)), "unknown_codec"),
        (Start((Source(0, "audio", "opus", 16_000),)), "bad_rate"),
        (Start((Source(0, "audio", "pcm16", 1),)), "bad_rate"),
        (Start((Source(0, "audio", "pcm16", RATE, 99),)), "bad_channels"),
        (Start(()), "bad_sources"),
        (Start((Source(0, "audio", "pcm16"), Source(0, "video", "jpeg"))), "bad_sources"),
        (Start(MONO.sources, (Person("a", "custmer", "audio/0"),)), "unknown_role"),
        (Start(MONO.sources, (Person("a", "customer", "audio/7"),)), "bad_participants"),
        (Start(MONO.sources, (Person("a", channel="audio/0"), Person("b", channel="audio/0"))), "bad_participants"),
        (Start(MONO.sources, (Person("a"), Person("a"))), "bad_participants"),
        (Start(MONO.sources, (Person("<script>"),)), "bad_participants"),
        (Start(MONO.sources, session="../../etc"), "bad_session"),
    ])
    def test_a_start_that_cannot_be_served_names_what_and_the_cure(self, start: Start, code: str) -> None:
        with pytest.raises(BadStart) as caught:
            NativeCodec(start)
        assert caught.value.code == code and caught.value.what and caught.value.cure

    def test_a_near_role_is_suggested(self) -> None:
        with pytest.raises(BadStart) as caught:
            NativeCodec(Start(MONO.sources, (Person("a", "custmer", "audio/0"),)))
        assert "`customer`" in caught.value.cure


class TestTakingOver:
    """Another gateway goes on with the call from the state in the last acknowledgement."""

    @given(st.integers(0, 49), st.sampled_from([160, 320, 333, 1000]))
    @settings(max_examples=30, deadline=None)
    def test_the_records_are_those_of_an_unbroken_call(self, cut: int, size: int) -> None:
        from streams.ingest.gateway.assembler import Assembler

        n = len(PCM) // 2
        frames = [pack(AUDIO, 0, i, at, PCM[2 * at : 2 * (at + size)]) for i, at in enumerate(range(0, n, size))]
        cut = min(cut, len(frames))
        whole = records_of(run([*frames, END]))
        first, one = NativeCodec(MONO), Assembler()
        handed_on = one.feed(first.started)
        state = first.state({})
        for message in frames[:cut]:
            for event in first.feed(message):
                handed_on += one.feed(event)
            if first.settle(one.positions()):
                state = first.state(one.positions())
        key = b"k"
        state = protocol.unseal(protocol.seal(state, key), key)
        second, two = NativeCodec(MONO), Assembler()
        second.restore(state)
        assert two.feed(second.started) == whole[:1]  # published again, unchanged
        two.restore(state.records, paused=state.paused)
        for message in [*frames[second.received()["0"] + 1 :], END]:
            for event in second.feed(message):
                handed_on += two.feed(event)
        assert handed_on == whole and isinstance(handed_on[-1], SessionEnd)

    def test_a_state_of_another_key_or_changed_is_refused(self) -> None:
        state = protocol.seal(NativeCodec(MONO).state({}), b"one")
        for text, key in ((state, b"two"), (state[:-4] + "AAA=", b"one"), ("", b"one"), ("é", b"one")):
            with pytest.raises(protocol.ProtocolError):
                protocol.unseal(text, key)


class TestWire:
    @given(st.sampled_from([AUDIO, VIDEO]), st.integers(0, 255), st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1), st.binary(max_size=50))
    def test_frames_survive_the_wire(self, kind: int, source: int, seq: int, time: int, payload: bytes) -> None:
        got = protocol.unpack(pack(kind, source, seq, time, payload))
        assert (got.kind, got.source, got.seq, got.time, got.payload) == (kind, source, seq, time, payload)

    @given(st.binary(max_size=64))
    def test_any_bytes_are_a_frame_or_a_protocol_error(self, data: bytes) -> None:
        try:
            protocol.unpack(data)
        except protocol.ProtocolError:
            pass

    def test_the_header_is_the_documented_one(self) -> None:
        assert pack(AUDIO, 2, 3, 4, b"x") == bytes([1, 2, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0]) + b"x"

    def test_messages_of_the_future_are_read(self) -> None:
        assert protocol.decode_client('{"type":"end","colour":"blue"}') == protocol.End()
        assert protocol.decode_server('{"type":"hologram"}') is None


def opus_packets(pcm: np.ndarray) -> Iterator[bytes]:
    encoder = av.CodecContext.create("libopus", "w")
    encoder.sample_rate, encoder.layout, encoder.format, encoder.time_base, encoder.bit_rate = 48_000, "mono", "s16", Fraction(1, 48_000), 64_000
    for at in range(0, len(pcm) // 960 * 960, 960):
        block = av.AudioFrame.from_ndarray(np.ascontiguousarray(pcm[None, at : at + 960]), format="s16", layout="mono")
        block.sample_rate, block.pts = 48_000, at
        yield from (bytes(packet) for packet in encoder.encode(block))
    yield from (bytes(packet) for packet in encoder.encode(None))


def h264_units(n: int) -> Iterator[tuple[int, bytes]]:
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base, encoder.framerate = 320, 240, "yuv420p", Fraction(1, 1000), 25
    encoder.options = {"tune": "zerolatency"}
    for i in range(n):
        picture = av.VideoFrame.from_ndarray(np.full((240, 320, 3), 5 * i, np.uint8), format="bgr24")
        picture.pts = 40 * i
        yield from ((packet.pts or 0, bytes(packet)) for packet in encoder.encode(picture))
