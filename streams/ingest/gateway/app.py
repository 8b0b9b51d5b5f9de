"""The ASGI application: WebSocket routes of all protocols, the capture page, health and metrics.

    gateway = Gateway(sink, GatewaySettings())
    app = create_app(gateway)          # or Starlette(routes=[*routes(gateway), ...]) beside other routes
"""

from __future__ import annotations

import contextlib
import hmac
import time
from collections.abc import AsyncIterator
from importlib.resources import files
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from streams.ingest.gateway import audiohook_signature, legs, twilio
from streams.ingest.gateway.audiohook import AudioHookCodec
from streams.ingest.gateway.calls import Codec
from streams.ingest.gateway.connection import Connection
from streams.ingest.gateway.freeswitch import CHANNELS, FreeSwitchCodec
from streams.ingest.gateway.registry import Gateway
from streams.ingest.gateway.vendors import VendorCall

_STATIC = {"capture.html": "text/html", "capture.js": "text/javascript", "capture-worklet.js": "text/javascript", "capture.css": "text/css"}
_PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' ws: wss:; "
    "media-src 'self' blob:; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Permissions-Policy": "camera=(self), microphone=(self)",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def create_app(gateway: Gateway) -> Starlette:
    """An application of the ingest routes alone. Its shutdown ends all calls."""

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await gateway.close()

    return Starlette(routes=routes(gateway), lifespan=lifespan)


def routes(gateway: Gateway) -> list[BaseRoute]:
    """Routes for any Starlette application; its lifespan has to `await gateway.close()`."""

    async def ingest(websocket: WebSocket) -> None:
        if not _origin_allowed(gateway, websocket):
            await websocket.close(1008)
            return
        await Connection(gateway, websocket).run()

    async def twilio_stream(websocket: WebSocket) -> None:
        secret = gateway.settings.twilio_auth_token
        if secret is not None:
            allowed = twilio.signed(_public_url(gateway, websocket), secret, websocket.headers.get("x-twilio-signature", ""))
        else:
            allowed = _token_allowed(gateway, websocket)
        await _vendor(gateway, websocket, twilio.TwilioCodec(gateway.settings.defaults("twilio"), max_gap_s=gateway.settings.max_gap_s), allowed)

    async def audiohook(websocket: WebSocket) -> None:
        signed = _audiohook_signed(gateway, websocket)
        codec = AudioHookCodec(gateway.settings.defaults("audiohook"), authorized=signed, max_gap_s=gateway.settings.max_gap_s)
        # A wrong signature is answered inside the protocol; a missing token is not.
        await _vendor(gateway, websocket, codec, bool(gateway.settings.audiohook_keys) or _token_allowed(gateway, websocket))

    async def freeswitch(websocket: WebSocket) -> None:
        rate, channels = _number(websocket, "rate", 8000), _number(websocket, "channels", 1)
        allowed = _token_allowed(gateway, websocket) and 4000 <= rate <= 192_000 and channels in CHANNELS
        await _vendor(gateway, websocket, FreeSwitchCodec(gateway.settings.defaults("freeswitch"), rate=rate, channels=channels), allowed)

    async def audiosocket(request: Request) -> Response:
        token = gateway.settings.token
        allowed = legs.bearer_allowed(request, token) or (token is not None and _token_allowed(gateway, request))
        return await legs.register(gateway, request, allowed and _origin_allowed(gateway, request))

    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "ok", **gateway.status()})

    async def metrics(_: Request) -> Response:
        lines = [f"affectstream_gateway_{name} {value}" for name, value in gateway.status().items()]
        return PlainTextResponse("\n".join([*lines, ""]), media_type="text/plain; version=0.0.4")

    return [
        WebSocketRoute("/v1/ingest", ingest),
        WebSocketRoute("/v1/twilio", twilio_stream),
        WebSocketRoute("/v1/audiohook", audiohook),
        WebSocketRoute("/v1/freeswitch", freeswitch),
        Route("/v1/audiosocket/{uuid}", audiosocket, methods=["POST"]),
        Route("/healthz", healthz),
        Route("/metrics", metrics),
        Route("/capture", _page),
        Route("/capture/{name}", _page),
    ]


async def _page(request: Request) -> Response:
    name = request.path_params.get("name", "capture.html")
    if name not in _STATIC:
        return PlainTextResponse("not found", 404)
    content = files("streams.ingest.gateway").joinpath("static", name).read_bytes()
    return Response(content, media_type=f"{_STATIC[name]}; charset=utf-8", headers=_PAGE_HEADERS)


async def _vendor(gateway: Gateway, websocket: WebSocket, codec: Codec, allowed: bool) -> None:
    if not allowed or not _origin_allowed(gateway, websocket):
        gateway.counters["connections_refused"] += 1
        await websocket.close(1008)
        return
    offered = websocket.scope["subprotocols"]
    await websocket.accept(subprotocol=offered[0] if offered else None)

    async def send(data: str | bytes) -> None:
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):
            await (websocket.send_text(data) if isinstance(data, str) else websocket.send_bytes(data))

    async def receive() -> str | bytes | None:
        message = await websocket.receive()
        if message["type"] == "websocket.disconnect":
            return None
        text: str | None = message.get("text")
        return text if text is not None else message.get("bytes") or b""

    await VendorCall(gateway, codec, send).run(receive)
    if websocket.client_state is WebSocketState.CONNECTED:
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):
            await websocket.close(1000)


def _origin_allowed(gateway: Gateway, websocket: HTTPConnection) -> bool:
    """A page of another site must not open a socket in its visitor's name. Telephone systems send no origin, or a bare host."""
    origin = websocket.headers.get("origin", "")
    if not origin.startswith(("http://", "https://")) or origin in gateway.settings.allowed_origins:
        return True
    return urlsplit(origin).netloc == websocket.headers.get("host")


def _token_allowed(gateway: Gateway, connection: HTTPConnection) -> bool:
    wanted = gateway.settings.token
    return wanted is None or hmac.compare_digest(wanted.encode(), connection.query_params.get("token", "").encode())


def _number(connection: HTTPConnection, name: str, default: int) -> int:
    text = connection.query_params.get(name)
    return default if text is None else int(text) if text.isascii() and text.isdecimal() else -1


def _public_url(gateway: Gateway, websocket: WebSocket) -> str:
    path = websocket.url.path + (f"?{websocket.url.query}" if websocket.url.query else "")
    base = gateway.settings.public_url or f"{websocket.url.scheme}://{websocket.url.netloc}"
    return base.rstrip("/") + path


def _audiohook_signed(gateway: Gateway, websocket: WebSocket) -> bool:
    keys = gateway.settings.audiohook_keys
    if not keys:
        return True
    url = urlsplit(_public_url(gateway, websocket))
    target = url.path + (f"?{url.query}" if url.query else "")
    headers = {name.lower(): value for name, value in websocket.headers.items()}
    wrong = audiohook_signature.problem(headers, target=target, authority=url.netloc, keys=keys, now=time.time())
    return wrong is None and gateway.first_use(headers.get("signature-input", ""))
