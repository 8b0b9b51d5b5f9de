"""`affectstream topics` on a broker: everything is there afterwards, and a second time changes nothing."""

from __future__ import annotations

import asyncio
import time
import uuid

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from click.testing import CliRunner

from streams.commands.topics import topics
from streams.records import TOPICS
from streams.runtimes.kafka_config import WorkerConfig, state_topic
from streams.topics import TopicError
from streams.topology import TOPOLOGY
from tests.integration.brokers import Broker

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def counts_partitions(broker: Broker) -> None:
    if broker.kind == "tansu":
        pytest.skip("Tansu gives the number of partitions of the first topics it made for later ones too")


def partitions(bootstrap: str, namespace: str) -> dict[str, int]:
    async def look() -> dict[str, int]:
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        await admin.start()
        try:
            names = [name for name in await admin.list_topics() if name.startswith(namespace)]
            return {row["topic"].removeprefix(namespace): len(row["partitions"]) for row in await admin.describe_topics(names)}
        finally:
            await admin.close()

    return asyncio.run(look())


def test_every_topic_is_created_once_with_its_partitions(broker: Broker) -> None:
    namespace = f"t{uuid.uuid4().hex[:8]}."
    arguments = ["--bootstrap", broker.bootstrap, "--namespace", namespace, "--partitions", "4", "--wait-s", "10"]
    first = CliRunner().invoke(topics, arguments, catch_exceptions=False)
    assert first.exit_code == 0
    names = {topic.name for topic in TOPICS} | {state_topic(spec, WorkerConfig()) for spec in TOPOLOGY}
    found = partitions(broker.bootstrap, namespace)
    assert set(found.values()) == {4}
    assert {name for name in found if not name.startswith("affectstream-")} == {topic.name for topic in TOPICS}
    assert len(found) == len(names)
    assert CliRunner().invoke(topics, arguments, catch_exceptions=False).output == first.output
    assert partitions(broker.bootstrap, namespace) == found


def test_another_number_of_partitions_is_refused(broker: Broker) -> None:
    namespace = f"t{uuid.uuid4().hex[:8]}."
    start = ["--bootstrap", broker.bootstrap, "--namespace", namespace, "--partitions"]
    assert CliRunner().invoke(topics, [*start, "2"], catch_exceptions=False).exit_code == 0
    while len(partitions(broker.bootstrap, namespace)) < len(TOPICS) + len(TOPOLOGY):
        time.sleep(0.1)  # the broker tells of a new topic a moment later
    with pytest.raises(TopicError, match="2 partitions and 3 are configured"):
        CliRunner().invoke(topics, [*start, "3"], catch_exceptions=False)
