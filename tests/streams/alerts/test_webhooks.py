"""Alerts reach a real receiver: signed, in order, again until they are taken, and nobody waits for a receiver that is away."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest

from extractors.errors import InputError
from streams.alerts.engine import Alert
from streams.alerts.webhooks import Retry, WebhookSender, checked, secret_of, sign, verify

SECRET = "sixteen letters or more"
QUICK = Retry(first=0.02, longest=0.1, attempts=6, timeout=5.0)


def alert(number: int = 1, severity: str = "warning") -> Alert:
    return Alert(f"{number:016x}", 1, "open", "angry", severity, "s", "customer", "customer", 0, 10, None, 0.9, 0.6, "anger above 0.6", "why <b>")


@contextmanager
def receiver(answers: list[int]) -> Iterator[tuple[str, list[tuple[dict[str, str], bytes]]]]:
    """A real HTTP server; it gives `answers` one after the other, the last one from then on."""
    got: list[tuple[dict[str, str], bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append(({key.lower(): value for key, value in self.headers.items()}, body))
            self.send_response(answers[min(len(got), len(answers)) - 1])
            self.send_header("Location", "http://127.0.0.1:9/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/alerts?team=1", got
    finally:
        server.shutdown()
        server.server_close()


def until(true: Any) -> None:
    deadline = time.monotonic() + 15
    while not true():
        assert time.monotonic() < deadline, "did not come true"
        time.sleep(0.01)


def test_an_alert_arrives_signed_and_a_changed_body_does_not_pass() -> None:
    with receiver([200]) as (url, got):
        sender = WebhookSender([checked(url, SECRET)], QUICK)
        sender.send(alert())
        until(lambda: sender.delivered == 1)
        sender.close()
    headers, body = got[0]
    stamp, signature = headers["x-affectstream-timestamp"], headers["x-affectstream-signature"]
    assert verify(SECRET, stamp, body, signature) and msgspec.convert(json.loads(body)["alert"], Alert) == alert()
    assert not verify(SECRET, stamp, body + b" ", signature) and not verify("another secret of length", stamp, body, signature)
    assert not verify(SECRET, stamp, body, signature, now=time.time() + 600) and not verify(SECRET, "soon", body, sign(SECRET, "soon", body))


def test_a_failing_receiver_gets_the_same_key_again_until_it_takes_the_alert_and_in_order() -> None:
    with receiver([503, 500, 302, 200]) as (url, got):
        sender = WebhookSender([checked(url, SECRET)], QUICK)
        sender.send(alert(1))
        sender.send(alert(2))
        until(lambda: sender.delivered == 2)
        sender.close()
    assert [headers["x-affectstream-idempotency-key"] for headers, _ in got] == [f"{1:016x}.1"] * 4 + [f"{2:016x}.1"]
    assert len({body for _, body in got[:4]}) == 1 and sender.failed == 0


def test_a_receiver_that_refuses_for_good_is_not_asked_again_and_that_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with receiver([404, 200]) as (url, got):
        sender = WebhookSender([checked(url, SECRET)], QUICK)
        sender.send(alert(1))
        sender.send(alert(2))
        until(lambda: sender.delivered == 1)
        sender.close()
    assert len(got) == 2 and sender.failed == 1
    (said,) = caplog.messages
    assert f"{1:016x}.1" in said and "127.0.0.1" in said and "404" in said and "team" not in said


def test_a_receiver_that_is_away_delays_nobody_and_the_queue_stays_bounded() -> None:
    with receiver([200]) as (url, got):
        away = checked("http://127.0.0.1:9/none", SECRET)
        sender = WebhookSender([away, msgspec.structs.replace(checked(url, SECRET), severities=("critical",))], Retry(first=30, attempts=9), capacity=10)
        for number in range(50):
            sender.send(alert(number, "critical" if number % 10 == 0 else "info"))
        until(lambda: sender.delivered == 5)
        assert sender.dropped >= 39
        sender.close(0.5)
    assert len(got) == 5 and sender.failed >= 10


def test_who_sent_an_alert_hears_when_every_receiver_has_it_or_was_given_up_and_not_before() -> None:
    done: list[int] = []
    with receiver([500, 200]) as (slow, _), receiver([404, 200]) as (strict, _):
        sender = WebhookSender([checked(slow, SECRET), checked(strict, SECRET)], QUICK)
        sender.send(alert(1), lambda: done.append(1))
        until(lambda: done == [1])
        assert sender.figures() == {"webhooks_delivered": 1, "webhooks_failed": 1, "webhooks_dropped": 0, "webhooks_waiting": 0}
        sender.close()
    away = WebhookSender([checked("http://127.0.0.1:9/none", SECRET)], Retry(first=30))
    away.send(alert(2), lambda: done.append(2))
    away.close(0.2)
    assert done == [1], "who is closed has delivered nothing"
    nobody = WebhookSender([], QUICK)
    nobody.send(alert(3), lambda: done.append(3))
    assert done == [1, 3]


def test_the_secret_may_lie_in_a_file_and_is_given_once(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    assert secret_of(None, tmp_path / "secret") == SECRET and secret_of(SECRET, None) == SECRET
    with pytest.raises(InputError, match="given twice"):
        secret_of(SECRET, tmp_path / "secret")
    with pytest.raises(InputError, match="cannot be read"):
        secret_of(None, tmp_path / "none")


@pytest.mark.parametrize("url", ["ftp://host/x", "host/x", "http://", "http://name:pass@host/", "file:///etc/passwd"])
def test_what_is_no_address_of_a_webhook_is_refused(url: str) -> None:
    with pytest.raises(InputError, match="webhook"):
        checked(url, SECRET)
    with pytest.raises(InputError, match="16 characters"):
        checked("https://host/x", "short")
