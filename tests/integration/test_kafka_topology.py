"""The product's own stages on a broker: a recording played live gives the bytes of its replay, also through a kill."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from fusion.events import EmotionEvent
from streams import topics
from streams.records import SessionStart
from tests.integration.harness import Bench, comparable

pytestmark = [pytest.mark.integration, pytest.mark.models]


@pytest.mark.timeout(240)
@pytest.mark.parametrize("live", [False, True])
async def test_a_call_played_live_gives_the_events_of_its_replay_although_the_worker_is_killed(
    live: bool, bench: Bench, sample_call: Path, bundled_models: None,
) -> None:
    """A live session (`live`) gives each event up as soon as it is there, so their order may differ; and hypotheses before them."""
    from streams.topology import Resources
    from tests.integration.recordings import embedded_events, load

    start, records = load(sample_call, to_ms=14_000)
    expected, refused = embedded_events(start, records, Resources())
    start, records = msgspec.structs.replace(start, live=live), [msgspec.structs.replace(r, live=live) if isinstance(r, SessionStart) else r for r in records]
    assert expected and not refused
    bench.topology = "product"
    await bench.create()
    worker = bench.start_worker()

    async def kill() -> None:
        await bench.reach("hear", 1)
        await asyncio.sleep(4)
        worker.kill()
        worker.wait()
        bench.start_worker()

    await asyncio.gather(bench.play(start, records, speed=1.0), kill())
    await bench.wait_closed([start.session], 150)
    found = await bench.events()
    events = found[start.session]
    assert not any(event.status == "partial" for event in events)  # they are on the inner topic alone
    fused = [topics.decode_from("fused", message.value) for message in await bench.read("fused")]
    assert any(isinstance(record, EmotionEvent) and record.status == "partial" for record in fused) is live
    if live:
        events.sort(key=lambda event: (event.end_ms, event.participant, event.kind, event.start_ms))
    assert [comparable(event) for event in events] == [comparable(event) for event in expected]
    assert [topics.decode_from("dead-letters", message.value).reason for message in await bench.read("dead-letters")] == []
