"""Running the gateway: uvicorn for the WebSockets, asyncio for AudioSocket."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import threading

import uvicorn
from starlette.types import ASGIApp

from extractors.errors import InputError
from streams.http import BoundedHttp
from streams.ingest.gateway.app import create_app
from streams.ingest.gateway.audiosocket import AudioSocketCodec
from streams.ingest.gateway.legs import first_bytes, run_leg
from streams.ingest.gateway.registry import Busy, Gateway
from streams.ingest.gateway.vendors import VendorCall

_READ_BYTES = 64 * 1024


async def serve_audiosocket(gateway: Gateway, host: str, port: int) -> asyncio.Server:
    """A listening AudioSocket server (port 0: any free one); close it before the gateway. Raises `InputError`."""

    async def call(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def receive() -> bytes | None:
            with contextlib.suppress(ConnectionError):
                return await reader.read(_READ_BYTES) or None
            return None

        async def send(data: str | bytes) -> None:
            writer.write(data.encode() if isinstance(data, str) else data)
            await writer.drain()

        try:
            first, name = await first_bytes(receive, gateway.settings.hello_s)
            registration = gateway.legs.take(name) if name else None
            if registration is not None:
                with contextlib.suppress(Busy):
                    await run_leg(gateway, registration, first, receive)
                return
            pieces = [first] if first else []

            async def again() -> bytes | None:
                return pieces.pop() if pieces else await receive()

            await VendorCall(gateway, AudioSocketCodec(gateway.settings.defaults("audiosocket")), send).run(again)
        finally:
            writer.close()

    return await asyncio.start_server(call, sock=_listen(host, port), limit=_READ_BYTES)


class _Server(uvicorn.Server):
    """Ends the calls before the sockets are cut, so that clients are told."""

    def __init__(self, config: uvicorn.Config, gateway: Gateway) -> None:
        super().__init__(config)
        self._gateway = gateway

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._gateway.close()
        await super().shutdown(sockets)


def server(gateway: Gateway, host: str = "127.0.0.1", port: int = 8000, *, app: ASGIApp | None = None, log_level: str = "warning") -> uvicorn.Server:
    """A uvicorn server of the gateway (`await it.serve()`), or of a larger `app` that contains its routes."""
    config = uvicorn.Config(
        app or create_app(gateway), host=host, port=port, log_level=log_level, access_log=False, lifespan="on", timeout_graceful_shutdown=5,
        # Larger frames are refused by the gateway with a reason; far larger ones are not worth receiving.
        ws_max_size=4 * gateway.settings.max_frame_bytes,
        # While a slow sink holds back a socket, no pong is read: silence of the client is judged by its media instead.
        ws_ping_interval=gateway.settings.heartbeat_s, ws_ping_timeout=None,
        limit_concurrency=2 * gateway.settings.max_sessions + 1000,  # connections that have not said who they are cost memory too
        ws_per_message_deflate=False,  # media are compressed already
        http=BoundedHttp,
    )
    return _Server(config, gateway)


async def run(gateway: Gateway, host: str = "127.0.0.1", port: int = 8000, *, audiosocket_port: int | None = None, app: ASGIApp | None = None) -> None:
    """Serve until a signal ends it. Raises `InputError` where an address cannot be listened on.

    SIGTERM is an end in good order here; SIGINT is raised again when all calls have ended.
    """
    # uvicorn raises what it caught again at its end: what comes after it, closing the sink, must not be cut off.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: None)
    async with contextlib.AsyncExitStack() as stack:
        listener = stack.enter_context(_listen(host, port))
        if audiosocket_port is not None:
            stack.callback((await serve_audiosocket(gateway, host, audiosocket_port)).close)
        # Below "warning" uvicorn writes addresses with their query, and with it tokens, to the log.
        await server(gateway, host, port, app=app, log_level="warning").serve([listener])


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=1024)
    except OSError as error:
        raise InputError(f"port {port} cannot be listened on", where=f"{host}: {error.strerror}", cure="choose another port or address") from error
