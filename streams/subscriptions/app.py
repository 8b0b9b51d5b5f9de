"""The ASGI side: WebSocket and Server-Sent Events on ``/v1/events``, sessions, alerts, search, and the OpenAPI document.

    service = Service(Feed(), token="…")
    app = create_app(service)                 # or Starlette(routes=[*routes(service), *other_routes])

A frame (WebSocket) carries one or more messages, one JSON object a line; `streams.subscriptions.messages` has them all.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import HTTPConnection, Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from extractors.errors import InputError
from streams.alerts.acknowledgements import NotStored
from streams.subscriptions import tokens
from streams.subscriptions.faces import FaceCrops
from streams.subscriptions.feed import Feed
from streams.subscriptions.filters import MAX_TEXT, Filter, Start, parse, shown
from streams.subscriptions.hub import Full, Subscriber, encode
from streams.subscriptions.messages import ErrorMessage, HeartbeatMessage
from streams.subscriptions.openapi import document
from streams.subscriptions.reading import call_document, list_options, report_page, search

HEARTBEAT_S = 10.0
MAX_BODY = 16 * 1024
_UNDERSTOOD = 'filters go into the address; only {"type": "ping"} is understood here'
LOOPBACK = ("127.0.0.1", "localhost", "::1")
COOKIE = "affectstream_token"
_REPORT_HEADERS = {
    # The report brings its own script; it runs in an origin of its own, without access to this server.
    "Content-Security-Policy": "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; "
    "img-src data:; media-src 'self'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
}
_JSON_HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}


class Service(Struct):
    """What the routes need. `token` None: open to everybody who reaches the address. `allowed_origins`: pages of other
    hosts that may connect from a browser. `loopback_only`: answer only to requests that name this machine (localhost, 127.0.0.1),
    so that no page of another site can reach the server under a name of its own that it points here."""

    feed: Feed
    token: str | None = None
    loopback_only: bool = False
    allowed_origins: tuple[str, ...] = ()
    heartbeat_s: float = HEARTBEAT_S


class _Name(Convertor[str]):
    """A session id in a path: whatever it consists of, line ends too."""

    regex = "(?s:.*)"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("name", _Name())


class Refusal(Exception):
    """A request is refused: HTTP status and the error for the reader."""

    def __init__(self, status: int, error: InputError) -> None:
        self.status, self.error = status, error
        super().__init__(str(error))


def create_app(service: Service) -> Starlette:
    """An application of these routes alone."""
    return Starlette(routes=routes(service))


def routes(service: Service) -> list[BaseRoute]:
    """Routes for any Starlette application."""
    api = _Api(service)
    return [
        WebSocketRoute("/v1/events", api.websocket),
        Route("/v1/events", api.answer(api.sse)),
        Route("/v1/sessions", api.answer(api.sessions)),
        Route("/v1/sessions/{session:name}/report", api.answer(api.report)),
        Route("/v1/sessions/{session:name}/media", api.answer(api.media)),
        Route("/v1/sessions/{session:name}/curves", api.answer(api.curves)),
        Route("/v1/sessions/{session:name}/faces", api.answer(api.faces)),
        Route("/v1/sessions/{session:name}", api.answer(api.session)),
        Route("/v1/alerts", api.answer(api.alerts)),
        Route("/v1/alerts/{alert}/acknowledge", api.answer(api.acknowledge), methods=["POST"]),
        Route("/v1/search", api.answer(api.search)),
        Route("/v1/openapi.json", api.answer(api.openapi)),
    ]


class _Api:
    """The endpoints. Each is given the session its bearer may see (``*`` for all)."""

    def __init__(self, service: Service) -> None:
        self._service, self._feed = service, service.feed
        self._crops = FaceCrops()

    def answer(self, endpoint: Callable[[Request, str], Any]) -> Callable[[Request], Any]:
        """The endpoint behind the check of its token, with every refusal as JSON."""

        async def guarded(request: Request) -> Response:
            try:
                response: Response = await endpoint(request, self._allowed(request))
                return response
            except Full as error:
                return _json({"error": _said(error), "cure": error.cure}, 503)
            except Refusal as refusal:
                return _json({"error": _said(refusal.error), "cure": refusal.error.cure}, refusal.status)
            except InputError as error:
                return _json({"error": _said(error), "cure": error.cure}, 400)

        return guarded

    def _allowed(self, connection: HTTPConnection) -> str:
        if self._service.loopback_only and connection.url.hostname not in LOOPBACK:
            raise Refusal(403, InputError("this server answers to its own machine only", where="host", cure="use http://127.0.0.1, or start it with a token"))
        try:
            return tokens.check(self._service.token, bearer(connection))
        except InputError as error:
            raise Refusal(401, error) from error

    def _same_site(self, connection: HTTPConnection) -> None:
        """A page of another site must not act in its visitor's name."""
        origin = connection.headers.get("origin", "")
        if not origin or origin in self._service.allowed_origins or urlsplit(origin).netloc == connection.headers.get("host"):
            return
        raise Refusal(403, InputError("pages of other sites may not connect", where=shown(origin), cure="name the site in allowed origins"))

    # Streams

    def _subscribe(self, connection: HTTPConnection, visible: str) -> Subscriber:
        query = connection.query_params.multi_items()
        last = connection.headers.get("last-event-id")
        if last:
            query = [(key, value) for key, value in query if key not in ("after", "since", "from_ms")] + [("after", last)]
        chosen, start = parse(query)
        return self._feed.hub.subscribe(_restricted(chosen, visible), start)

    def _expires(self, connection: HTTPConnection) -> float:
        return tokens.expires(self._service.token, bearer(connection))

    def _patience(self, expires: float) -> float:
        """How long a connection may be silent: until its heartbeat, or until its token has expired."""
        return max(0.01, min(self._service.heartbeat_s, expires - time.time()))

    async def websocket(self, websocket: WebSocket) -> None:
        await websocket.accept()
        with contextlib.suppress(WebSocketDisconnect, RuntimeError, OSError):
            try:
                self._same_site(websocket)
                subscriber = self._subscribe(websocket, self._allowed(websocket))
            except Refusal as refusal:
                return await _refuse(websocket, refusal.error, 4401 if refusal.status == 401 else 4403)
            except Full as error:
                return await _refuse(websocket, error, 1013, retry=True)
            except InputError as error:
                return await _refuse(websocket, error, 4400)
            reader = asyncio.ensure_future(self._listen(websocket, subscriber))
            try:
                await self._send_all(websocket, subscriber, reader, self._expires(websocket))
            finally:
                subscriber.close()
                reader.cancel()

    async def _send_all(self, websocket: WebSocket, subscriber: Subscriber, reader: asyncio.Future[InputError | None], expires: float) -> None:
        while not reader.done():
            if time.time() >= expires:
                return await _refuse(websocket, tokens.expired(expires), 4401)
            batch = subscriber.take()
            if not batch and not await subscriber.wait(self._patience(expires)) and not reader.done():
                batch = [self._heartbeat()]
            if batch:
                # `bytes` in one text frame: several messages, one a line.
                await websocket.send({"type": "websocket.send", "text": b"\n".join(batch).decode()})
        fault = reader.result()
        if fault is not None:
            await _refuse(websocket, fault, 4400)

    async def _listen(self, websocket: WebSocket, subscriber: Subscriber) -> InputError | None:
        """Until the other side leaves (None) or says something that is not understood (the error)."""
        try:
            while True:
                message = await websocket.receive()
                if message["type"] == "websocket.disconnect":
                    return None
                text = message.get("text")
                try:
                    said = json.loads(text if text is not None else message.get("bytes") or b"")
                except (ValueError, RecursionError):
                    return InputError("the message is not JSON", where="message", cure=_UNDERSTOOD)
                if not isinstance(said, dict) or said.get("type") != "ping":
                    return InputError("the message is not understood", where="message", cure=_UNDERSTOOD)
                await websocket.send({"type": "websocket.send", "text": self._heartbeat().decode()})
        except (WebSocketDisconnect, RuntimeError, OSError):
            return None
        finally:
            subscriber.ring()

    def _heartbeat(self) -> bytes:
        return encode(HeartbeatMessage(self._feed.hub.position(self._feed.hub.head), int(time.time() * 1000)))

    async def sse(self, request: Request, visible: str) -> Response:
        self._same_site(request)
        subscriber, expires = self._subscribe(request, visible), self._expires(request)

        async def stream() -> AsyncIterator[bytes]:
            try:
                yield b": affectstream\nretry: 2000\n\n"
                while time.time() < expires:
                    batch = subscriber.take()
                    if batch:
                        yield b"".join(map(_sse, batch))
                    elif not await subscriber.wait(self._patience(expires)):
                        yield _sse(self._heartbeat())
                error = tokens.expired(expires)
                yield _sse(encode(ErrorMessage(_said(error), error.cure)))
            finally:
                subscriber.close()

        return StreamingResponse(stream(), media_type="text/event-stream", headers={**_JSON_HEADERS, "X-Accel-Buffering": "no"})

    # Sessions

    async def sessions(self, request: Request, visible: str) -> Response:
        live_only, most, named = list_options(request.query_params.multi_items())
        states, total, position = self._feed.sessions(live_only=live_only, most=most, named=named, visible=visible)
        hub = self._feed.hub
        missed = {"subscribers": hub.subscriber_count, "missed_settled": hub.missed_settled, "missed_partials": hub.missed_partials}
        return _json({"position": position, "now_ms": int(time.time() * 1000), "total": total, "hub": missed, "sessions": states})

    def _known(self, request: Request, visible: str) -> str:
        session: str = request.path_params["session"]
        if visible not in ("*", session) or self._feed.session(session) is None:
            raise Refusal(404, InputError(f"no session is called `{shown(session)}`", where="path", cure="read /v1/sessions for those that are kept"))
        return session

    async def session(self, request: Request, visible: str) -> Response:
        session = self._known(request, visible)
        wanted = request.query_params.get("events", "true") != "false"
        return _json(await run_in_threadpool(call_document, self._feed, session, with_events=wanted))

    async def report(self, request: Request, visible: str) -> Response:
        session = self._known(request, visible)
        page = await run_in_threadpool(report_page, self._feed, session)
        return Response(page, media_type="text/html; charset=utf-8", headers=_REPORT_HEADERS)

    async def curves(self, request: Request, visible: str) -> Response:
        from streams.subscriptions.reading import curves

        session = self._known(request, visible)
        return _json(await run_in_threadpool(curves, self._feed, session))

    async def faces(self, request: Request, visible: str) -> Response:
        session = self._known(request, visible)
        return _json(await run_in_threadpool(self._crops.document, self._feed, session))

    async def media(self, request: Request, visible: str) -> Response:
        path = self._feed.media_of(self._known(request, visible))
        if path is None or not path.is_file():
            raise Refusal(404, InputError("the recording of this session is not served here", where="path", cure="start the server with --media"))
        return FileResponse(path, headers=_JSON_HEADERS | {"Content-Security-Policy": "default-src 'none'; sandbox"})

    async def search(self, request: Request, visible: str) -> Response:
        query = dict(request.query_params.multi_items())
        query.pop("token", None)
        return _json(await run_in_threadpool(search, self._feed, query, visible))

    # Alerts

    async def alerts(self, request: Request, visible: str) -> Response:
        found = [e for e in self._feed.alerts() if visible in ("*", e.alert.session)]
        return _json({"position": self._feed.hub.position(self._feed.hub.head), "alerts": msgspec.to_builtins(found)})

    async def acknowledge(self, request: Request, visible: str) -> Response:
        self._same_site(request)
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > MAX_BODY:
                raise Refusal(413, InputError("the body is too large", where="body", cure=f"send at most {MAX_BODY} bytes"))
        try:
            said = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise InputError("the body is not JSON", where="body", cure='send {"by": "NAME"}') from error
        if not isinstance(said, dict) or set(said) != {"by"} or not isinstance(said["by"], str):
            raise InputError("the body says not who took the alert", where="body", cure='send {"by": "NAME"}')
        alert = request.path_params["alert"]
        if not any(e.alert.id == alert and visible in ("*", e.alert.session) for e in self._feed.alerts()):
            raise Refusal(404, InputError(f"no alert `{shown(alert)}` is kept here", where="path", cure="read /v1/alerts for those that are"))
        try:
            return _json(msgspec.to_builtins(await self._feed.acknowledge(alert, said["by"])))
        except NotStored as error:
            raise Refusal(503, error) from error

    async def openapi(self, request: Request, visible: str) -> Response:
        return _json(document())


