"""Alerts to other systems: signed HTTP requests to the addresses that the operator configured, and to no other.

Each request carries

    Content-Type: application/json
    X-Affectstream-Idempotency-Key: ALERT.REVISION            the same at every attempt: receivers take it once
    X-Affectstream-Timestamp: seconds since 1970
    X-Affectstream-Signature: v1=HEX                          HMAC-SHA256 over "TIMESTAMP.BODY" with the shared secret

A failed attempt is repeated with growing waits; redirects are not followed. The queue is bounded: when a receiver is away for
long, the oldest deliveries are given up and counted.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import msgspec
from msgspec import Struct

from extractors.errors import InputError
from streams.alerts.engine import Alert

log = logging.getLogger(__name__)
_GONE = frozenset({400, 401, 403, 404, 405, 410, 413, 415, 422})


class Webhook(Struct, frozen=True):
    """One receiver: its address, the secret of the signature, and the least severity it wants."""

    url: str
    secret: str
    severities: tuple[str, ...] = ("info", "warning", "critical")


class Retry(Struct, frozen=True):
    """Waits in seconds: `first`, doubled each time up to `longest`, at most `attempts`; `timeout` of one request."""

    first: float = 1.0
    longest: float = 300.0
    attempts: int = 10
    timeout: float = 10.0


class _Countdown:
    """Calls `done` when the last of `left` deliveries is through."""

    def __init__(self, left: int, done: Callable[[], None]) -> None:
        self._left, self._done = left, done
        self._lock = threading.Lock()
        if not left:
            done()

    def through(self) -> None:
        with self._lock:
            self._left -= 1
            last = self._left == 0
        if last:
            self._done()


class _Delivery(Struct):
    hook: Webhook
    key: str
    body: bytes
    countdown: _Countdown | None = None
    attempts: int = 0
    due: float = 0.0
    fault: str = ""


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """The value of the signature header."""
    return "v1=" + hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def verify(secret: str, timestamp: str, body: bytes, signature: str, *, within_s: float = 300.0, now: float | None = None) -> bool:
    """For receivers: whether the signature is genuine and no older than `within_s`."""
    try:
        fresh = abs((time.time() if now is None else now) - int(timestamp)) <= within_s
    except ValueError:
        return False
    return fresh and hmac.compare_digest(sign(secret, timestamp, body).encode(), signature.encode())


def checked(url: str, secret: str) -> Webhook:
    """A webhook as an operator wrote it. Raises `InputError` for what is no http(s) address or has no secret."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.fragment:
        raise InputError("not the address of a webhook", where=url[:200], cure="write https://HOST/PATH without a name or a password in it")
    if len(secret) < 16:
        raise InputError("the secret of a webhook is too short", where=parts.hostname, cure="use at least 16 characters")
    return Webhook(url, secret)


def secret_of(secret: str | None, file: Path | None) -> str:
    """The secret of the signature as an operator gave it. Raises `InputError` where it is given twice or cannot be read."""
    if file is None:
        return secret or ""
    if secret:
        raise InputError("the secret of the webhooks is given twice", where="--webhook-secret-file", cure="give one of --webhook-secret and --webhook-secret-file")
    try:
        return file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        what = getattr(error, "strerror", None) or "not UTF-8"
        raise InputError("the secret of the webhooks cannot be read", where=f"{file}: {what}", cure="check --webhook-secret-file") from error


