"""What each vendor sends for one and the same call, in frames of any size."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from streams.ingest.gateway import protocol
from streams.ingest.gateway.audiohook import AudioHookCodec
from streams.ingest.gateway.audiosocket import AudioSocketCodec
from streams.ingest.gateway.calls import Codec
from streams.ingest.gateway.freeswitch import FreeSwitchCodec
from streams.ingest.gateway.native import NativeCodec
from streams.ingest.gateway.twilio import TwilioCodec
from tests.streams.ingest.gateway.driving import split, tone

SAMPLES = 2001  # a quarter of a second at 8 kHz, not a multiple of anything
HOOK_ID = "b9f9b1e8-1111-4a63-8f0e-6d2a3a5d7c01"


def mu_law_bytes(n: int, seed: int) -> bytes:
    return np.random.default_rng(seed).integers(0, 256, n, dtype=np.uint8).tobytes()


def interleave(*channels: bytes, width: int) -> bytes:
    return np.stack([np.frombuffer(c, f"V{width}") for c in channels], axis=1).tobytes()


def expand(mu_law: bytes) -> bytes:
    """The definition of G.711 µ-law, sample by sample (independent of the product's table)."""
    out = []
    for byte in mu_law:
        code = ~byte & 0xFF
        magnitude = (((code & 15) << 3) + 0x84 << (code >> 4 & 7)) - 0x84
        out.append(-magnitude if code & 0x80 else magnitude)
    return np.array(out, "<i2").tobytes()


@dataclass(frozen=True)
class Script:
    """`messages(sizes)` is the whole call with its audio in pieces of those sizes (in samples); `pcm` what was said."""

    name: str
    codec: Callable[[], Codec]
    messages: Callable[[Sequence[int]], list[str | bytes]]
    pcm: dict[str, bytes] = field(repr=False)
    greeting: int  # so many messages open the call
    breaks: bool = True  # whether there is such a thing as garbage in this protocol


# --- Twilio

IN, OUT = mu_law_bytes(SAMPLES, 1), mu_law_bytes(SAMPLES, 2)


def twilio_message(event: str, sequence: int, **fields: Any) -> str:
    return json.dumps({"event": event, "sequenceNumber": str(sequence), "streamSid": "MZ0123", **fields})


def twilio_start(**parameters: str) -> str:
    start = {
        "accountSid": "AC1", "streamSid": "MZ0123", "callSid": "CA1", "tracks": ["inbound", "outbound"],
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}, "customParameters": parameters,
    }
    return twilio_message("start", 1, start=start)


def twilio_media(sequence: int, track: str, chunk: int, timestamp: int, payload: bytes) -> str:
    media = {"track": track, "chunk": str(chunk), "timestamp": str(timestamp), "payload": base64.b64encode(payload).decode()}
    return twilio_message("media", sequence, media=media)