def bearer(connection: HTTPConnection) -> str | None:
    """The token of a request: header, query (browsers cannot set headers on a socket), or the cookie of the dashboard."""
    scheme, _, value = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and value:
        return value.strip()
    return connection.query_params.get("token") or connection.cookies.get(COOKIE)


def _restricted(chosen: Filter, visible: str) -> Filter:
    if visible == "*":
        return chosen
    if chosen.sessions - {visible}:
        raise InputError("the token is for another session", where="query, session", cure=f"ask for session={visible}")
    return msgspec.structs.replace(chosen, sessions=frozenset((visible,)))


def _said(error: InputError) -> str:
    return error.what + (f" ({error.where})" if error.where else "")


async def _refuse(websocket: WebSocket, error: InputError, code: int, *, retry: bool = False) -> None:
    await websocket.send_text(encode(ErrorMessage(_said(error), error.cure, retry)).decode())
    await websocket.close(code, error.what[:100])


def _sse(payload: bytes) -> bytes:
    """One message as a server-sent event: its type as the event name, its position as the id."""
    kind, position = _peek.decode(payload).type, _peek.decode(payload).position
    identity = b"id: " + position.encode() + b"\n" if position and kind != "replay" else b""
    return identity + b"event: " + kind.encode() + b"\ndata: " + payload + b"\n\n"


class _Peek(Struct):
    type: str
    position: str = ""


_peek = msgspec.json.Decoder(_Peek)


def _json(value: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json", headers=_JSON_HEADERS)


__all__ = ["COOKIE", "HEARTBEAT_S", "LOOPBACK", "MAX_TEXT", "Refusal", "Service", "Start", "bearer", "create_app", "routes"]
