"""Calls of vendors' protocols: a connection is a call, and its codec knows the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from streams.ingest.gateway.calls import CallStarted, Codec, Fault, Reply
from streams.ingest.gateway.registry import Busy, Gateway

Send = Callable[[str | bytes], Awaitable[None]]
Receive = Callable[[], Awaitable[str | bytes | None]]


class VendorCall:
    """Drives one codec from its connection to the sink."""

    def __init__(self, gateway: Gateway, codec: Codec, send: Send) -> None:
        self._gateway, self._codec, self._send = gateway, codec, send
        self._session = gateway.new_session()
        self._name: str | None = None
        self._active = 0.0

    async def run(self, receive: Receive) -> None:
        """Until the call or the connection is over (`receive` gives None). Whatever happens, a session that began ends once."""
        reason = "interrupted"
        try:
            reason = await self._serve(receive)
        except Busy:
            pass
        except Exception:
            reason = "error"
            raise
        finally:
            for event in self._codec.flush() if reason == "interrupted" else ():
                if not isinstance(event, Reply):
                    await self._session.handle(event)
            await self._session.finish(reason)
            if self._name is not None:
                self._gateway.release(self._name)

    async def _serve(self, receive: Receive) -> str:
        clock = asyncio.get_running_loop().time
        self._active = clock()
        while not self._codec.done:
            try:
                async with asyncio.timeout(max(0.0, self._active + self._patience_s() - clock())):
                    message = await receive()
            except TimeoutError:
                return "idle"
            if message is None:
                break
            if len(message) > self._gateway.settings.max_frame_bytes:
                original = message[:256].encode("utf-8", "replace") if isinstance(message, str) else message[:256]
                await self._session.handle(Fault("too_large", f"a frame of {len(message)} bytes", "ingest", "send smaller frames", original))
                return "error"
            if await self._take(message):
                self._active = clock()
            if self._session.failed is not None:
                break
        return "interrupted"

    def _patience_s(self) -> float:
        settings = self._gateway.settings
        if self._session.assembler.start is None:
            return settings.hello_s
        if self._session.ended:
            return 5.0  # after an error: time for the farewell of a protocol that has one
        return settings.idle_in_pause_s if self._session.assembler.paused else settings.idle_s

    async def _take(self, message: str | bytes) -> bool:
        """Whether the message held more than a heartbeat."""
        moved = False
        for event in self._codec.feed(message):
            if isinstance(event, Reply):
                await self._send(event.data)
                continue
            moved = True
            if isinstance(event, CallStarted):
                self._name = self._gateway.admit(self._session, event.session, rename=True)
                event = replace(event, session=self._name)
            await self._session.handle(event)
        return moved
