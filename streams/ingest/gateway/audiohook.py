"""Genesys AudioHook, protocol version "2": JSON text frames with sequence numbers, audio in binary frames.

Two channels travel interleaved in the order of the selected media (external, the customer, is left). The position is
counted in samples; `discarded` and `resumed` move it. Fields that are not known are ignored: new ones appear. An `open`
whose ids are all zeros is a probe of the connection: it is answered and leaves nothing behind.
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from streams.ingest.gateway import g711
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
    session_id,
)
from streams.ingest.gateway.people import audio_name, language_of, people
from streams.ingest.gateway.settings import CallDefaults

PROBE_ID = "00000000-0000-0000-0000-000000000000"
MAX_TEXT_BYTES = 64 * 1024
_DURATION = re.compile(r"PT(\d+(?:\.\d+)?)S")
_SAMPLE_BYTES = {"PCMU": 1, "L16": 2}


class _Broken(ValueError):
    """The message breaks the protocol; the text says how."""


class AudioHookCodec:
    """One connection. `feed` takes text and binary messages; its replies must be sent at once (`opened` within 5 s)."""

    def __init__(self, defaults: CallDefaults | None = None, *, authorized: bool = True, max_gap_s: float = 600.0) -> None:
        self._defaults = defaults or CallDefaults(roles={"external": "customer", "internal": "employee"})
        self._authorized = authorized
        self._max_gap_s = max_gap_s
        self._id: str | None = None
        self._received = self._sent = 0
        self._format, self._rate = "PCMU", 8000
        self._sources: tuple[str, ...] = ()
        self._position = 0
        self._rest = b""
        self._opened = self._probe = self._paused = self._ended = False
        self.done = False

    def feed(self, message: str | bytes) -> list[CallEvent]:
        if self.done:
            return []
        try:
            if isinstance(message, bytes):
                return [] if self._ended else self._audio(message)
            return self._text(message)
        except _Broken as error:
            return self._broken(str(error), message)
        except (msgspec.DecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
            return self._broken(f"{error} is missing" if isinstance(error, KeyError) else str(error), message)

    def flush(self) -> list[CallEvent]:
        self.done = True
        return self._end("interrupted")

    def _text(self, text: str) -> list[CallEvent]:
        if len(text.encode("utf-8", "replace")) > MAX_TEXT_BYTES:
            raise _Broken("a message of more than 64 KiB")
        message = msgspec.json.decode(text, type=dict[str, Any])
        kind, parameters = message["type"], message.get("parameters") or {}
        if self._ended:  # after an error only the farewell counts
            return self._close(parameters) if kind == "close" else []
        self._check_envelope(message)
        if kind == "open":
            return self._open(message, parameters)
        if not self._opened:
            raise _Broken(f"{kind} before open")
        handler = {
            "ping": self._ping, "close": self._close, "paused": self._on_paused, "resumed": self._on_resumed,
            "discarded": self._on_discarded, "update": self._update, "error": self._error,
        }.get(kind)
        return handler(parameters) if handler else [Noted("unknown_messages")]

    def _check_envelope(self, message: dict[str, Any]) -> None:
        if message.get("version") != "2":
            raise _Broken(f"version {message.get('version')!r}, this is version 2")
        if not isinstance(message["id"], str) or (self._id is not None and message["id"] != self._id):
            raise _Broken("the id is not that of the session")
        if message["seq"] != self._received + 1:
            raise _Broken(f"seq {message['seq']} after {self._received}")
        if int(message.get("serverseq", 0)) > self._sent:
            raise _Broken(f"serverseq {message['serverseq']}, but {self._sent} were sent")
        self._id, self._received = message["id"], self._received + 1

    def _open(self, message: dict[str, Any], parameters: dict[str, Any]) -> list[CallEvent]:
        if self._opened:
            raise _Broken("a second open")
        self._opened = True
        if not self._authorized:
            self._ended = True
            return [self._disconnect("unauthorized", "the signature or the key is wrong"),
                    Fault("unauthorized", "the signature or the key is wrong", "audiohook", "check the client secret of the integration")]
        media = _choose(parameters.get("media") or [])
        participant = parameters.get("participant") or {}
        self._probe = parameters.get("conversationId") == PROBE_ID and participant.get("id") == PROBE_ID
        opened = self._reply("opened", {"media": [media] if media else [], "startPaused": False})
        if self._probe:
            return [opened, Noted("probes")]
        if media is None:
            self._ended = True
            return [self._disconnect("error", "no media that can be read was offered"),
                    Fault("unknown_codec", "no media that can be read was offered", "audiohook", "offer PCMU or L16")]
        self._format, self._rate = media["format"], int(media["rate"])
        self._sources = tuple(audio_name(i) for i in range(len(media["channels"])))
        attributes = {"conversation": parameters.get("conversationId"), "organization": parameters.get("organizationId")}
        continued = parameters.get("continuedSessions") or []
        if continued:
            attributes["continues"] = ",".join(str(entry.get("id", "")) for entry in continued[:8])
        started = CallStarted(
            session_id(self._id),
            people(media["channels"], self._defaults.roles),
            self._sources,
            media="audiohook",
            language=language_of(parameters.get("language") or self._defaults.language),
            notice=self._defaults.notice,
            attributes={key: str(value) for key, value in attributes.items() if value},
        )
        return [opened, started]

    def _audio(self, data: bytes) -> list[CallEvent]:
        if not self._opened:
            raise _Broken("audio before open")
        if self._probe or self._paused:
            return [Noted("audio_frames_in_pause")] if self._paused else []
        data = self._rest + data
        frame = len(self._sources) * _SAMPLE_BYTES[self._format]
        whole = len(data) // frame * frame
        data, self._rest = data[:whole], data[whole:]
        pcm = g711.mu_law(data) if self._format == "PCMU" else data
        start, self._position = self._position, self._position + whole // frame
        parts = g711.deinterleave(pcm, len(self._sources))
        return [Audio(name, start, self._rate, part) for name, part in zip(self._sources, parts, strict=True)] if whole else []

    def _move(self, parameters: dict[str, Any]) -> list[CallEvent]:
        """Media time went on without audio: to the end of the hole, by absolute time so that roundings do not add up."""
        end = round((_seconds(parameters["start"]) + _seconds(parameters["discarded"])) * self._rate)
        hole = end - self._position
        if hole > self._max_gap_s * self._rate and not self._paused:
            return [Refused("clock_jump", f"{hole / self._rate:.0f} s were discarded", "audiohook", "counted on by samples")]
        self._position, self._rest = max(self._position, end), b""
        return [Noted("discarded_samples", max(hole, 0))]

    def _on_discarded(self, parameters: dict[str, Any]) -> list[CallEvent]:
        return self._move(parameters)

    def _on_paused(self, parameters: dict[str, Any]) -> list[CallEvent]:
        self._paused = True
        return [Paused()]

    def _on_resumed(self, parameters: dict[str, Any]) -> list[CallEvent]:
        moved = self._move(parameters)
        self._paused = False
        return [*moved, Resumed()]

    def _ping(self, parameters: dict[str, Any]) -> list[CallEvent]:
        return [self._reply("pong", {})]

    def _update(self, parameters: dict[str, Any]) -> list[CallEvent]:
        return [self._reply("updated", {}), Noted("language_changes")]

    def _error(self, parameters: dict[str, Any]) -> list[CallEvent]:
        code = parameters.get("code")
        return [Refused("client_error", f"the client reports error {code}: {str(parameters.get('message', ''))[:200]}", "audiohook", "see its log")]

    def _close(self, parameters: dict[str, Any]) -> list[CallEvent]:
        self.done = True
        reason = {"end": "completed", "error": "error", "disconnect": "completed", "reconnect": "interrupted"}.get(str(parameters.get("reason")), "completed")
        return [*self._end(reason), self._reply("closed", {})]

    def _end(self, reason: str) -> list[CallEvent]:
        begun = self._opened and not self._probe and not self._ended
        self._ended = True
        return [CallEnded(reason)] if begun else []

    def _broken(self, problem: str, message: str | bytes) -> list[CallEvent]:
        if self._ended:  # further errors are suppressed once one was signalled
            return []
        self._ended = True
        self.done = self._id is None  # nobody to say farewell to
        original = message.encode("utf-8", "replace") if isinstance(message, str) else message
        fault = Fault("malformed", f"not an AudioHook message: {problem}", "audiohook", "send protocol version 2", original)
        return [self._disconnect("error", problem), fault] if self._id else [fault]

    def _disconnect(self, reason: str, info: str) -> Reply:
        return self._reply("disconnect", {"reason": reason, "info": info})

    def _reply(self, kind: str, parameters: dict[str, Any]) -> Reply:
        self._sent += 1
        envelope = {"version": "2", "id": self._id, "type": kind, "seq": self._sent, "clientseq": self._received, "parameters": parameters}
        return Reply(msgspec.json.encode(envelope).decode())


def _choose(offered: list[Any]) -> dict[str, Any] | None:
    """The first offer with both channels, otherwise the first that can be read at all."""
    readable = [
        media for media in offered
        if isinstance(media, dict) and media.get("type") == "audio" and media.get("format") in _SAMPLE_BYTES and media.get("channels")
        and sorted(media["channels"]) in (["external"], ["internal"], ["external", "internal"]) and 4000 <= int(media.get("rate", 0)) <= 192_000
    ]
    return next((media for media in readable if len(media["channels"]) == 2), readable[0] if readable else None)


def _seconds(duration: Any) -> Decimal:
    match = _DURATION.fullmatch(duration) if isinstance(duration, str) else None
    if match is None:
        raise _Broken(f"{duration!r} is not a duration like PT1.5S")
    try:
        return Decimal(match[1])
    except InvalidOperation as error:  # pragma: no cover - the pattern admits decimals only
        raise _Broken(f"{duration!r} is not a duration") from error
