"""Server side of the product's own protocol, as a codec: control messages and frames in, call events out."""

from __future__ import annotations

import difflib
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from streams.ingest.gateway import decoders, protocol
from streams.ingest.gateway.assembler import Position
from streams.ingest.gateway.calls import (
    Audio,
    CallEnded,
    CallEvent,
    CallStarted,
    Fault,
    Noted,
    Paused,
    Refused,
    Reply,
    Resumed,
    Video,
    is_session_id,
    session_id,
)
from streams.ingest.gateway.decoders import PayloadError
from streams.ingest.gateway.people import audio_name, language_of, video_name
from streams.ingest.gateway.protocol import Frame, ProtocolError, SourceState, Start
from streams.ingest.gateway.sequencer import Ordered, Sequencer
from streams.ingest.gateway.timeline import Placed, Timeline
from streams.policy import ROLE_ALIASES, ROLES, normal_role
from streams.records import Participant

AUDIO_TOLERANCE_MS = 20
VIDEO_TOLERANCE_MS = 1000
"""H.264 with B frames comes in decoding order: its times step back a little."""


class BadStart(ValueError):
    """A `start` message that cannot be served: `code`, what, and the cure."""

    def __init__(self, code: str, what: str, cure: str) -> None:
        super().__init__(what)
        self.code, self.what, self.cure = code, what, cure


@dataclass(slots=True)
class _Pending:
    """A frame not yet acknowledged: it is handed on when `end` is, and this is how the timeline stood after it."""

    seq: int
    end: int
    expected: int
    offset: int


