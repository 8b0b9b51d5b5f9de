"""The pages of a worker: Prometheus reads them, a probe sees whether all stages run."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator

import httpx
import pytest

from extractors.errors import InputError
from streams.counters import count
from streams.runtimes.kafka_metrics import GAUGES, OF_PROCESS, PER_STAGE, StageState, Telemetry

LINE = re.compile(r'[a-z_]+(\{stage="[a-z]+"\})? [0-9.]+')


@pytest.fixture
async def pages() -> AsyncIterator[tuple[Telemetry, str]]:
    telemetry = Telemetry(("segment", "hear"), lambda: [StageState("segment", 7, 4, 2), StageState("hear", 0, 4, 0)])
    server = await telemetry.listen("127.0.0.1", 0)
    yield telemetry, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()


async def get(url: str) -> httpx.Response:
    async with httpx.AsyncClient() as client:
        return await client.get(url)


async def test_every_line_of_the_metrics_is_a_comment_or_a_sample(pages: tuple[Telemetry, str]) -> None:
    page = await get(pages[1] + "/metrics")
    assert page.status_code == 200 and page.headers["content-type"].startswith("text/plain; version=0.0.4")
    samples = [line for line in page.text.splitlines() if not line.startswith("#")]
    assert samples and all(LINE.fullmatch(line) for line in samples), samples
    typed = re.findall(r"# TYPE (\w+) (counter|gauge)", page.text)
    assert len(typed) == len({name for name, _ in typed}) and {line.split("{")[0].split(" ")[0] for line in samples} == {name for name, _ in typed}


async def test_counters_of_every_stage_are_there_before_anything_was_counted(pages: tuple[Telemetry, str]) -> None:
    text = (await get(pages[1] + "/metrics")).text
    for name in PER_STAGE:
        assert text.count(f"\naffectstream_worker_{name}{{") == 2
    assert all(f"\naffectstream_worker_{name} " in text for name in OF_PROCESS)
    assert all(f"\naffectstream_worker_{name}{{stage=\"segment\"}} " in text for name in GAUGES)
    assert 'affectstream_worker_lag{stage="segment"} 7\n' in text
    assert "\nprocess_cpu_seconds_total " in text


async def test_what_stages_count_is_shown(pages: tuple[Telemetry, str]) -> None:
    def value(text: str, name: str) -> float:
        return float(re.search(rf"^{re.escape('affectstream_worker_' + name)} (.+)$", text, re.MULTILINE)[1])  # type: ignore[index]

    before = (await get(pages[1] + "/metrics")).text
    count('records_in_total{stage="hear"}', 5)
    count('batch_microseconds_total{stage="hear"}', 1_500_000)
    count("hypotheses_dropped_total", 2)
    after = (await get(pages[1] + "/metrics")).text
    for name, more in {'records_in_total{stage="hear"}': 5, 'batch_seconds_total{stage="hear"}': 1.5, "hypotheses_dropped_total": 2}.items():
        assert value(after, name) - value(before, name) == pytest.approx(more)


async def test_the_health_page_says_whether_all_stages_run(pages: tuple[Telemetry, str]) -> None:
    telemetry, url = pages
    starting = await get(url + "/healthz")
    assert starting.status_code == 503 and json.loads(starting.text)["status"] == "not running"
    telemetry.healthy = True
    assert (await get(url + "/healthz")).json()["stages"] == ["segment", "hear"]


async def test_other_pages_and_other_methods_are_refused(pages: tuple[Telemetry, str]) -> None:
    assert (await get(pages[1] + "/")).status_code == 404
    async with httpx.AsyncClient() as client:
        assert (await client.post(pages[1] + "/metrics", content=b"x")).status_code == 405
        head = await client.head(pages[1] + "/healthz")
    assert head.status_code == 503 and not head.content


@pytest.mark.parametrize("garbage", [b"\r\n\r\n", b"\x16\x03\x01\x02\x00\r\n\r\n", b"GET\r\n\r\n", b"x" * 20_000, b""])
async def test_garbage_disturbs_nobody(pages: tuple[Telemetry, str], garbage: bytes) -> None:
    host, port = pages[1].removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(garbage)
    writer.write_eof()
    async with asyncio.timeout(10):
        await reader.read()
    writer.close()
    assert (await get(pages[1] + "/metrics")).status_code == 200


async def test_a_port_that_is_taken_is_one_sentence(pages: tuple[Telemetry, str]) -> None:
    port = int(pages[1].rsplit(":", 1)[1])
    with pytest.raises(InputError, match=r"port [0-9]+ cannot be listened on .*choose another --metrics-port"):
        await Telemetry(()).listen("127.0.0.1", port)
