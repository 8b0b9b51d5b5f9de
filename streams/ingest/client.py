"""Python client of the ingest gateway: sends a live call, goes on after a broken connection.

    async with IngestClient("ws://127.0.0.1:8000/v1/ingest", participants=[Person("ann", "customer", channel="audio/0")],
                            notice=Notice(True, "announcement")) as call:
        await call.audio(pcm)                       # s16 mono at 16 kHz; media time is the number of samples sent
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake, InvalidStatus, InvalidURI, WebSocketException

from extractors.errors import AffectstreamError
from streams.ingest.gateway import protocol
from streams.ingest.gateway.protocol import Person, Source
from streams.records import Notice

__all__ = ["CallRefused", "IngestClient", "Person", "Source"]

DEFAULT_SOURCES = (Source(0, "audio", "pcm16", 16_000),)


class CallRefused(AffectstreamError):
    """The gateway has refused or ended the call, or cannot be reached any more; `code` says why."""

    def __init__(self, code: str, what: str, cure: str = "") -> None:
        self.code, self.what, self.cure = code, what, cure
        super().__init__(f"{what} ({code})" + (f": {cure}" if cure else ""))


@dataclass(slots=True)
class _Item:
    """Something sent in order and kept until it is acknowledged: a frame (`source`, `seq`) or a control message (`control`)."""

    data: str | bytes
    source: int = -1
    seq: int = -1
    control: int = 0
    since: float = 0.0  # waiting since then (the loop's clock)

    def among(self, frames: dict[str, int], control: int) -> bool:
        """Whether it is one of the first `frames` (last number per source) or of the first `control` messages."""
        return self.seq <= frames.get(str(self.source), -1) if self.seq >= 0 else 0 < self.control <= control


class IngestClient:
    """One call. Use as an async context manager: leaving it ends the call, leaving it by an exception ends it as interrupted.

    `sources` declares what will be sent (default: one channel of PCM16 at 16 kHz), `participants` who is who; a channel of
    nobody is `unknown`. `buffer_bytes` bounds what waits for its acknowledgement: `audio` then waits, and `video` waits with
    `lossless`, otherwise it drops the picture. After a broken connection the client tries for `reconnect_s` seconds to go on.
    `longest_wait_s` is the longest that something waited here before it left.
    `on_error` receives each `protocol.Error` that does not end the call.
    """

    def __init__(
        self,
        url: str,
        *,
        sources: Sequence[Source] = DEFAULT_SOURCES,
        participants: Sequence[Person] = (),
        session: str | None = None,
        language: str | None = None,
        notice: Notice | None = None,
        attributes: dict[str, str] | None = None,
        token: str | None = None,
        lossless: bool = False,
        buffer_bytes: int = 4 << 20,
        connect_s: float = 5.0,
        reconnect_s: float = 30.0,
        on_error: Callable[[protocol.Error], None] | None = None,
    ) -> None:
        self.url, self.session = url, session
        self.decisions: dict[str, protocol.Allowed] = {}
        self.errors: list[protocol.Error] = []
        self.ended: protocol.Ended | None = None
        self.reconnects = 0
        self.pictures_dropped = 0
        self.longest_wait_s = 0.0
        self._start = protocol.Start(tuple(sources), tuple(participants), session, token, language, notice, attributes or {}, lossless)
        self._sources = {source.index: source for source in sources}
        self._next_seq = dict.fromkeys(self._sources, 0)
        self._next_sample = dict.fromkeys(self._sources, 0)
        self._control = 0
        self._unsent: deque[_Item] = deque()
        self._sent: deque[_Item] = deque()  # not yet acknowledged
        self._bytes = 0
        # The gateway acknowledges whole blocks of audio: less than a few of them would wait for each other for ever.
        self._limit = max(buffer_bytes, sum(source.rate * source.channels for source in sources if source.kind == "audio"))
        self._connect_s, self._reconnect_s, self._on_error = connect_s, reconnect_s, on_error
        self._state = ""
        self._heartbeat_s = 15.0
        self._failure: CallRefused | None = None
        self._changed = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None
        self._connection: ClientConnection | None = None

    async def __aenter__(self) -> Self:
        connection = await self._connect(protocol.encode(self._start), self._connect_s)
        self._task = asyncio.create_task(self._run(connection), name="ingest client")
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if self._failure is None:
                await self.end("completed" if kind is None else "interrupted")
        except CallRefused:
            if kind is None:
                raise
        finally:
            await self._stop()

    async def audio(self, payload: bytes, *, source: int = 0, at: int | None = None, samples: int | None = None) -> None:
        """Send a frame in the source's codec; waits while too much is unacknowledged. `at` is the sample index of its
        beginning (default: where the last frame ended), `samples` its length (needed for Opus only). Raises `CallRefused`."""
        spec = self._sources[source]
        start = self._next_sample[source] if at is None else at
        length = samples if samples is not None else len(payload) // (spec.channels * (2 if spec.codec == "pcm16" else 1))
        self._next_sample[source] = start + length
        await self._frame(protocol.AUDIO, source, start, payload)

    async def video(self, picture: bytes, at_ms: int, *, source: int = 1) -> bool:
        """Send a picture (JPEG, or an H.264 access unit). False: dropped, because the gateway does not keep up."""
        if not self._start.lossless and self._bytes > self._limit // 2:
            self.pictures_dropped += 1
            return False
        await self._frame(protocol.VIDEO, source, at_ms, picture)
        return True

    async def pause(self) -> None:
        """Tell the gateway to keep nothing until `go_on`."""
        self._control += 1
        await self._put(_Item(protocol.encode(protocol.Pause(self._control)), control=self._control))

    async def go_on(self) -> None:
        """The pause is over; `at` of the next frames says how long it was."""
        self._control += 1
        await self._put(_Item(protocol.encode(protocol.Continue(self._control)), control=self._control))

    async def end(self, reason: str = "completed") -> protocol.Ended:
        """End the call and wait until the gateway has handed on everything. Raises `CallRefused`."""
        if self.ended is None:
            message = msgspec.convert({"type": "end", "reason": reason}, protocol.End)
            await self._put(_Item(protocol.encode(message)))
        async with self._changed:
            await self._changed.wait_for(lambda: self.ended or self._failure)
        if self.ended is None:
            assert self._failure is not None
            raise self._failure
        return self.ended

    async def acknowledged(self) -> None:
        """Wait until the gateway holds what was sent for good (up to a tenth of a second per source may remain with it)."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self.unacknowledged or self._failure or self.ended)

    @property
    def unacknowledged(self) -> int:
        """Frames and messages without an acknowledgement."""
        return len(self._sent) + len(self._unsent)

    async def _frame(self, kind: int, source: int, time: int, payload: bytes) -> None:
        seq = self._next_seq[source]
        self._next_seq[source] = seq + 1
        await self._put(_Item(protocol.pack(kind, source, seq, time, payload), source, seq))

    async def _put(self, item: _Item) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: self._bytes < self._limit or self._failure or self.ended)
            if self._failure is not None:
                raise self._failure
            if self.ended is not None:
                raise CallRefused("ended", f"the gateway has ended the call: {self.ended.reason}", "begin a new one")
            item.since = asyncio.get_running_loop().time()
            self._unsent.append(item)
            self._bytes += len(item.data)
            self._changed.notify_all()

    async def _run(self, connection: ClientConnection) -> None:
        try:
            while self.ended is None:
                await self._converse(connection)
                if self.ended is not None:
                    break
                self.reconnects += 1
                resume = protocol.Resume(self.session or "", self._state, self._start, self._start.token)
                connection = await self._connect(protocol.encode(resume), self._reconnect_s)
        except CallRefused as failure:
            self._failure = failure
        except protocol.ProtocolError as error:
            self._failure = CallRefused("not_understood", str(error), "check the address")
        finally:
            async with self._changed:
                self._changed.notify_all()

    async def _converse(self, connection: ClientConnection) -> None:
        """Send and receive until the connection breaks or the call ends."""
        sender = asyncio.create_task(self._send_all(connection))
        beat = asyncio.create_task(self._beat(connection))
        try:
            while self.ended is None:
                async with asyncio.timeout(4 * self._heartbeat_s):
                    await self._receive(await connection.recv())
        except (WebSocketException, OSError, TimeoutError):
            pass
        finally:
            for task in (sender, beat):
                task.cancel()
            await asyncio.gather(sender, beat, return_exceptions=True)
            await _hang_up(connection)

    async def _send_all(self, connection: ClientConnection) -> None:
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: self._unsent)
                item = self._unsent.popleft()
                self._sent.append(item)
            await connection.send(item.data)
            self.longest_wait_s = max(self.longest_wait_s, asyncio.get_running_loop().time() - item.since)

    async def _beat(self, connection: ClientConnection) -> None:
        while True:
            await asyncio.sleep(self._heartbeat_s)
            await connection.send(protocol.encode(protocol.Ping()))

    async def _receive(self, data: str | bytes) -> None:
        message = protocol.decode_server(data)
        if isinstance(message, protocol.Ack):
            self._state = message.state
            await self._forget(message.acked, message.control)
        elif isinstance(message, protocol.Ended):
            self.ended = message
        elif isinstance(message, protocol.Error):
            if message.fatal:
                raise CallRefused(message.code, message.what, message.cure)
            self.errors.append(message)
            if self._on_error is not None:
                self._on_error(message)

    async def _forget(self, acked: dict[str, int], control: int) -> None:
        """Drop what need not be sent again."""
        async with self._changed:
            self._sent = deque(item for item in self._sent if not item.among(acked, control))
            self._bytes = sum(len(item.data) for queue in (self._sent, self._unsent) for item in queue)
            self._changed.notify_all()

    async def _rewind(self, received: dict[str, int], control: int) -> None:
        """Send again what the gateway has not received."""
        async with self._changed:
            again = [item for item in self._sent if not item.among(received, control)]
            self._sent = deque(item for item in self._sent if item.among(received, control))
            self._unsent.extendleft(reversed(again))
            self._changed.notify_all()

    async def _connect(self, hello: str, patience_s: float) -> ClientConnection:
        """A connection that has been greeted; tries again while `patience_s` last. Raises `CallRefused`."""
        clock = asyncio.get_running_loop().time
        deadline, pause_s = clock() + patience_s, 0.1
        while True:
            try:
                connection = await connect(
                    self.url, subprotocols=[protocol.SUBPROTOCOL], compression=None, ping_interval=None,  # type: ignore[list-item]
                    max_size=1 << 20, open_timeout=max(1.0, patience_s), proxy=None,
                )
                try:
                    await connection.send(hello)
                    async with asyncio.timeout(max(1.0, patience_s)):
                        await self._greeted(protocol.decode_server(await connection.recv()))
                except BaseException:
                    await _hang_up(connection)
                    raise
                return connection
            except InvalidURI as error:
                raise CallRefused("bad_url", f"{self.url} is no WebSocket address", "use ws:// or wss://") from error
            except InvalidStatus as error:
                status = error.response.status_code
                if status < 500:
                    raise CallRefused("forbidden", f"{self.url} answers with status {status}", "check the address and the token") from error
                failed: Exception = error
            except (OSError, InvalidHandshake, WebSocketException, TimeoutError) as error:
                failed = error
            if clock() + pause_s > deadline:
                raise CallRefused("unreachable", f"{self.url} cannot be reached: {failed or type(failed).__name__}", "check the address") from failed
            # Clients that were cut off together must not come back together.
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))
            pause_s = min(2 * pause_s, 5.0)

    async def _greeted(self, message: protocol.ServerMessage | None) -> None:
        if isinstance(message, protocol.Error):
            raise CallRefused(message.code, message.what, message.cure)
        if isinstance(message, protocol.Started):
            self.session, self.decisions, self._state = message.session, message.decisions, message.state
            self._heartbeat_s = message.heartbeat_s
        elif isinstance(message, protocol.Resumed):
            await self._rewind(message.received, message.control)
        elif isinstance(message, protocol.Ended):
            self.ended = message
        else:
            raise CallRefused("not_understood", "the gateway does not answer in this protocol", "check the address")

    async def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)


async def _hang_up(connection: ClientConnection) -> None:
    """Close politely, but do not wait long for a peer that may be gone."""
    with contextlib.suppress(TimeoutError, WebSocketException, OSError):
        async with asyncio.timeout(1):
            await connection.close()
    connection.transport.abort()