def twilio_call(sizes: Sequence[int]) -> list[str | bytes]:
    messages: list[str | bytes] = [json.dumps({"event": "connected", "protocol": "Call", "version": "1.0.0"}), twilio_start()]
    at = 0
    for chunk, (one, two) in enumerate(zip(split(IN, sizes), split(OUT, sizes), strict=True), start=1):
        messages.append(twilio_media(2 * chunk, "inbound", chunk, at * 1000 // 8000, one))
        messages.append(twilio_media(2 * chunk + 1, "outbound", chunk, at * 1000 // 8000, two))
        at += len(one)
    return [*messages, twilio_message("stop", len(messages), stop={"accountSid": "AC1", "callSid": "CA1"})]


# --- AudioHook


class HookClient:
    """Numbers the text messages of an AudioHook client."""

    def __init__(self, session: str = HOOK_ID) -> None:
        self.seq, self.session = 0, session

    def __call__(self, kind: str, position: float = 0.0, *, serverseq: int = 0, **parameters: Any) -> str:
        self.seq += 1
        envelope = {"version": "2", "id": self.session, "type": kind, "seq": self.seq, "serverseq": serverseq, "position": f"PT{position}S"}
        return json.dumps({**envelope, "parameters": parameters, "aFieldOfTheFuture": {"x": 1}})


def hook_open(client: HookClient, fmt: str = "PCMU", *, conversation: str = "c0ffee00-0000-4000-8000-000000000001", participant: str = "p1") -> str:
    media = [
        {"type": "audio", "format": fmt, "channels": ["external"], "rate": 8000},
        {"type": "audio", "format": fmt, "channels": ["external", "internal"], "rate": 8000},
    ]
    who = {"id": participant, "ani": "+15550100", "aniName": "Ann Example", "dnis": "+15550101"}
    return client("open", organizationId="o1", conversationId=conversation, participant=who, media=media, language="en-US")


def hook_call(sizes: Sequence[int]) -> list[str | bytes]:
    client = HookClient()
    stereo = interleave(IN, OUT, width=1)
    return [hook_open(client), client("ping"), *split(stereo, [max(1, s) for s in sizes]), client("close", SAMPLES / 8000, reason="end")]


# --- AudioSocket

UUID_BYTES = bytes(range(16))


def socket_record(kind: int, payload: bytes) -> bytes:
    return bytes([kind]) + len(payload).to_bytes(2, "big") + payload


SOCKET_PCM = tone(SAMPLES, rate=16_000)
SOCKET_STREAM = (
    socket_record(0x01, UUID_BYTES)
    + b"".join(socket_record(0x12, piece) for piece in split(SOCKET_PCM, [640, 3, 1, 641] * 3))
    + socket_record(0x03, b"5")
    + socket_record(0x77, b"of the future")
    + socket_record(0x00, b"")
)


def socket_call(sizes: Sequence[int]) -> list[str | bytes]:
    return list(split(SOCKET_STREAM, sizes))


# --- FreeSWITCH

FS_LEFT, FS_RIGHT = tone(SAMPLES, seed=3), tone(SAMPLES, hz=300, seed=4)


def freeswitch_call(sizes: Sequence[int]) -> list[str | bytes]:
    metadata = json.dumps({"session": "fs-1", "roles": {"caller": "customer", "callee": "agent"}, "notice": True, "language": "de-DE"})
    return [metadata, *split(interleave(FS_LEFT, FS_RIGHT, width=2), sizes), "bye"]


# --- the product's own protocol

OWN_START = protocol.Start((protocol.Source(0, "audio", "pcm16", 8000, 2),), (protocol.Person("ann", "customer", "audio/0"),), session="own-1")


def own_call(sizes: Sequence[int]) -> list[str | bytes]:
    messages: list[str | bytes] = []
    at = 0
    for seq, piece in enumerate(split(interleave(FS_LEFT, FS_RIGHT, width=2), [4 * size for size in sizes])):
        messages.append(protocol.pack(protocol.AUDIO, 0, seq, at, piece))
        at += len(piece) // 4
    return [*messages, protocol.encode(protocol.End())]


class OwnCodec:
    """The own protocol's codec as the others are: its `start` message makes the first event."""

    def __init__(self, start: protocol.Start = OWN_START) -> None:
        self.codec = NativeCodec(start)
        self._greeted = False

    def feed(self, message: str | bytes) -> list[Any]:
        greeting = [] if self._greeted else [self.codec.started]
        self._greeted = True
        return [*greeting, *self.codec.feed(message)]

    def flush(self) -> list[Any]:
        return self.codec.flush() if self._greeted else []

    @property
    def done(self) -> bool:
        return self.codec.done


def _two(left: bytes, right: bytes) -> dict[str, bytes]:
    return {"audio/0": left, "audio/1": right}


SCRIPTS = [
    Script("twilio", TwilioCodec, twilio_call, _two(expand(IN), expand(OUT)), 2),
    Script("audiohook", AudioHookCodec, hook_call, _two(expand(IN), expand(OUT)), 1),
    Script("audiosocket", AudioSocketCodec, socket_call, {"audio/0": SOCKET_PCM}, 1),
    Script("freeswitch", lambda: FreeSwitchCodec(rate=8000, channels=2), freeswitch_call, _two(FS_LEFT, FS_RIGHT), 1, breaks=False),
    Script("own", OwnCodec, own_call, _two(FS_LEFT, FS_RIGHT), 1),
]
