"""`affectstream topics`: create the topics of the product on a broker."""

from __future__ import annotations

import asyncio
import logging

import click

from extractors.errors import InputError


@click.command()
@click.option("--bootstrap", metavar="HOST:PORT[,…]", help="Kafka bootstrap servers.")
@click.option("--namespace", default="", help="Stands in front of every topic and group name.")
@click.option("--partitions", type=click.IntRange(1, 1000), default=8, show_default=True, help="Partitions of every topic; the same for all workers.")
@click.option("--replication", type=click.IntRange(1, 9), default=1, show_default=True, help="Replication of topics that do not exist yet.")
@click.option("--wait-s", type=click.FloatRange(0), default=0.0, show_default=True, help="How long to wait for a broker that is not there yet.")
def topics(bootstrap: str | None, namespace: str, partitions: int, replication: int, wait_s: float) -> None:
    """Create every topic that is missing, with its retention; run it once before the first gateway or worker.

    Workers do the same when they start. Topics that exist are left as they are; another number of partitions is refused.
    """
    if not bootstrap:
        raise InputError("no broker is named", where="--bootstrap", cure="give --bootstrap HOST:PORT or set AFFECTSTREAM_TOPICS_BOOTSTRAP")
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # what it cannot do is said below, once
    asyncio.run(_create(bootstrap, namespace, partitions, replication, wait_s))


async def _create(bootstrap: str, namespace: str, partitions: int, replication: int, wait_s: float) -> None:
    from aiokafka.errors import KafkaError

    from streams import topics as table
    from streams.records import TOPICS
    from streams.runtimes.kafka_config import WorkerConfig, state_topic
    from streams.topology import TOPOLOGY

    config = WorkerConfig(namespace=namespace, partitions=partitions, replication=replication)
    state = [state_topic(spec, config) for spec in TOPOLOGY]
    deadline = asyncio.get_running_loop().time() + wait_s
    while True:
        try:
            await table.create(bootstrap, partitions=partitions, namespace=namespace, state_topics=state, replication=replication)
            break
        except (KafkaError, OSError) as error:
            if asyncio.get_running_loop().time() >= deadline:
                what = f"the broker does not answer ({type(error).__name__})"
                raise InputError(what, where=bootstrap, cure="check --bootstrap, or wait for it with --wait-s") from error
            await asyncio.sleep(1.0)
    for name in [*(namespace + topic.name for topic in TOPICS), *state]:
        click.echo(name)
