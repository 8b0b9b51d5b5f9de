"""`affectstream dashboard` and `affectstream alerts`; and the dashboard beside a replay (`replay --serve`)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import threading
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from extractors.errors import InputError
from streams.commands.alerting import kafka_parts, sender_of, webhook_options
from streams.commands.broker import kafka_config_option
from streams.runtimes.kafka_security import Security, reach

REREAD_S = 2.0
PATIENCE_S = 3.0
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@click.command()
@click.option("--dir", "results", type=click.Path(path_type=Path, file_okay=False), help="Results of replays: each finished recording is a call.")
@click.option("--media", type=click.Path(path_type=Path, exists=True), multiple=True, help="Folder of the recordings, for playback (repeatable).")
@click.option("--bootstrap", metavar="HOST:PORT[,…]", help="Follow live calls on Kafka.")
@click.option("--namespace", default="", help="Stands in front of every topic name.")
@kafka_config_option
@click.option("--rules", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE|default", help="Alert rules in YAML (`affectstream alerts`).")
@webhook_options
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; loopback unless you open it.")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True)
@click.option("--token", help="Secret that visitors and clients must give (better in AFFECTSTREAM_DASHBOARD_TOKEN); needed off loopback.")
def dashboard(
    results: Path | None, media: tuple[Path, ...], bootstrap: str | None, namespace: str, kafka_config: Security, rules: Path | None, webhook: tuple[str, ...],
    webhook_secret: str | None, webhook_secret_file: Path | None, host: str, port: int, token: str | None,
) -> None:
    """Look at calls: finished replays from --dir, live ones from --bootstrap, or both; with the subscription API under /v1/."""
    from streams.alerts.rules import load as load_rules
    from streams.subscriptions import archive
    from streams.subscriptions.feed import Feed

    if results is None and bootstrap is None:
        raise InputError("nothing to show is named", where="dashboard", cure="give --dir RESULTS or --bootstrap HOST:PORT")
    if webhook and bootstrap is None:
        raise InputError("alerts of finished recordings are shown and never sent", where="--webhook", cure="give --bootstrap, or leave --webhook out")
    judged = load_rules(rules) if rules else ()
    sender = sender_of(webhook, webhook_secret, webhook_secret_file)
    publisher: Any = None
    if bootstrap and judged:
        from streams.subscriptions.log import AlertPublisher

        publisher = AlertPublisher(bootstrap, namespace=namespace, security=kafka_config)

    # Old recordings are judged for the page, but nobody is called out of bed for them.
    reading: list[int] = []

    def outside(alert: Any) -> None:
        if publisher is not None and threading.get_ident() not in reading:
            publisher.send(alert)

    feed = Feed(rules=judged, on_alert=outside)

    def read(folder: Path) -> None:
        reading.append(threading.get_ident())
        try:
            for problem in archive.load(feed, folder, media=[*media, folder, folder.parent]):
                click.echo(f"affectstream: {problem}", err=True)
        finally:
            reading.clear()  # the number may be given to another thread

    if results is not None:
        archive.folders(results)
        loader = threading.Thread(target=read, args=(results,), name="archive", daemon=True)
        loader.start()
        loader.join(PATIENCE_S)  # a large archive goes on appearing while it is looked at
    listener = listen(host, port, token)
    click.echo(f"dashboard on {address(listener, host)} (Ctrl-C ends it)", err=True)
    try:
        asyncio.run(_serve(feed, listener, token, bootstrap, namespace, publisher, sender, kafka_config))
    finally:
        if sender is not None:
            sender.close()


async def _serve(
    feed: Any, listener: socket.socket, token: str | None, bootstrap: str | None, namespace: str, publisher: Any, sender: Any, security: Security,
) -> None:
    if bootstrap:
        await reach(bootstrap, security, 10.0)
    server = _server(feed, token)
    tasks = [asyncio.create_task(server.serve([listener])), asyncio.create_task(_reread(feed))]
    if bootstrap:
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # what matters is said in one line below
        tasks += [asyncio.create_task(part) for part in kafka_parts(feed, sender, publisher, bootstrap, namespace, security)]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            error = task.exception()
            if error is not None and task is not tasks[0]:
                raise InputError("the broker cannot be used", where=f"{bootstrap}: {error}", cure="check --bootstrap, and that the broker runs") from error
    finally:
        server.should_exit = True
        for task in tasks[1:]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _reread(feed: Any) -> None:
    """Until cancelled: what another dashboard on the same results has stored is seen here too."""
    while True:
        await asyncio.sleep(REREAD_S)
        await asyncio.to_thread(feed.reread)


def listen(host: str, port: int, token: str | None) -> socket.socket:
    """A bound socket. Raises `InputError` where the address is taken, or is open to others without a token."""
    if host not in LOOPBACK and not token:
        raise InputError("everybody who reaches this machine could look at the calls", where=f"--host {host}", cure="give --token, or listen on 127.0.0.1")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise InputError("cannot listen there", where=f"{host}:{port}: {error.strerror}", cure="choose another --port") from error
    listener.listen(2048)  # who comes before the server is up waits a moment instead of being refused
    return listener


def address(listener: socket.socket, host: str) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"


def _server(feed: Any, token: str | None) -> Any:
    import uvicorn

    from streams.dashboard.pages import create_app
    from streams.http import BoundedHttp
    from streams.subscriptions.app import Service

    config = uvicorn.Config(
        create_app(Service(feed, token, loopback_only=token is None)), log_level="warning", access_log=False, lifespan="off", timeout_graceful_shutdown=2,
        ws_ping_interval=20, ws_ping_timeout=20, ws_max_size=64 * 1024, ws_per_message_deflate=False, backlog=2048,
        http=BoundedHttp,
    )
    return uvicorn.Server(config)


def gateway_app(gateway: Any, feed: Any, token: str | None) -> Any:
    """The ingest routes of a gateway with subscriptions and dashboard beside them. Its shutdown ends all calls."""
    from starlette.applications import Starlette

    from streams.dashboard.pages import routes as pages
    from streams.ingest.gateway.app import routes as ingest
    from streams.subscriptions.app import Service
    from streams.subscriptions.app import routes as subscriptions

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await gateway.close()

    service = Service(feed, token, loopback_only=token is None)
    return Starlette(routes=[*ingest(gateway), *subscriptions(service), *pages(service)], lifespan=lifespan)


class Watching:
    """The dashboard of a replay that is running; `feed` takes what the replay gives."""

    def __init__(self, feed: Any, url: str) -> None:
        self.feed, self.url = feed, url

    def opened(self, start: Any, media: Path, folder: Path) -> None:
        """A recording is analysed into `folder`."""
        from streams.alerts.acknowledgements import NAME, AcknowledgementFile

        taken = AcknowledgementFile(folder / NAME)
        self.feed.open(start, media=media.resolve(), acknowledgements=taken)
        for record in taken.read():
            self.feed.acknowledged(record)

    def ended(self, session: str, duration_ms: int) -> None:
        from streams.records import SessionEnd

        self.feed.end(SessionEnd(session), duration_ms=duration_ms)

    def archived(self, folder: Path, media: Path) -> None:
        """A recording that was analysed before."""
        from streams.subscriptions import archive

        for problem in archive.load(self.feed, folder, media=[media]):
            click.echo(f"affectstream: {problem}", err=True)

    def wait(self) -> None:
        """Until Ctrl-C."""
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


@contextlib.contextmanager
def serve_replay(*, host: str = "127.0.0.1", port: int = 8080, rules: Path | None = None, token: str | None = None) -> Iterator[Watching]:
    """The dashboard in a thread of this process for as long as the block runs. Raises `InputError`."""
    from streams.alerts.rules import load as load_rules
    from streams.subscriptions.feed import Feed

    feed = Feed(rules=load_rules(rules) if rules else ())
    listener = listen(host, port, token)
    server = _server(feed, token)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])), name="dashboard", daemon=True)
    thread.start()
    try:
        yield Watching(feed, address(listener, host))
    finally:
        server.should_exit = True
        thread.join(5)
        listener.close()


@click.group()
def alerts() -> None:
    """Check alert rules, and try them on a recording before they go live.

    Rules are YAML: `rules:` and a list of `name`, `when`, and where wanted `role`, `for`, `within`, `release`, `cooldown`, `severity`.
    """


@alerts.command("check")
@click.argument("rules", type=click.Path(path_type=Path, dir_okay=False))
def alerts_check(rules: Path) -> None:
    """Read RULES and say in words what each means; a fault is named with its line and cure."""
    from streams.alerts.rules import load

    for rule in load(rules):
        who = f" of {rule.role}" if rule.role else ""
        click.echo(f"{rule.name}: {rule.condition()}{who}; closes {_closing(rule)}; not again within {rule.cooldown_ms / 1000:g} s ({rule.severity})")


def _closing(rule: Any) -> str:
    if rule.subject == "silence":
        return "with the next word"
    if rule.compare == "falls_by":
        return f"when {rule.subject} is within {rule.release:g} of where it fell from"
    return f"{'above' if rule.compare == 'below' else 'below'} {rule.release:g}"


@alerts.command("test")
@click.argument("rules", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("recording", type=click.Path(path_type=Path))
@click.option("--channels", help="Of a recording: who speaks on which channel (`replay --channels`).")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per alert instead of the table.")
def alerts_test(rules: Path, recording: Path, channels: str | None, as_json: bool) -> None:
    """Show what RULES would have fired on RECORDING: a results folder, an events.jsonl, or audio or video (which is analysed first)."""
    import msgspec

    from streams.alerts.rules import load

    judged = load(rules)
    start, events = _events(recording, channels)
    fired = judge(start, judged, events)
    if as_json:
        for alert in fired:
            click.echo(json.dumps(msgspec.to_builtins(alert), ensure_ascii=False))
        return
    console = Console()
    if fired:
        table = Table(title=f"What would have fired on {start.session}")
        for column in ("from", "fired", "until", "rule", "severity", "who", "worst", "why"):
            table.add_column(column)
        for alert in fired:
            until = _clock(alert.end_ms) if alert.end_ms is not None else "open"
            why = "; ".join(dict.fromkeys(c.text for c in alert.evidence if c.text))
            who = alert.participant or "conversation"
            table.add_row(_clock(alert.start_ms), _clock(alert.fired_ms), until, alert.rule, alert.severity, who, f"{alert.value:g}", why)
        console.print(table)
    for rule in judged:
        if not any(alert.rule == rule.name for alert in fired):
            console.print(f"{rule.name}: did not fire{nearest(rule, events)}", markup=False, highlight=False)


def judge(start: Any, rules: Sequence[Any], events: Iterable[Any]) -> list[Any]:
    """The last revision of every alert that `rules` fire over `events`, in the order of firing."""
    from streams.alerts.engine import AlertStage
    from streams.records import SessionEnd

    stage = AlertStage(start, rules)
    last: dict[str, Any] = {}
    for record in (*events, SessionEnd(start.session)):
        for alert in stage.feed(record):
            last[alert.id] = alert
    return list(last.values())


def nearest(rule: Any, events: Iterable[Any]) -> str:
    """How near a rule on a level came, in words; empty where that says nothing."""
    if rule.kind not in ("label", "measure") or rule.compare == "falls_by":
        return ""
    found = []
    for event in events:
        value = event.probabilities.get(rule.subject) if rule.kind == "label" else getattr(event, rule.subject)
        if event.status in ("final", "revised") and rule.role in (None, event.role) and value is not None:
            found.append((value, event.start_ms))
    if not found:
        return " (nothing to judge)"
    value, at = max(found) if rule.compare == "above" else min(found)
    return f": the {'highest' if rule.compare == 'above' else 'lowest'} {rule.subject} was {value:.2f} at {_clock(at)}"


def _events(recording: Path, channels: str | None) -> tuple[Any, list[Any]]:
    from streams.egress.jsonl import read_events
    from streams.records import SessionStart
    from streams.subscriptions.archive import start_of

    folder = recording if recording.is_dir() else recording.parent
    if recording.is_dir() or recording.name == "events.jsonl":
        if recording.is_dir() and not (recording / "events.jsonl").is_file():
            raise InputError("no events in this folder", where=str(recording), cure="give the folder of one recording in --out, the one with events.jsonl")
        events = list(read_events(folder / "events.jsonl"))
        if (folder / "summary.json").is_file():
            return start_of(folder)[0], events
        return SessionStart(events[0].session if events else folder.name, (), {}), events
    from streams.replay import ReplayOptions, replay

    result = replay(recording, options=ReplayOptions(channels=channels))
    return result.start, result.events


def _clock(ms: int) -> str:
    from fusion.naming import clock

    return clock(ms)


