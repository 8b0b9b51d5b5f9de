"""Who has taken an alert is known after a restart, to every server on the results, and the first one counts."""

from __future__ import annotations

import asyncio
import multiprocessing
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extractors.errors import InputError
from streams.alerts.acknowledgements import AcknowledgementFile, NotStored
from streams.alerts.rules import parse as rules
from streams.records import AlertAcknowledged
from streams.subscriptions.feed import Feed
from tests.streams.subscriptions.conftest import begun, said

RULES = rules("rules:\n  - name: angry\n    when: {label: anger, above: 0.6}\n    for: 5s\n")


def taken(by: str, alert: str = "a") -> AlertAcknowledged:
    return AlertAcknowledged(alert, "s", by, 1_900_000_000_000)


def write_many(path: Path, name: str, count: int) -> None:
    file = AcknowledgementFile(path)
    for number in range(count):
        asyncio.run(file.take(taken(name, f"alert-{number}")))


async def test_the_first_one_counts_for_every_server_and_after_a_restart(tmp_path: Path) -> None:
    one, two = AcknowledgementFile(tmp_path / "a.jsonl"), AcknowledgementFile(tmp_path / "a.jsonl")
    assert (await one.take(taken("Ann"))).by == "Ann"
    assert (await two.take(taken("Bob"))).by == "Ann" and (await two.take(taken("Bob", "b"))).by == "Bob"
    assert [(r.alert, r.by) for r in one.read()] == [("b", "Bob")] and one.read() == []
    assert [(r.alert, r.by) for r in AcknowledgementFile(tmp_path / "a.jsonl").read()] == [("a", "Ann"), ("b", "Bob")]


def test_two_processes_at_once_agree_on_each_alert(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write_many, args=(tmp_path / "a.jsonl", name, 40)) for name in ("Ann", "Bob")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(50)
        assert writer.exitcode == 0
    lines = [msgspec.json.decode(line, type=AlertAcknowledged) for line in (tmp_path / "a.jsonl").read_bytes().splitlines() if line]
    first = {record.alert: record for record in reversed(lines)}
    assert AcknowledgementFile(tmp_path / "a.jsonl").read() == [first[name] for name in dict.fromkeys(r.alert for r in lines)] and len(first) == 40


@settings(max_examples=40, deadline=None)
@given(cut=st.integers(1, 200), junk=st.binary(max_size=30))
def test_a_torn_last_line_costs_only_itself(tmp_path_factory: pytest.TempPathFactory, cut: int, junk: bytes) -> None:
    path = tmp_path_factory.mktemp("torn") / "a.jsonl"
    asyncio.run(AcknowledgementFile(path).take(taken("Ann")))
    whole = path.read_bytes()
    line = msgspec.json.encode(taken("Bob", "b")) + b"\n"
    path.write_bytes(whole + line[: min(cut, len(line) - 2)] + b"\xff" + junk.replace(b"\n", b""))
    after = AcknowledgementFile(path)
    assert [r.by for r in after.read()] == ["Ann"]
    assert asyncio.run(after.take(taken("Cem", "c"))).by == "Cem"
    assert [r.by for r in AcknowledgementFile(path).read()] == ["Ann", "Cem"]


async def test_what_cannot_be_stored_is_not_taken(tmp_path: Path) -> None:
    feed = Feed(rules=RULES)
    feed.open(begun("s"), acknowledgements=AcknowledgementFile(tmp_path / "no such folder" / "a.jsonl"))
    feed.event(said("s", 0, 6, "anger"))
    (entry,) = feed.alerts()
    with pytest.raises(NotStored, match="could not be stored"):
        await feed.acknowledge(entry.alert.id, "Ann")
    assert feed.alerts()[0].acknowledged is None
    with pytest.raises(InputError, match="no such alert"):
        await feed.acknowledge("0" * 16, "Ann")


async def test_two_servers_on_one_folder_show_the_same_and_an_early_acknowledgement_waits_for_its_alert(tmp_path: Path) -> None:
    feeds = [Feed(rules=RULES) for _ in range(2)]
    for feed in feeds:
        feed.open(begun("s"), acknowledgements=AcknowledgementFile(tmp_path / "a.jsonl"))
        feed.event(said("s", 0, 6, "anger"))
    alert = feeds[0].alerts()[0].alert.id
    assert (await feeds[0].acknowledge(alert, "Ann")).acknowledged is not None
    later = await feeds[1].acknowledge(alert, "Bob")
    assert later.acknowledged is not None and later.acknowledged.by == "Ann"
    restarted = Feed(rules=RULES)
    restarted.open(begun("s"))
    for record in AcknowledgementFile(tmp_path / "a.jsonl").read():
        restarted.acknowledged(record)
    restarted.event(said("s", 0, 6, "anger"))
    assert restarted.alerts()[0].acknowledged == later.acknowledged
    other = Feed(rules=RULES)
    other.open(begun("s"), acknowledgements=AcknowledgementFile(tmp_path / "a.jsonl"))
    other.event(said("s", 0, 6, "anger"))
    other.reread()
    assert other.alerts()[0].acknowledged == later.acknowledged and other.alerts() == feeds[0].alerts()
