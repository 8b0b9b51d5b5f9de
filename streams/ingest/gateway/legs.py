"""Calls of Asterisk whose directions come as connections of their own: registered beforehand, joined to one session.

An AudioSocket connection says its UUID and nothing else. Who it is and which call it belongs to is told before, for each
connection: `POST /v1/audiosocket/{uuid}`. The first connection of a session waits for the others that are registered (its
audio is held), `join_s` at most; then the session begins with those that are there. The protocol has no times: a
connection begins where the first one stood, counted in its samples, when it said its UUID.
"""

from __future__ import annotations

import asyncio
import hmac
import uuid
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from streams.ingest.gateway.audiosocket import UUID, AudioSocketCodec
from streams.ingest.gateway.calls import (
    Audio,
    CallEnded,
    CallEvent,
    CallStarted,
    Fault,
    Noted,
    Refused,
    SourceEnded,
    is_session_id,
)
from streams.ingest.gateway.people import audio_name, language_of, people
from streams.ingest.gateway.session import CallSession
from streams.ingest.gateway.settings import CallDefaults
from streams.records import Notice

if TYPE_CHECKING:
    from streams.ingest.gateway.registry import Gateway

MOST_REGISTERED = 10_000
MOST_PEOPLE = 8
_FIRST = 19
"""Bytes of the first record: type, length, UUID."""
_BODY_BYTES = 16 * 1024
MOST_HELD_BYTES = 4 << 20
"""Audio that waits for other connections; more of it in `join_s` is no call, and the session begins without them."""


class Registration(Struct, frozen=True, forbid_unknown_fields=True):
    """What is known of one connection: the call it belongs to, which of the `participants` (channel -> role) it carries,
    and what holds for the whole call."""

    session: str
    source: str
    participants: dict[str, str]
    language: str | None = None
    notice: Notice | None = None

    def problem(self) -> str | None:
        """Why it cannot be used."""
        if not is_session_id(self.session):
            return "`session` is no id: letters, digits and ._:-, 128 at most"
        if not 1 <= len(self.participants) <= MOST_PEOPLE or not all(is_session_id(name) for name in self.participants):
            return f"`participants` are 1 to {MOST_PEOPLE} channels with their roles"
        return None if self.source in self.participants else "`source` is none of the `participants`"

    def same_call(self, other: Registration) -> bool:
        return msgspec.structs.replace(self, source=other.source) == other


_registration = msgspec.json.Decoder(Registration)


