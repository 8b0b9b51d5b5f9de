"""The calls of a gateway: which are live, which have just ended, and how many there may be."""

from __future__ import annotations

import asyncio
import logging
import os
import uuid
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path

from streams import policy as policies
from streams.ingest.gateway import protocol
from streams.ingest.gateway.legs import Legs
from streams.ingest.gateway.native import NativeCodec
from streams.ingest.gateway.session import CallSession, Sink
from streams.ingest.gateway.settings import GatewaySettings
from streams.policy import Policy

log = logging.getLogger(__name__)

_ENDED_KEPT = 10_000
_FAREWELL_S = 2.0


class Busy(Exception):
    """The gateway takes no further call."""


class LiveCall:
    """A call of the product's own protocol: its codec and session, and the connection that serves it at the moment."""

    def __init__(self, codec: NativeCodec, session: CallSession) -> None:
        self.codec, self.session = codec, session
        self.lock = asyncio.Lock()  # one connection at a time feeds the codec
        self.kicked: asyncio.Event | None = None  # of the connection that serves the call
        self.expiry: asyncio.Task[None] | None = None
        self.news = asyncio.Event()  # something to acknowledge
        self.acked: protocol.CallState | None = None

    @property
    def id(self) -> str:
        return self.codec.started.session

    def acknowledge(self, state: protocol.CallState) -> None:
        self.acked = state
        self.news.set()


class Gateway:
    """What all connections of a process share."""

    def __init__(self, sink: Sink, settings: GatewaySettings | None = None, policy: Policy | None = None) -> None:
        self.sink = sink
        self.settings = settings or GatewaySettings()
        self.policy = policy
        self.counters: Counter[str] = Counter()
        self.key = (self.settings.resume_key or os.urandom(32).hex()).encode()
        self.calls: dict[str, LiveCall] = {}
        self.legs = Legs()  # AudioSocket connections that belong together
        self.sessions: dict[str, CallSession] = {}
        self.attended: dict[asyncio.Task[None], asyncio.Event] = {}  # connections of the own protocol, and how to call them off
        self.closing = asyncio.Event()
        self.beside: Callable[[], Mapping[str, int]] = dict  # figures of what else the process does, for `status`
        self._signatures: OrderedDict[str, None] = OrderedDict()
        self._ended: OrderedDict[str, protocol.Ended | None] = OrderedDict()

    def first_use(self, signature: str) -> bool:
        """Whether this signed request is seen for the first time: a copy of it opens nothing."""
        if signature in self._signatures:
            return False
        self._signatures[signature] = None
        while len(self._signatures) > _ENDED_KEPT:
            self._signatures.popitem(last=False)
        return True

    def new_session(self) -> CallSession:
        return CallSession(self.sink, self.settings, self.counters, self.policy)

    def admit(self, session: CallSession, name: str, *, rename: bool) -> str:
        """Enter a call under `name`, or with `rename` under a name made of it where it is taken: two calls under one id would
        be taken for one. Raises `Busy`, or `KeyError` where the name is taken."""
        if self.closing.is_set() or len(self.sessions) >= self.settings.max_sessions:
            self.counters["sessions_refused"] += 1
            raise Busy
        if name in self.sessions or name in self._ended:
            if not rename:
                raise KeyError(name)
            name = f"{name[:100]}.{uuid.uuid4().hex[:8]}"
        self._audit(name)
        self.sessions[name] = session
        self.counters["sessions_opened"] += 1
        return name

    def _audit(self, name: str) -> None:
        """A policy that lifts a protection is used on the record, or not at all."""
        if self.policy is None or self.policy.exception is None:
            return
        try:
            policies.audit(Path(self.settings.audit_log), self.policy, name)
        except OSError as error:
            log.error("the audit log %s cannot be written (%s): no call is taken", self.settings.audit_log, error.strerror)
            raise Busy from error

    def release(self, name: str, ended: protocol.Ended | None = None) -> None:
        """The call is over. Its name is remembered, so that a client that comes back is told, and no other call takes it."""
        if self.sessions.pop(name, None) is not None:
            self.counters["sessions_ended"] += 1
        self.calls.pop(name, None)
        self._ended[name] = ended
        while len(self._ended) > _ENDED_KEPT:
            self._ended.popitem(last=False)

    def ended(self, name: str) -> protocol.Ended | None:
        """The farewell of a call that ended a while ago."""
        return self._ended.get(name)

    async def end(self, call: LiveCall, reason: str) -> protocol.Ended:
        """Close a call of the own protocol, whatever its state, once."""
        async with call.lock:
            known = self.ended(call.id)
            if known is not None:
                return known
            for event in call.codec.flush() if reason == "interrupted" else ():
                await call.session.handle(event)
            await call.session.finish(reason)
            assembler = call.session.assembler
            records = {name: position.seq for name, position in assembler.positions().items()}
            farewell = protocol.Ended(call.id, assembler.end_reason or reason, records)
            self.release(call.id, farewell)
            return farewell

    async def close(self) -> None:
        """End all calls and tell their clients: the process stops. Calls that begin now are refused."""
        self.closing.set()
        for call in list(self.calls.values()):
            if call.expiry:
                call.expiry.cancel()
            await self.end(call, "interrupted")
        for name, session in list(self.sessions.items()):
            await session.finish("interrupted")
            self.release(name)
        for kicked in self.attended.values():
            kicked.set()
        if self.attended:
            await asyncio.wait(set(self.attended), timeout=_FAREWELL_S)

    def status(self) -> dict[str, object]:
        """Counters and gauges for `/healthz` and `/metrics`."""
        queued = sum(session.queued for session in self.sessions.values())
        return {"sessions": len(self.sessions), "queued_records": queued, **dict(sorted(self.counters.items())), **self.beside()}
