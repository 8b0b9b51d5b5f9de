"""Typed Python client.

    async with Client("http://127.0.0.1:8080", token="…") as client:
        async for event in client.subscribe(session="call-7", finals_only=True):
            print(event.label, event.transcript)

The subscription comes back by itself after a broken connection, behind the last message it gave out, so that no settled
event is lost and none is given twice.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterable, Sequence
from types import TracebackType
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import httpx
import msgspec
import websockets

from extractors.errors import AffectstreamError
from fusion.events import EmotionEvent
from streams.alerts.engine import Alert
from streams.subscriptions.calls import OpenAlert, SessionState
from streams.subscriptions.messages import (
    AlertMessage,
    ErrorMessage,
    EventMessage,
    HeartbeatMessage,
    LiveMessage,
    Message,
    MissedMessage,
)

_decoder = msgspec.json.Decoder(Message)
_SILENCE_S = 35.0
"""No message, not even a heartbeat, for so long means that the connection is dead."""


class SubscriptionRefused(AffectstreamError):
    """The server does not serve this request; the text says why and what to do. Trying again would not help."""


class Client:
    """Client of one server. `url` is its address (http or https); `retry_s` bounds the wait between two attempts."""

    def __init__(self, url: str, *, token: str | None = None, retry_s: tuple[float, float] = (0.5, 15.0)) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise SubscriptionRefused(f"{url} is no address of a server: write http://HOST:PORT")
        self._base = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._retry_s = retry_s
        self._http = httpx.AsyncClient(base_url=self._base, headers=self._headers, timeout=30)
        self.missed = 0
        """Settled messages that the server had to leave out because this client was too slow."""

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._http.aclose()

    async def subscribe(
        self, *, session: str | Iterable[str] | None = None, participant: str | Iterable[str] | None = None, role: str | Iterable[str] | None = None,
        label: str | Iterable[str] | None = None, confidence: float | None = None, finals_only: bool = False, after: str | None = None,
        from_ms: int | None = None, since: str | int | None = None,
    ) -> AsyncIterator[EmotionEvent]:
        """Emotion events as they come; each revision once. Raises `SubscriptionRefused`."""
        messages = self.messages(
            type="event", session=session, participant=participant, role=role, label=label, confidence=confidence,
            finals_only="true" if finals_only else None, after=after, from_ms=from_ms, since=since,
        )
        async for message in messages:
            if isinstance(message, EventMessage):
                yield message.event

    async def messages(self, **filters: Any) -> AsyncIterator[Message]:
        """All messages of a subscription (`streams.subscriptions.messages`), with the filters of ``/v1/events``."""
        seen: dict[str, int] = {}
        start = {key: filters.pop(key, None) for key in ("after", "from_ms", "since")}
        position: str | None = None
        wait = self._retry_s[0]
        while True:
            query = _query(filters | ({"after": position} if position else start))
            try:
                async with websockets.connect(
                    f"ws{self._base.removeprefix('http')}/v1/events{query}", additional_headers=self._headers, max_size=16 * 1024 * 1024, compression=None,
                ) as socket:
                    while True:
                        frame = await asyncio.wait_for(socket.recv(), _SILENCE_S)
                        for line in frame.splitlines() if isinstance(frame, bytes) else frame.split("\n"):
                            message = _decoder.decode(line)
                            if isinstance(message, ErrorMessage) and message.retry:
                                raise OSError(message.error)
                            if isinstance(message, ErrorMessage):
                                raise SubscriptionRefused(message.error + (f": {message.cure}" if message.cure else ""))
                            wait = self._retry_s[0]
                            if isinstance(message, MissedMessage):
                                self.missed += message.settled
                            if not _new(seen, message):
                                continue
                            if isinstance(message, EventMessage | AlertMessage | HeartbeatMessage | LiveMessage):
                                position = message.position
                            yield message
            except websockets.InvalidStatus as error:
                if 400 <= error.response.status_code < 500:
                    raise SubscriptionRefused(f"{self._base} answered {error.response.status_code}: {error.response.body.decode('utf-8', 'replace')[:200]}") from error
                wait = await self._pause(wait)
            except (OSError, TimeoutError, websockets.WebSocketException):
                wait = await self._pause(wait)

    async def _pause(self, wait: float) -> float:
        """Wait before the next attempt; how long to wait before the one after it."""
        await asyncio.sleep(wait * random.uniform(0.7, 1.0))
        return min(wait * 2, self._retry_s[1])

    async def sessions(self) -> Sequence[SessionState]:
        """Sessions the server keeps: live ones that need attention first, then the 500 newest ended ones."""
        return msgspec.convert((await self._get("/v1/sessions"))["sessions"], list[SessionState])

    async def session(self, session: str) -> tuple[SessionState, Sequence[EmotionEvent], str]:
        """(state, settled events, position to subscribe `after`) of one session."""
        found = await self._get(f"/v1/sessions/{quote(session, safe='')}")
        return msgspec.convert(found["state"], SessionState), msgspec.convert(found["events"], list[EmotionEvent]), str(found["position"])

    async def alerts(self) -> Sequence[OpenAlert]:
        """All alerts the server keeps, open ones nobody took first."""
        return msgspec.convert((await self._get("/v1/alerts"))["alerts"], list[OpenAlert])

    async def acknowledge(self, alert: Alert | str, by: str) -> OpenAlert:
        """Say that `by` has taken an alert."""
        name = alert if isinstance(alert, str) else alert.id
        answer = await self._http.post(f"/v1/alerts/{quote(name, safe='')}/acknowledge", json={"by": by})
        return msgspec.convert(_checked(answer), OpenAlert)

    async def _get(self, path: str) -> Any:
        return _checked(await self._http.get(path))


def _new(seen: dict[str, int], message: Message) -> bool:
    """False for a revision of an event that was given out already. Remembers some hundred thousand events."""
    if not isinstance(message, EventMessage):
        return True
    event = message.event
    if event.revision <= seen.get(event.id, -1):
        return False
    seen[event.id] = event.revision
    if len(seen) > 200_000:
        for key in list(seen)[:50_000]:
            del seen[key]
    return True


def _query(filters: dict[str, Any]) -> str:
    pairs = [(key, str(item)) for key, value in filters.items() if value is not None for item in ([value] if isinstance(value, str | int | float) else value)]
    return f"?{urlencode(pairs)}" if pairs else ""


def _checked(answer: httpx.Response) -> Any:
    try:
        found = answer.json()
    except ValueError as error:
        raise SubscriptionRefused(f"{answer.url} answered {answer.status_code} without JSON: is it the right address?") from error
    if answer.status_code != 200:
        raise SubscriptionRefused(f"{found.get('error', answer.status_code)}: {found.get('cure', '')}")
    return found
