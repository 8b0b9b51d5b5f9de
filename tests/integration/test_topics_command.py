"""`affectstream topics` on a broker: everything is there afterwards, and a second time changes nothing."""

from __future__ import annotations

import asyncio
import json
import time
import uuid

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from click.testing import CliRunner

from streams.commands.topics import topics
from streams.records import TOPICS
from streams.runtimes.kafka_config import WorkerConfig, state_topic
from streams.topics import RESULTS, TopicError
from streams.topology import TOPOLOGY
from tests.integration.brokers import Broker

pytestmark = pytest.mark.integration


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


def test_what_was_found_out_is_kept_for_thirty_days_and_the_operator_can_change_that(broker: Broker) -> None:
    if broker.kind == "tansu":
        pytest.skip("Tansu lacks the Kafka API AlterConfigs (key 33): settings of a topic that exists cannot be changed there")
    namespace = f"t{uuid.uuid4().hex[:8]}."
    arguments = ["--bootstrap", broker.bootstrap, "--namespace", namespace, "--partitions", "1", "--json"]

    def kept(*more: str) -> dict[str, int]:
        done = CliRunner().invoke(topics, [*arguments, *more], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        rows = [json.loads(line) for line in done.output.splitlines()]
        return {row["name"].removeprefix(namespace): row["retention_ms"] for row in rows}

    day = 86_400_000
    first = kept()
    assert {first[name] for name in RESULTS} == {30 * day} and first["media.audio"] == first["media.video"] == 600_000
    assert kept("--events-retention", "7d") == first | dict.fromkeys(RESULTS, 7 * day), "topics that exist are changed too, media are not"
    assert kept() == first | dict.fromkeys(RESULTS, 7 * day), "without the option nothing is changed back"
    assert kept("--events-retention", "ever")["emotion.events"] == -1


@pytest.mark.parametrize("text", ["30", "0d", "-1d", "d", "30 d", "1y"])
def test_a_retention_that_is_no_time_is_refused(text: str) -> None:
    done = CliRunner().invoke(topics, ["--bootstrap", "127.0.0.1:1", "--events-retention", text])
    assert done.exit_code == 2 and "30d, 12h, 90m, or ever" in done.output


def test_another_number_of_partitions_is_refused(broker: Broker) -> None:
    namespace = f"t{uuid.uuid4().hex[:8]}."
    start = ["--bootstrap", broker.bootstrap, "--namespace", namespace, "--partitions"]
    assert CliRunner().invoke(topics, [*start, "2"], catch_exceptions=False).exit_code == 0
    while len(partitions(broker.bootstrap, namespace)) < len(TOPICS) + len(TOPOLOGY):
        time.sleep(0.1)  # the broker tells of a new topic a moment later
    with pytest.raises(TopicError, match="2 partitions and 3 are configured"):
        CliRunner().invoke(topics, [*start, "3"], catch_exceptions=False)