class WebhookSender:
    """Delivers alerts in a thread of its own; `send` never waits. One receiver that is away does not delay another.

    `delivered`, `failed` (refused for good or given up after all attempts) and `dropped` (queue full) are counts.
    """

    def __init__(self, hooks: Iterable[Webhook], retry: Retry | None = None, *, capacity: int = 1000) -> None:
        self._hooks = tuple(hooks)
        self._retry = retry or Retry()
        self._queues: dict[Webhook, deque[_Delivery]] = {hook: deque() for hook in self._hooks}
        self._capacity = capacity
        self._bell = threading.Condition()
        self._stopping = False
        self.delivered = self.failed = self.dropped = 0
        self._threads = [threading.Thread(target=self._run, args=(hook,), name="webhook", daemon=True) for hook in self._hooks]
        for thread in self._threads:
            thread.start()

    def send(self, alert: Alert, done: Callable[[], None] | None = None) -> None:
        """Queue an alert for every receiver that wants its severity. May be called from any thread.

        `done` is called, from any thread, when every receiver has the alert or was given up; not when the sender is closed
        before that.
        """
        body = msgspec.json.encode({"type": "alert", "alert": msgspec.to_builtins(alert)}, order="deterministic")
        wanted = [hook for hook in self._hooks if alert.severity in hook.severities]
        countdown = _Countdown(len(wanted), done) if done else None
        given_up: list[_Delivery] = []
        with self._bell:
            for hook in wanted:
                waiting = self._queues[hook]
                if len(waiting) >= self._capacity:
                    given_up.append(waiting.popleft())
                    self.dropped += 1
                waiting.append(_Delivery(hook, f"{alert.id}.{alert.revision}", body, countdown))
            self._bell.notify_all()
        for item in given_up:
            _through(item)

    def figures(self) -> dict[str, int]:
        """Counts for the metrics of a process; `webhooks_waiting` are deliveries that are not through."""
        with self._bell:
            waiting = sum(map(len, self._queues.values()))
            return {"webhooks_delivered": self.delivered, "webhooks_failed": self.failed, "webhooks_dropped": self.dropped, "webhooks_waiting": waiting}

    def close(self, within_s: float = 5.0) -> None:
        """Stop after what can be delivered at once; what is left counts as failed."""
        with self._bell:
            self._stopping = True
            self._bell.notify_all()
        for thread in self._threads:
            thread.join(within_s)
        with self._bell:
            self.failed += sum(map(len, self._queues.values()))
            for waiting in self._queues.values():
                waiting.clear()

    def _run(self, hook: Webhook) -> None:
        waiting = self._queues[hook]
        with httpx.Client(timeout=self._retry.timeout, follow_redirects=False, trust_env=False) as client:
            while True:
                with self._bell:
                    while not waiting or (waiting[0].due > time.monotonic() and not self._stopping):
                        if self._stopping:
                            return
                        self._bell.wait(max(0.01, waiting[0].due - time.monotonic()) if waiting else None)
                    item = waiting.popleft()
                done = self._attempt(client, item)
                finished = done or item.attempts >= self._retry.attempts
                if finished and not done:
                    log.warning("alert %s was not taken by the webhook on %s (%s); it is given up", item.key, urlsplit(hook.url).hostname, item.fault)
                if finished:
                    _through(item)
                with self._bell:
                    if finished or self._stopping:
                        self.failed += not done
                        continue
                    item.due = time.monotonic() + self._wait(item.attempts)
                    waiting.appendleft(item)  # in order: a closing alert never arrives before its opening

    def _attempt(self, client: httpx.Client, item: _Delivery) -> bool:
        item.attempts += 1
        stamp = str(int(time.time()))
        headers = {
            "Content-Type": "application/json", "User-Agent": "affectstream", "X-Affectstream-Idempotency-Key": item.key,
            "X-Affectstream-Timestamp": stamp, "X-Affectstream-Signature": sign(item.hook.secret, stamp, item.body),
        }
        try:
            answer = client.post(item.hook.url, content=item.body, headers=headers)
        except httpx.HTTPError as error:
            item.fault = str(error) or type(error).__name__
            return False
        if answer.is_success:
            with self._bell:
                self.delivered += 1
            return True
        item.fault = f"it answered {answer.status_code}"
        if answer.status_code in _GONE:
            item.attempts = self._retry.attempts  # asking again would not change it
        return False

    def _wait(self, attempts: int) -> float:
        return min(self._retry.longest, self._retry.first * 2.0 ** (attempts - 1)) * random.uniform(0.5, 1.0)


def _through(item: _Delivery) -> None:
    if item.countdown:
        item.countdown.through()
