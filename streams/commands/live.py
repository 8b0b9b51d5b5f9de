"""The live commands: `worker`, `gateway`, `send`, `asyncapi`."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tomllib
from pathlib import Path
from typing import Any, Literal

import click
import msgspec

from extractors.errors import InputError
from streams.commands.alerting import webhook_options
from streams.commands.broker import bootstrap_option, kafka_config_option, namespace_option
from streams.runtimes.kafka_security import Security

hypotheses_option = click.option(
    "--partials/--no-partials", default=True, show_default=True,
    help="Partial events of live calls: words and emotion of an utterance that goes on. Final events are the same with and without.",
)


@click.command()
@click.option("--stages", default="all", show_default=True, help="all, or some of segment,hear,look,fuse,alert (all: alert where there are --rules).")
@bootstrap_option
@namespace_option
@kafka_config_option
@click.option("--partitions", type=click.IntRange(1, 1000), default=8, show_default=True, help="Partitions of every topic; the same for all workers.")
@click.option("--replication", type=click.IntRange(1, 9), default=1, show_default=True, help="Replication of topics that do not exist yet.")
@click.option("--state-dir", type=click.Path(path_type=Path, file_okay=False), help="Where the tables lie (default: the user's state folder).")
@click.option("--model-profile", type=click.Choice(["bundled", "fast", "research"]), default="bundled", show_default=True)
@click.option("--threads", type=click.IntRange(1, 64), default=1, show_default=True, help="Threads of the speech model.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True, help="Where the speech model runs.")
@click.option("--metrics-port", type=click.IntRange(1, 65535), help="Give /metrics (Prometheus) and /healthz on this port.")
@click.option("--metrics-host", default="127.0.0.1", show_default=True, help="Address for --metrics-port; loopback unless you open it.")
@click.option("--rules", metavar="FILE|default", help="Alert rules for the stage alert: YAML (`affectstream alerts`), or the rules that come with it.")
@hypotheses_option
def worker(
    stages: str, bootstrap: str | None, namespace: str, kafka_config: Security, partitions: int, replication: int, state_dir: Path | None,
    model_profile: str, threads: int, device: Literal["cpu", "cuda"], rules: str | None, partials: bool,
    metrics_port: int | None, metrics_host: str,
) -> int:
    """Run stages of the topology as Faust workers on Kafka until SIGTERM. Add workers to scale; a killed one loses nothing."""
    from streams.alerts.rules import load
    from streams.runtimes.kafka import WorkerConfig, run_worker
    from streams.topology import STAGES, TOPOLOGY, Options, Resources

    judged = load(Path(rules)) if rules else ()
    names = [name for name in STAGES if judged or name != "alert"] if stages == "all" else [name.strip() for name in stages.split(",") if name.strip()]
    for name in names:
        if name not in STAGES:
            raise InputError(f"no stage is called {name}", where="--stages", cure=f"use all or some of {','.join(STAGES)}")
    if "alert" in names and not judged:
        raise InputError("the stage alert has no rules", where="--rules", cure="give --rules FILE, or --rules default")
    config = WorkerConfig(
        namespace=namespace, partitions=partitions, replication=replication, state_dir=str(state_dir) if state_dir else None, security=kafka_config,
        metrics=None if metrics_port is None else (metrics_host, metrics_port),
    )
    _check_gpu(device)
    resources = Resources(Options(profile=model_profile, rules=judged, hypotheses=partials), threads=threads, device=device)
    if "hear" in names:
        resources.speech.warm_up()  # models load before the worker takes calls, not while the first caller waits
    return run_worker([STAGES[name] for name in names], _needed(bootstrap), config, resources=resources, graph=TOPOLOGY)


@click.command()
@bootstrap_option
@namespace_option
@kafka_config_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; loopback unless you open it.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True)
@click.option("--audiosocket-port", type=click.IntRange(0, 65535), help="Also listen for Asterisk AudioSocket connections (TCP).")
@click.option("--settings", type=click.Path(path_type=Path, dir_okay=False), help="Gateway settings in TOML: tokens, limits, roles and notice per vendor.")
@click.option("--policy", type=click.Path(path_type=Path, dir_okay=False), help="Policy file: who is analysed for what.")
@click.option("--model-profile", type=click.Choice(["bundled", "fast", "research"]), default="bundled", show_default=True, help="Without --bootstrap: models of this process.")
@click.option("--events", type=click.Path(path_type=Path, dir_okay=False), help="Without --bootstrap: write events here as JSON Lines (default: standard output).")
@click.option("--rules", "alert_rules", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE|default", help="Alert rules in YAML (`affectstream alerts`).")
@webhook_options
@hypotheses_option
def gateway(
    bootstrap: str | None, namespace: str, kafka_config: Security, host: str, port: int, audiosocket_port: int | None, settings: Path | None,
    policy: Path | None, model_profile: str, events: Path | None, alert_rules: Path | None, webhook: tuple[str, ...],
    webhook_secret: str | None, webhook_secret_file: Path | None, partials: bool,
) -> None:
    """Take live calls in: own WebSocket protocol, Twilio, Genesys AudioHook, FreeSWITCH, Asterisk AudioSocket, and a capture page.

    With --bootstrap the media go to Kafka for `affectstream worker`; without it the calls are analysed in this process. The dashboard and the
    subscriptions (/v1/events) are on the same address; off loopback they need the token of the settings. Webhooks get the alerts of the --rules, or
    with --bootstrap those of the stage alert: of several gateways one delivers each.
    """
    from streams import policy as policies
    from streams.alerts.rules import load as load_rules
    from streams.commands.alerting import sender_of
    from streams.topology import Options

    rules = policies.load(policy)
    judged = load_rules(alert_rules) if alert_rules else ()
    if webhook and not judged and not bootstrap:
        raise InputError("there are no alerts to send", where="--webhook", cure="give --rules FILE")
    sender = sender_of(webhook, webhook_secret, webhook_secret_file)
    serving = Serving(_settings(settings), rules, judged, host, port, audiosocket_port, sender)
    if bootstrap:
        asyncio.run(_gateway_on_kafka(serving, bootstrap, namespace, kafka_config))
    else:
        asyncio.run(_gateway_alone(serving, Options(profile=model_profile, hypotheses=partials), events))


class Serving(msgspec.Struct, frozen=True):
    """What a gateway serves, to whom and where; `settings` are GatewaySettings, `judged` the alert rules, `sender` their webhooks."""

    settings: Any
    policy: Any
    judged: Any
    host: str
    port: int
    audiosocket_port: int | None
    sender: Any = None

    async def run(self, gateway: Any, feed: Any) -> None:
        """Until a signal. The dashboard is there for who is on this machine, or has the token."""
        from streams.commands.serve import LOOPBACK, gateway_app
        from streams.ingest.gateway.server import run

        shown = self.shown(LOOPBACK)
        pages = "dashboard: /, " if shown else "no dashboard: set a token in --settings; "
        click.echo(f"gateway on http://{self.host}:{self.port} ({pages}capture page: /capture, health: /healthz)", err=True)
        app = gateway_app(gateway, feed, self.settings.token) if shown else None
        if self.sender is not None:
            gateway.beside = self.sender.figures
        try:
            await run(gateway, self.host, self.port, audiosocket_port=self.audiosocket_port, app=app)
        finally:
            if self.sender is not None:
                await asyncio.to_thread(self.sender.close)

    def shown(self, loopback: tuple[str, ...]) -> bool:
        return self.host in loopback or bool(self.settings.token)


async def _gateway_on_kafka(serving: Serving, bootstrap: str, namespace: str, security: Security) -> None:
    from streams.commands.alerting import kafka_parts, told
    from streams.commands.serve import LOOPBACK
    from streams.ingest.gateway.registry import Gateway
    from streams.ingest.gateway.sinks import KafkaSink
    from streams.runtimes.kafka_client import MediaPublisher
    from streams.runtimes.kafka_security import reach, silence
    from streams.subscriptions.feed import Feed
    from streams.subscriptions.log import AlertPublisher

    await reach(bootstrap, security)
    alerts = AlertPublisher(bootstrap, namespace=namespace, security=security) if serving.judged else None
    feed = Feed(rules=serving.judged, on_alert=alerts.send if alerts else None)
    publisher = MediaPublisher(bootstrap, namespace=namespace, **security.client())
    gateway = Gateway(KafkaSink(publisher), serving.settings, serving.policy)

    async def end_without_broker() -> None:
        """Calls cannot be closed on a broker that is gone: an operator who wants the process to end is not kept waiting."""
        await gateway.closing.wait()
        await silence(bootstrap, security)
        click.echo("affectstream: the broker does not answer: the gateway ends, its calls have no end on the log", err=True)
        os._exit(1)

    leaving = asyncio.create_task(end_without_broker())
    async with publisher:
        parts = kafka_parts(feed, serving.sender, alerts, bootstrap, namespace, security, shown=serving.shown(LOOPBACK))
        tasks = [asyncio.create_task(part) for part in parts]
        for task in tasks:
            task.add_done_callback(told)
        try:
            await serving.run(gateway, feed)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    leaving.cancel()


async def _gateway_alone(serving: Serving, options: Any, events: Path | None) -> None:
    from streams.ingest.gateway.registry import Gateway
    from streams.ingest.gateway.sinks import EmbeddedSink
    from streams.subscriptions.feed import Feed
    from streams.topology import Resources

    feed = Feed(rules=serving.judged, on_alert=serving.sender.send if serving.sender else None)
    resources = Resources(options)
    resources.speech.warm_up()
    encoder = msgspec.json.Encoder(order="deterministic")
    target = events.open("ab", buffering=0) if events else sys.stdout.buffer

    def emit(event: Any) -> None:
        if event.status != "partial":  # for subscribers only
            target.write(encoder.encode(event) + b"\n")
            target.flush()
        feed.event(event)

    sink = EmbeddedSink(resources, emit, on_start=feed.open, on_end=feed.end, on_record=feed.record, on_media=feed.arrived)
    await serving.run(Gateway(sink, serving.settings, serving.policy), feed)


@click.command()
@click.argument("media", type=click.Path(path_type=Path))
@click.option("--to", "url", required=True, metavar="ws://HOST:PORT/v1/ingest", help="The gateway.")
@click.option("--speed", type=click.FloatRange(0.0), default=1.0, show_default=True, help="Factor of real time; 0 as fast as the gateway takes it.")
@click.option("--calls", type=click.IntRange(1, 2000), default=1, show_default=True, help="So many calls at once: a load generator.")
@click.option("--stagger", type=click.FloatRange(0.0), default=0.0, show_default=True, help="Seconds over which the calls begin.")
@click.option("--channels", help="Who speaks on which channel: left=customer,right=agent.")
@click.option("--language", help="Language of the speech (ISO 639-1).")
@click.option("--session", help="Name of the call.")
@click.option("--notice", help="State that the exposed persons were informed, and how; without it no emotion is analysed.")
@click.option("--token", help="Shared secret of the gateway.")
def send(
    media: Path, url: str, speed: float, calls: int, stagger: float, channels: str | None, language: str | None, session: str | None,
    notice: str | None, token: str | None,
) -> int:
    """Play a recording as live calls against a gateway; prints one JSON object with what was sent."""
    from streams.ingest.send import send as play
    from streams.records import Notice

    stated = Notice(True, notice) if notice else None
    report = asyncio.run(play(media, url, speed=speed, calls=calls, stagger_s=stagger, channels=channels, language=language, session=session, notice=stated, token=token))
    click.echo(msgspec.json.encode(report).decode())
    return 0 if report.completed == report.calls else 1


@click.command()
def asyncapi() -> None:
    """Print the AsyncAPI 3 document of all topics, generated from the topic table."""
    from streams.asyncapi import document

    click.echo(json.dumps(document(), indent=2, ensure_ascii=False))


def _needed(bootstrap: str | None) -> str:
    if not bootstrap:
        raise InputError("no broker is named", where="--bootstrap", cure="give --bootstrap HOST:PORT or set AFFECTSTREAM_WORKER_BOOTSTRAP")
    return bootstrap


def _check_gpu(device: str) -> None:
    if device == "cuda":
        import ctranslate2

        if ctranslate2.get_cuda_device_count() == 0:
            raise InputError("no NVIDIA GPU can be used", where="--device cuda", cure="start the process where it sees one, or use --device cpu")


def _settings(file: Path | None) -> Any:
    from streams.ingest.gateway.settings import GatewaySettings

    if file is None:
        return GatewaySettings()
    try:
        return msgspec.convert(tomllib.loads(file.read_text("utf-8")), GatewaySettings)
    except (OSError, ValueError) as error:
        raise InputError("gateway settings cannot be used", where=f"{file}: {error}", cure="compare docs/ingest.md") from error