class _Source:
    """One declared source: order, time, decoder, and the frames that wait for their acknowledgement."""

    def __init__(self, spec: protocol.Source, names: list[str], max_gap_s: float) -> None:
        self.spec, self.names = spec, names
        self.order = Sequencer()
        self.pending: deque[_Pending] = deque()
        self.acked = SourceState(-1)
        self.after_pause = self.after_loss = False
        if spec.kind == "audio":
            self.audio: decoders.AudioDecoder | None = decoders.audio_decoder(spec.codec, spec.channels)
            self.video: decoders.VideoDecoder | None = None
            self.time = Timeline(tolerance=AUDIO_TOLERANCE_MS * spec.rate // 1000, max_gap=int(max_gap_s * spec.rate))
        else:
            self.audio, self.video = None, decoders.video_decoder(spec.codec)
            self.time = Timeline(tolerance=VIDEO_TOLERANCE_MS, max_gap=int(max_gap_s * 1000), exact=True)

    def restore(self, state: SourceState) -> None:
        self.acked = state
        self.order.next = state.acked + 1
        self.time.expected, self.time.offset = state.expected, state.offset

    def newer(self, frame: Frame) -> bool:
        return frame.time + self.time.offset >= self.time.expected

    def take(self, ordered: Ordered) -> list[CallEvent]:
        """Events of a frame in its turn."""
        frame = ordered.frame
        events: list[CallEvent] = [Noted("frames_lost", ordered.lost)] if ordered.lost else []
        if not frame.payload:  # it keeps the count and carries no media
            self.after_loss = True
            self.pending.append(_Pending(frame.seq, 0, self.time.expected, self.time.offset))
            return events
        if self.video and (ordered.lost or self.after_loss or self.after_pause):
            self.video.reset()
        try:
            end, decoded = self._decode_audio(frame, ordered.lost) if self.audio else self._decode_video(frame)
            self.after_loss = False
        except PayloadError as error:
            self.after_loss = True
            end, decoded = 0, [self._refused("bad_payload", str(error), frame, f"send {self.spec.codec}")]
        self.pending.append(_Pending(frame.seq, end, self.time.expected, self.time.offset))
        return events + decoded

    def skip(self, frame: Frame) -> None:
        """A frame that came in a pause: thrown away unread."""
        self.after_pause = self.after_loss = True
        self.pending.append(_Pending(frame.seq, 0, self.time.expected, self.time.offset))

    def refused(self, frame: Frame, verdict: str) -> list[CallEvent]:
        """Events for a frame out of order."""
        if verdict == "resent":
            return [Noted("frames_resent")]
        what = {
            "duplicate": "was received already, or a sender began anew without a new session",
            "late": "came after it had been taken for lost",
            "restart": "begins a new count: taken as the frame that follows",
        }[verdict]
        code = "sequence_restart" if verdict == "restart" else verdict
        return [Noted(f"frames_{verdict}"), self._refused(code, f"frame {frame.seq} {what}", frame, "number each frame once, from 0")]

    def settle(self, positions: Mapping[str, Position]) -> bool:
        """Drop the pending frames that have been handed on; whether there were any."""
        reached = positions[self.names[0]].sample if self.spec.kind == "audio" else 0
        moved = False
        while self.pending and self.pending[0].end <= reached:
            done = self.pending.popleft()
            self.acked, moved = SourceState(done.seq, done.expected, done.offset), True
        return moved

    def _decode_audio(self, frame: Frame, lost: int) -> tuple[int, list[CallEvent]]:
        assert self.audio is not None
        parts = self.audio.decode(frame.payload)
        length = len(parts[0]) // 2
        placed, events = self._place(frame, lost)
        self.time.advance(placed.position, length)
        start = placed.position - self.spec.pre_skip
        cut = max(0, -start)
        events += [Audio(name, start + cut, self.spec.rate, pcm[2 * cut :]) for name, pcm in zip(self.names, parts, strict=True) if length > cut]
        return max(0, start + length), events

    def _decode_video(self, frame: Frame) -> tuple[int, list[CallEvent]]:
        assert self.video is not None
        placed, events = self._place(frame, 0)
        self.time.advance(placed.position, 1)
        pictures = self.video.decode(frame.payload, placed.position)
        return 0, [*events, *(Video(self.names[0], *picture) for picture in pictures)]

    def _place(self, frame: Frame, lost: int) -> tuple[Placed, list[CallEvent]]:
        placed = self.time.place(frame.time, lost=bool(lost) or self.after_loss, resumed=self.after_pause)
        self.after_pause = False
        if not placed.jump:
            return placed, []
        what = f"media time {frame.time} of frame {frame.seq} lies far {placed.jump}: the frame is taken to follow the last one"
        return placed, [self._refused("clock_jump", what, frame, "count samples from 0, without the wall clock")]

    def _refused(self, code: str, what: str, frame: Frame, cure: str) -> Refused:
        original = protocol.pack(frame.kind, frame.source, frame.seq, frame.time, frame.payload)
        return Refused(code, what, f"source {self.spec.index}", cure, original)


class NativeCodec:
    """One call, over as many connections as it takes. `start` is its (checked) first message; raises `BadStart`."""

    def __init__(self, start: Start, *, max_gap_s: float = 600.0, max_frame_bytes: int = 1 << 20) -> None:
        check(start)
        self._max_frame_bytes = max_frame_bytes
        self._sources: dict[int, _Source] = {}
        audio = video = 0
        for spec in start.sources:
            if spec.kind == "audio":
                names = [audio_name(audio + i) for i in range(spec.channels)]
                audio += spec.channels
            else:
                names, video = [video_name(video)], video + 1
            self._sources[spec.index] = _Source(spec, names, max_gap_s)
        self.started = CallStarted(
            start.session or session_id(None),
            _participants(start, [audio_name(i) for i in range(audio)]),
            tuple(audio_name(i) for i in range(audio)),
            tuple(video_name(i) for i in range(video)),
            "live",
            language_of(start.language),
            start.notice,
            {key[:64]: value[:200] for key, value in list(start.attributes.items())[:32]},
        )
        self.control = 0
        self.paused = False
        self.done = False
        self.heavy = any(source.spec.codec == "h264" for source in self._sources.values())

    @property
    def names(self) -> dict[str, list[str]]:
        """Source index (as text) -> names of its sources in the session."""
        return {str(index): source.names for index, source in self._sources.items()}

    def feed(self, message: str | bytes) -> list[CallEvent]:
        if self.done:
            return []
        try:
            return self._frame(message) if isinstance(message, bytes) else self._control(protocol.decode_client(message))
        except ProtocolError as error:
            self.done = True
            original = message.encode("utf-8", "replace") if isinstance(message, str) else message
            return [Fault("malformed", str(error), "ingest", "see the ingest protocol in the documentation", original)]

    def flush(self) -> list[CallEvent]:
        """The call ends where it is: its client did not come back."""
        return self._end("interrupted")

    def disconnected(self) -> None:
        """The connection is gone, the call is not: the client may send again what it has no acknowledgement of."""
        for source in self._sources.values():
            source.order.disconnected()

    def received(self) -> dict[str, int]:
        """Per source index: the last frame up to which nothing needs to be sent again."""
        return {str(index): source.order.next - 1 for index, source in self._sources.items()}

    def settle(self, positions: Mapping[str, Position]) -> bool:
        """Take note of what has been handed on; whether there is something new to acknowledge."""
        return any([source.settle(positions) for source in self._sources.values()])

    def state(self, positions: Mapping[str, Position]) -> protocol.CallState:
        """What another gateway needs to go on from here."""
        sources = {index: source.acked for index, source in self._sources.items()}
        return protocol.CallState(self.started.session, sources, dict(positions), self.control, self.paused)

    def restore(self, state: protocol.CallState) -> None:
        for index, source in state.sources.items():
            if index in self._sources:
                self._sources[index].restore(source)
        self.control, self.paused = state.control, state.paused

    def _control(self, message: protocol.ClientMessage) -> list[CallEvent]:
        if isinstance(message, protocol.Ping):
            return [Reply(protocol.encode(protocol.Pong()))]
        if isinstance(message, protocol.End):
            return self._end(message.reason)
        if isinstance(message, protocol.Pause | protocol.Continue):
            if message.n and message.n <= self.control:
                return [Noted("frames_resent")]
            self.control = message.n or self.control + 1
            return self._set_paused(isinstance(message, protocol.Pause))
        raise ProtocolError(f"`{message.__struct_config__.tag}` in a call that has begun")

    def _set_paused(self, paused: bool) -> list[CallEvent]:
        if paused == self.paused:
            return []
        events: list[CallEvent] = []
        if paused:  # what came before the pause belongs to the call
            events = [event for source in self._sources.values() for ordered in source.order.flush() for event in source.take(ordered)]
        else:
            for source in self._sources.values():
                source.after_pause = True
        self.paused = paused
        return [*events, Paused() if paused else Resumed()]

    def _frame(self, data: bytes) -> list[CallEvent]:
        frame = protocol.unpack(data)
        source = self._sources.get(frame.source)
        if source is None or (frame.kind == protocol.AUDIO) != (source.spec.kind == "audio"):
            kind = "audio" if frame.kind == protocol.AUDIO else "video"
            raise ProtocolError(f"a frame of {kind} source {frame.source}, which `start` does not declare")
        if len(data) > self._max_frame_bytes:
            # Its place in the sequence is taken all the same, so that the frames after it need not wait for it.
            what, cure = f"frame {frame.seq} of {len(data)} bytes", f"send at most {self._max_frame_bytes} bytes"
            refused = Refused("too_large", what, f"source {frame.source}", cure, data[:256])
            return [refused, *self._ordered(source, Frame(frame.kind, frame.source, frame.seq, frame.time, b""))]
        return self._ordered(source, frame)

    def _ordered(self, source: _Source, frame: Frame) -> list[CallEvent]:
        verdict, ready = source.order.push(frame, newer=source.newer(frame))
        events = [] if verdict == "ok" else source.refused(frame, verdict)
        for ordered in ready:
            if self.paused:
                source.skip(ordered.frame)
                events.append(Noted(f"{source.spec.kind}_frames_in_pause"))
            else:
                events += source.take(ordered)
        return events

    def _end(self, reason: str) -> list[CallEvent]:
        if self.done:
            return []
        self.done = True
        events: list[CallEvent] = []
        for source in self._sources.values():
            for ordered in source.order.flush() if not self.paused else ():
                events += source.take(ordered)
            if source.video and not self.paused:
                events += [Video(source.names[0], *picture) for picture in source.video.flush()]
        return [*events, CallEnded(reason)]


def _participants(start: Start, channels: list[str]) -> tuple[Participant, ...]:
    """The declared people, and one `unknown` for each channel that nobody was declared to speak on."""
    declared = [Participant(person.id, normal_role(person.role, live=True), person.channel, person.video) for person in start.participants]
    owned = {person.channel for person in declared}
    return (*declared, *(Participant(channel.replace("/", "-"), "unknown", channel) for channel in channels if channel not in owned))


def check(start: Start) -> None:
    """Raises `BadStart` for a first message that cannot be served."""
    if start.session is not None and not is_session_id(start.session):
        raise BadStart("bad_session", f"session id {start.session[:40]!r}", "use letters, digits and ._:- only, at most 128")
    if not 0 < len(start.sources) <= protocol.MAX_SOURCES or len({source.index for source in start.sources}) < len(start.sources):
        raise BadStart("bad_sources", f"{len(start.sources)} sources", f"declare 1 to {protocol.MAX_SOURCES} sources, each index once")
    for source in start.sources:
        _check_source(source)
    audio = sum(source.channels for source in start.sources if source.kind == "audio")
    video = sum(source.kind == "video" for source in start.sources)
    _check_people(start, {audio_name(i) for i in range(audio)}, {video_name(i) for i in range(video)})


def _check_source(source: protocol.Source) -> None:
    known = decoders.AUDIO_CODECS if source.kind == "audio" else decoders.VIDEO_CODECS
    if source.codec not in known:
        raise BadStart("unknown_codec", f"{source.kind} codec {source.codec[:40]!r} of source {source.index}", f"use one of {', '.join(known)}")
    if not 0 <= source.index <= 255 or not 0 <= source.pre_skip <= 48_000:
        raise BadStart("bad_sources", f"index {source.index}, pre_skip {source.pre_skip}", "use an index of 0 to 255 and a pre_skip of 0 to 48000")
    if source.kind == "audio":
        rates = (decoders.OPUS_RATE,) * 2 if source.codec == "opus" else (4000, 192_000)
        if not rates[0] <= source.rate <= rates[1]:
            cure = f"use {rates[0]} to {rates[1]} Hz" if rates[0] < rates[1] else "Opus is 48000 Hz"
            raise BadStart("bad_rate", f"{source.rate} Hz of source {source.index}", cure)
        limit = 2 if source.codec == "opus" else protocol.MAX_CHANNELS
        if not 1 <= source.channels <= limit:
            raise BadStart("bad_channels", f"{source.channels} channels of source {source.index}", f"use 1 to {limit}")


def _check_people(start: Start, audio: set[str], video: set[str]) -> None:
    ids = [person.id for person in start.participants]
    if len(set(ids)) < len(ids) or any(not is_session_id(name) for name in ids):
        raise BadStart("bad_participants", "participant ids", "give each an id of its own: letters, digits and ._:-")
    for place, names in (("channel", audio), ("video", video)):
        used = [value for person in start.participants if (value := getattr(person, place)) is not None]
        wrong = next((value for value in used if value not in names or used.count(value) > 1), None)
        if wrong is not None:
            raise BadStart("bad_participants", f"{place} {wrong[:40]!r} of a participant", f"use each of {', '.join(sorted(names)) or 'none'} once")
    for person in start.participants:
        if normal_role(person.role, live=True) not in ROLES:
            near = difflib.get_close_matches(person.role.lower(), [*ROLES, *ROLE_ALIASES], 1)
            cure = f"did you mean `{near[0]}`?" if near else f"use one of {', '.join(ROLES)}"
            raise BadStart("unknown_role", f"role {person.role[:40]!r} of {person.id}", cure)
