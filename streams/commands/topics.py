"""`affectstream topics`: create the topics of the product on a broker, and say what is there."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import click
import msgspec

from extractors.errors import InputError
from streams.commands.broker import bootstrap_option, kafka_config_option, namespace_option
from streams.runtimes.kafka_security import Security

if TYPE_CHECKING:
    from streams.topics import Found


def _retention(_: click.Context, __: click.Parameter, text: str | None) -> int | None:
    from streams.topics import retention_of

    try:
        return retention_of(text) if text else None
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command()
@bootstrap_option
@namespace_option
@kafka_config_option
@click.option("--partitions", type=click.IntRange(1, 1000), default=8, show_default=True, help="Partitions of every topic; the same for all workers.")
@click.option("--replication", type=click.IntRange(1, 9), default=1, show_default=True, help="Replication of topics that do not exist yet.")
@click.option(
    "--events-retention", "events_retention", metavar="30d", callback=_retention,
    help="How long sessions, events, alerts and dead letters are kept: 30d, 12h, ever (default: 30d for new topics, existing ones unchanged).",
)
@click.option("--wait-s", type=click.FloatRange(0), default=0.0, show_default=True, help="How long to wait for a broker that is not there yet.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per topic, for machines.")
def topics(
    bootstrap: str | None, namespace: str, kafka_config: Security, partitions: int, replication: int, events_retention: int | None, wait_s: float,
    as_json: bool,
) -> None:
    """Create every topic that is missing, and say how long each is kept; run it once before the first gateway or worker.

    Workers do the same when they start. Topics that exist are left as they are, but for --events-retention where it is
    given; another number of partitions is refused.
    """
    if not bootstrap:
        raise InputError("no broker is named", where="--bootstrap", cure="give --bootstrap HOST:PORT or set AFFECTSTREAM_TOPICS_BOOTSTRAP")
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # what it cannot do is said below, once
    from streams.topics import age

    found = asyncio.run(_create(bootstrap, namespace, kafka_config, partitions, replication, events_retention, wait_s))
    width = max(len(topic.name) for topic in found)
    for topic in found:
        kept = "the last of each key" if topic.cleanup == "compact" else "?" if topic.retention_ms is None else age(topic.retention_ms)
        click.echo(msgspec.json.encode(topic).decode() if as_json else f"{topic.name:{width}}  {topic.partitions:4} partitions  kept: {kept}")


async def _create(
    bootstrap: str, namespace: str, security: Security, partitions: int, replication: int, events_retention: int | None, wait_s: float,
) -> list[Found]:
    from aiokafka.errors import KafkaError

    from streams import topics as table
    from streams.records import TOPICS
    from streams.runtimes.kafka_config import WorkerConfig, state_topic
    from streams.topology import TOPOLOGY

    config = WorkerConfig(namespace=namespace, partitions=partitions, replication=replication)
    state = [state_topic(spec, config) for spec in TOPOLOGY]
    deadline = asyncio.get_running_loop().time() + wait_s
    while True:
        patience = max(0.0, deadline - asyncio.get_running_loop().time())
        try:
            await table.create(
                bootstrap, partitions=partitions, namespace=namespace, state_topics=state, replication=replication, patience=patience,
                security=security, events_retention_ms=events_retention,
            )
            return await table.on_broker(bootstrap, [*(namespace + topic.name for topic in TOPICS), *state], security=security)
        except (KafkaError, OSError) as error:
            if asyncio.get_running_loop().time() >= deadline:
                what = f"the broker does not answer ({type(error).__name__})"
                raise InputError(what, where=bootstrap, cure="check --bootstrap, or wait for it with --wait-s") from error
            await asyncio.sleep(1.0)