class Leg:
    """One connection of a joined call."""

    def __init__(self, registration: Registration, offset_ms: float) -> None:
        self.registration, self.offset_ms = registration, offset_ms
        self.name = audio_name(list(registration.participants).index(registration.source))
        self.heard_ms = offset_ms

    def placed(self, event: Audio) -> Audio:
        """The audio where it belongs in the session."""
        start = round(self.offset_ms * event.rate / 1000) + event.start_sample
        self.heard_ms = (start + len(event.pcm) // 2) * 1000 / event.rate
        return replace(event, source=self.name, start_sample=start)


class JoinedCall:
    """The connections of one session. Events of one that is early are held until the session begins; `forget` is called
    when no further connection is waited for."""

    def __init__(self, gateway: Gateway, first: Registration, forget: Callable[[], None]) -> None:
        self._gateway, self._first, self._forget = gateway, first, forget
        self._session: CallSession = gateway.new_session()
        self.legs: list[Leg] = []
        self._present: set[str] = set()
        self._held: list[CallEvent] | None = []
        self._held_bytes = 0
        self._lock = asyncio.Lock()
        self._name: str | None = None
        self._refused = False
        self._starter = asyncio.create_task(self._begin_in(gateway.settings.join_s), name=f"join {first.session}")

    @property
    def over(self) -> bool:
        """Nothing more is taken: the session has ended or was refused, or its records cannot be handed on."""
        return self._refused or self._session.ended or self._session.failed is not None

    def join(self, registration: Registration) -> Leg:
        leg = Leg(registration, max((leg.heard_ms for leg in self.legs), default=0.0))
        self.legs.append(leg)
        self._present.add(leg.name)
        return leg

    async def handle(self, event: CallEvent) -> None:
        """Hand on an event of a leg, or keep it until the session has begun."""
        async with self._lock:
            if self._held is None:
                return await self._session.handle(event)
            self._held.append(event)
            self._held_bytes += len(event.pcm) if isinstance(event, Audio) else 0
        if self._held_bytes > MOST_HELD_BYTES:
            await self.begin()

    async def begin(self) -> None:
        """Begin the session with the legs that are there. Raises `Busy` where the gateway takes no further call."""
        self._forget()
        if asyncio.current_task() is not self._starter:
            self._starter.cancel()
        async with self._lock:
            if self._held is None:
                return
            held, self._held, self._refused = self._held, None, True
            self._name = self._gateway.admit(self._session, self._first.session, rename=True)
            self._refused = False
            await self._session.handle(self._started(self._name))
            for event in held:
                await self._session.handle(event)

    def _started(self, name: str) -> CallStarted:
        first, defaults = self._first, self._gateway.settings.defaults("audiosocket")
        names = sorted(leg.name for leg in self.legs)
        there = tuple(person for person in people(first.participants, first.participants) if person.channel in names)
        language, notice = language_of(first.language or defaults.language), first.notice or defaults.notice
        return CallStarted(name, there, tuple(names), media="audiosocket", language=language, notice=notice)

    async def _begin_in(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self.begin()

    async def leave(self, leg: Leg, reason: str) -> None:
        """A connection is over; with the last one the call is."""
        self._present.discard(leg.name)
        if self._present:
            return await self.handle(SourceEnded(leg.name))
        try:
            if not self._refused:
                await self.begin()
        finally:
            await self._session.finish(reason)
            if self._name is not None:
                self._gateway.release(self._name)


class Legs:
    """The registrations of a gateway and the calls that they make."""

    def __init__(self) -> None:
        self._registered: OrderedDict[str, Registration] = OrderedDict()
        self._sessions: dict[str, set[str]] = {}  # session -> connections that are registered for it
        self._waiting: dict[str, JoinedCall] = {}

    def register(self, name: str, registration: Registration) -> str | None:
        """Note what the connection `name` (a UUID) is; the result is a conflict in words, or None."""
        call = self._waiting.get(registration.session)
        others = [self._registered[other] for other in sorted(self._sessions.get(registration.session, ())) if other != name]
        for known in [*others, *((leg.registration for leg in call.legs) if call else ())]:
            if known.source == registration.source:
                return f"`source` {known.source} of this session is registered for another connection"
            if not known.same_call(registration):
                return "the connections of a session must agree in all but `source`"
        self.take(name)
        self._registered[name] = registration
        self._sessions.setdefault(registration.session, set()).add(name)
        while len(self._registered) > MOST_REGISTERED:
            self.take(next(iter(self._registered)))
        return None

    def take(self, name: str) -> Registration | None:
        """The registration of a connection that has come; it counts once."""
        registration = self._registered.pop(name, None)
        if registration is not None:
            members = self._sessions[registration.session]
            members.discard(name)
            if not members:
                del self._sessions[registration.session]
        return registration

    def call(self, gateway: Gateway, registration: Registration) -> tuple[JoinedCall, Leg]:
        """The call that a connection belongs to, with the connection in it."""
        session = registration.session

        def forget() -> None:
            self._waiting.pop(session, None)

        call = self._waiting.get(session)
        if call is None:
            call = self._waiting[session] = JoinedCall(gateway, registration, forget)
        return call, call.join(registration)

    def complete(self, registration: Registration) -> bool:
        """Whether no further connection of the call is registered."""
        return registration.session not in self._sessions


Receive = Callable[[], Awaitable[bytes | None]]


async def first_bytes(receive: Receive, seconds: float) -> tuple[bytes, str | None]:
    """What came up to the UUID, and the UUID; None where something else came, or nothing in time."""
    data = bytearray()
    try:
        async with asyncio.timeout(seconds):
            while len(data) < _FIRST and (not data or data[0] == UUID):
                piece = await receive()
                if piece is None:
                    break
                data += piece
    except TimeoutError:
        pass
    whole = len(data) >= _FIRST and data[:3] == bytes((UUID, 0, 16))
    return bytes(data), str(uuid.UUID(bytes=bytes(data[3:_FIRST]))) if whole else None


async def run_leg(gateway: Gateway, registration: Registration, first: bytes, receive: Receive) -> None:
    """Serve one registered connection until it is over. Raises `Busy` where the gateway takes no further call."""
    call, leg = gateway.legs.call(gateway, registration)
    codec, reason = AudioSocketCodec(CallDefaults()), "interrupted"
    message: bytes | None = first
    try:
        if gateway.legs.complete(registration):
            await call.begin()
        while not call.over and not codec.done:
            for event in codec.feed(message) if message is not None else codec.flush():
                reason = await _take(call, leg, event) or reason
            if message is None or codec.done:
                break
            try:
                async with asyncio.timeout(gateway.settings.idle_s):
                    message = await receive()
            except TimeoutError:
                reason = "idle"
                break
    finally:
        await call.leave(leg, reason)


async def _take(call: JoinedCall, leg: Leg, event: CallEvent) -> str | None:
    """Hand an event on; the reason for which the connection is over, where it is."""
    if isinstance(event, CallEnded):
        return event.reason
    if isinstance(event, Audio):
        await call.handle(leg.placed(event))
    elif isinstance(event, Fault):  # of this connection alone
        await call.handle(Refused(event.code, event.what, event.where, event.cure, event.original))
        return "error"
    elif isinstance(event, Noted):
        await call.handle(event)
    return None


async def register(gateway: Gateway, request: Request, allowed: bool) -> Response:
    """`POST /v1/audiosocket/{uuid}`: 201, or what is wrong in JSON."""

    def refused(status: int, code: str, what: str, cure: str) -> Response:
        return JSONResponse({"code": code, "what": what, "cure": cure}, status)

    if not allowed:
        return refused(401, "unauthorized", "the token is missing or wrong", "send it as `Authorization: Bearer …`")
    try:
        name = str(uuid.UUID(request.path_params["uuid"]))
    except ValueError:
        return refused(404, "malformed", "this is no UUID", "POST /v1/audiosocket/{uuid}")
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > _BODY_BYTES:
            return refused(413, "too_large", f"more than {_BODY_BYTES} bytes", "send `session`, `source`, `participants`")
    try:
        registration = _registration.decode(body)
    except msgspec.MsgspecError as error:
        return refused(400, "malformed", str(error), "see docs/ingest.md")
    problem = registration.problem()
    if problem:
        return refused(400, "malformed", problem, "see docs/ingest.md")
    conflict = "the session is live already" if registration.session in gateway.sessions else gateway.legs.register(name, registration)
    if conflict:
        return refused(409, "conflict", conflict, "use another session, or register all connections before the call")
    return JSONResponse({"uuid": name, "session": registration.session, "source": registration.source}, 201)


def bearer_allowed(request: Request, wanted: str | None) -> bool:
    """The token of the gateway as a bearer token, for programs that must not write it into an address."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return wanted is None or (scheme.lower() == "bearer" and hmac.compare_digest(wanted.encode(), token.strip().encode()))
