"""A WebSocket of the product's own protocol: greeting, resuming, acknowledgements, farewell."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hmac
import logging

import msgspec
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from streams.ingest.gateway import protocol
from streams.ingest.gateway.calls import CallEvent, Fault, Refused, Reply
from streams.ingest.gateway.native import BadStart, NativeCodec
from streams.ingest.gateway.protocol import ProtocolError
from streams.ingest.gateway.registry import Busy, Gateway, LiveCall

log = logging.getLogger(__name__)

_CLOSE = {"malformed": 1007, "too_large": 1009, "busy": 1013, "unavailable": 1011, "internal": 1011, "unauthorized": 1008, "idle": 1001}
MAX_ERROR_FRAMES = 200
"""A connection's further errors are only counted."""


class _Refusal(Exception):
    """The connection cannot be served: the last error frame."""

    def __init__(self, code: str, what: str, cure: str, original: str | bytes | None = None) -> None:
        super().__init__(what)
        self.original = original  # what goes to the dead letters
        self.error = protocol.Error(code, what, "ingest", cure, fatal=True)


class Connection:
    """Serves one socket; the call may have had others before and may have others after."""

    def __init__(self, gateway: Gateway, websocket: WebSocket) -> None:
        self._gateway, self._settings = gateway, gateway.settings
        self._socket = websocket
        self._kicked = asyncio.Event()
        self._errors = 0

    async def run(self) -> None:
        """From the upgrade to the end of the socket."""
        task = asyncio.current_task()
        assert task is not None
        self._gateway.attended[task] = self._kicked
        try:
            await self._run()
        finally:
            del self._gateway.attended[task]

    async def _run(self) -> None:
        await self._socket.accept(subprotocol=protocol.SUBPROTOCOL if protocol.SUBPROTOCOL in self._socket.scope["subprotocols"] else None)
        try:
            call = await self._greet()
        except _Refusal as refusal:
            self._gateway.counters["connections_refused"] += 1
            await self._dead_letter(refusal)
            await self._close(_CLOSE.get(refusal.error.code, 1002), refusal.error)
            return
        if call is not None:
            await self._attend(call)

    async def _greet(self) -> LiveCall | None:
        """The call that the first message names; None where the socket is done with already."""
        try:
            message = await self._receive(self._settings.hello_s)
        except TimeoutError:
            raise _Refusal("idle", "no first message", "send `start` or `resume`") from None
        if message is None:
            return None
        try:
            if isinstance(message, bytes):
                raise ProtocolError("a binary frame before `start`")
            hello = protocol.decode_client(message)
            if not isinstance(hello, protocol.Start | protocol.Resume):
                raise ProtocolError("the first message is neither `start` nor `resume`")
        except ProtocolError as error:
            raise _Refusal("malformed", str(error), "send `start` first", message) from error
        self._check_token(hello.token)
        return await self._start(hello) if isinstance(hello, protocol.Start) else await self._resume(hello)

    def _check_token(self, token: str | None) -> None:
        wanted = self._settings.token
        if wanted is not None and not hmac.compare_digest(wanted.encode(), (token or "").encode()):
            raise _Refusal("unauthorized", "the token is missing or wrong", "set `token` to the secret of this gateway")

    def _codec(self, start: protocol.Start) -> NativeCodec:
        try:
            return NativeCodec(start, max_gap_s=self._settings.max_gap_s, max_frame_bytes=self._settings.max_frame_bytes)
        except BadStart as error:
            raise _Refusal(error.code, error.what, error.cure, protocol.encode(msgspec.structs.replace(start, token=None))) from error

    def _new_call(self, start: protocol.Start) -> LiveCall:
        codec, session = self._codec(start), self._gateway.new_session()
        session.lossless = start.lossless
        call = LiveCall(codec, session)
        try:
            self._gateway.admit(session, call.id, rename=False)
        except Busy:
            raise _Refusal("busy", "no further call is taken now", "try again later or at another gateway") from None
        except KeyError:
            raise _Refusal("session_exists", f"session {call.id} exists or has just ended", "use a new id, or `resume`") from None
        self._gateway.calls[call.id] = call
        return call

    async def _start(self, start: protocol.Start) -> LiveCall:
        call = self._new_call(start)
        call.kicked = self._kicked
        await call.session.handle(call.codec.started)
        await call.session.drain()  # a call that another gateway may have to take over has its first record out
        opened = call.session.assembler.start
        assert opened is not None
        settings = self._settings
        decisions = {name: protocol.Allowed(d.transcribe, d.emotion, d.reason) for name, d in opened.decisions.items()}
        await self._send(protocol.Started(
            call.id, call.codec.names, decisions, self._seal(call.codec.state({})),
            settings.max_frame_bytes, settings.heartbeat_s, settings.idle_s, settings.resume_s,
        ))
        return call

    async def _resume(self, resume: protocol.Resume) -> LiveCall | None:
        try:
            state = protocol.unseal(resume.state, self._gateway.key)
        except ProtocolError as error:
            raise _Refusal("bad_state", str(error), "send the newest `state`; it holds on gateways with the same resume key") from error
        if state.session != resume.session:
            raise _Refusal("bad_state", "the state is that of another session", "send the state of this session")
        call = self._gateway.calls.get(resume.session)
        if call is not None:
            if call.kicked is not None:
                call.kicked.set()
            call.kicked = self._kicked
            if call.expiry is not None:
                call.expiry.cancel()
                call.expiry = None
            async with call.lock:  # until the old connection has handed on what it had in hand
                call.codec.disconnected()
        farewell = self._gateway.ended(resume.session)
        if farewell is not None:
            await self._close(1000, farewell)
            return None
        fresh = call is None
        if call is None:
            call = await self._take_over(resume, state)
        self._gateway.counters["connections_resumed"] += 1
        await self._send(protocol.Resumed(call.id, call.codec.received(), call.codec.control, fresh))
        call.news.set()
        return call

    async def _take_over(self, resume: protocol.Resume, state: protocol.CallState) -> LiveCall:
        """Go on with a call of another gateway, which has died or lost it. Its first record is published again, unchanged:
        the sink of this process has not seen it, and whoever has seen it knows it."""
        call = self._new_call(msgspec.structs.replace(resume.start, session=resume.session))
        call.kicked = self._kicked
        call.codec.restore(state)
        await call.session.handle(call.codec.started)
        call.session.assembler.restore(state.records, paused=state.paused)
        call.acked = state
        return call

    async def _attend(self, call: LiveCall) -> None:
        acks = asyncio.create_task(self._acknowledge(call), name=f"acknowledge {call.id}")
        try:
            error = await self._serve(call)
        except Exception:  # our own fault; were the call kept, its client would send the same again
            log.exception("a call ends by a failure of the gateway")
            error = protocol.Error("internal", "the gateway failed on this message", "ingest", "report it, with the gateway's log", fatal=True)
        except BaseException:
            self._detach(call)
            raise
        finally:
            acks.cancel()
            await asyncio.gather(acks, return_exceptions=True)
        if call.kicked is not self._kicked:  # another connection has taken over
            await self._close(1012, None)
        elif error is not None:
            await self._gateway.end(call, "idle" if error.code == "idle" else "error")
            await self._close(_CLOSE.get(error.code, 1002), error)
        elif call.codec.done or call.session.ended:
            farewell = await self._gateway.end(call, "completed")
            await self._close(1000, farewell)
        else:
            self._detach(call)

    def _detach(self, call: LiveCall) -> None:
        """The socket is gone, the call waits for its client."""
        if call.kicked is self._kicked:
            call.kicked = None
            call.expiry = asyncio.create_task(self._expire(call), name=f"expire {call.id}")

    async def _expire(self, call: LiveCall) -> None:
        await asyncio.sleep(self._settings.resume_s)
        call.expiry = None
        await self._gateway.end(call, "interrupted")

    async def _serve(self, call: LiveCall) -> protocol.Error | None:
        """Feed messages until the call or the socket is over; the error that ended the call, if one did."""
        clock = asyncio.get_running_loop().time
        active = clock()
        while True:
            limit = self._settings.idle_in_pause_s if call.codec.paused else self._settings.idle_s
            try:
                message = await self._receive(active + limit - clock())
            except TimeoutError:
                return protocol.Error("idle", f"no media for {limit:g} s", "ingest", "pause the call, or end it", fatal=True)
            if message is None or call.session.ended:
                return None
            async with call.lock:
                if self._kicked.is_set():
                    return None
                events = await asyncio.to_thread(call.codec.feed, message) if call.codec.heavy else call.codec.feed(message)
                if any(not isinstance(event, Reply) for event in events) or isinstance(message, bytes):
                    active = clock()
                fault = await self._handle(call, events)
                if fault is not None:
                    return fault
                positions = call.session.assembler.positions()
                control = call.acked.control if call.acked else 0
                if call.codec.settle(positions) or call.codec.control != control:
                    await call.session.mark(functools.partial(call.acknowledge, call.codec.state(positions)))
            if call.session.failed is not None:
                return protocol.Error("unavailable", "records can no longer be handed on", "ingest", "try again later", fatal=True)
            if call.codec.done:
                return None

    async def _handle(self, call: LiveCall, events: list[CallEvent]) -> protocol.Error | None:
        for event in events:
            if isinstance(event, Reply):
                await self._send_raw(event.data)
                continue
            await call.session.handle(event)
            if isinstance(event, Fault):
                return protocol.Error(event.code, event.what, event.where, event.cure, fatal=True)
            if isinstance(event, Refused) and self._errors < MAX_ERROR_FRAMES:
                self._errors += 1
                await self._send(protocol.Error(event.code, event.what, event.where, event.cure))
        return None

    async def _acknowledge(self, call: LiveCall) -> None:
        while True:
            await call.news.wait()
            call.news.clear()
            state = call.acked
            if state is not None:
                acked = {str(index): source.acked for index, source in state.sources.items()}
                await self._send(protocol.Ack(acked, state.control, self._seal(state)))
            await asyncio.sleep(self._settings.ack_s)

    def _seal(self, state: protocol.CallState) -> str:
        return protocol.seal(state, self._gateway.key)

    async def _receive(self, timeout_s: float) -> str | bytes | None:
        """The next message; None where the socket is closed or another one has taken over. Raises `TimeoutError`."""
        receiving = asyncio.ensure_future(self._socket.receive())
        kicked = asyncio.ensure_future(self._kicked.wait())
        try:
            done, _ = await asyncio.wait({receiving, kicked}, timeout=max(0.0, timeout_s), return_when=asyncio.FIRST_COMPLETED)
        finally:
            kicked.cancel()
            if not receiving.done():
                receiving.cancel()
        if not done:
            raise TimeoutError
        if receiving not in done:
            return None
        message = receiving.result()
        if message["type"] == "websocket.disconnect":
            return None
        data: str | bytes | None = message.get("text")
        return data if data is not None else message.get("bytes") or b""

    async def _send(self, message: protocol.ServerMessage) -> None:
        await self._send_raw(protocol.encode(message))

    async def _send_raw(self, data: str | bytes) -> None:
        # A client that is gone is noticed where messages are received.
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):
            await (self._socket.send_text(data) if isinstance(data, str) else self._socket.send_bytes(data))

    async def _close(self, code: int, last: protocol.ServerMessage | None) -> None:
        if last is not None:
            await self._send(last)
        if self._socket.application_state is WebSocketState.CONNECTED:
            with contextlib.suppress(WebSocketDisconnect, RuntimeError):
                await self._socket.close(code)

    async def _dead_letter(self, refusal: _Refusal) -> None:
        if refusal.original is None:
            return
        original = refusal.original.encode("utf-8", "replace") if isinstance(refusal.original, str) else refusal.original
        session = self._gateway.new_session()
        await session.handle(Fault(refusal.error.code, refusal.error.what, "ingest", original=original))
        await session.finish("error")
