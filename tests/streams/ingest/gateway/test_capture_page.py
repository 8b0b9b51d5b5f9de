"""The capture page in a real browser, with the browser's own fake microphone and camera."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest

from streams.ingest.gateway.registry import Gateway
from streams.records import AudioChunk, SessionStart, VideoFrame
from tests.streams.ingest.gateway.driving import Recorder, ends_of, pcm_of, running
from tests.streams.ingest.gateway.test_live import Switch

pytestmark = pytest.mark.integration


@pytest.fixture
async def page() -> AsyncIterator[Any]:
    playwright = pytest.importorskip("playwright.async_api")
    path = os.environ.get("CHROMIUM_PATH") or shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not path:
        pytest.skip("no Chromium on this machine (set CHROMIUM_PATH)")
    flags = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    async with playwright.async_playwright() as tools:
        browser = await tools.chromium.launch(executable_path=path, args=flags)
        context = await browser.new_context()
        opened = await context.new_page()
        opened.faults = []
        opened.on("pageerror", lambda error: opened.faults.append(str(error)))
        opened.on("console", lambda message: opened.faults.append(message.text) if message.type == "error" and "WebSocket" not in message.text else None)
        yield opened
        await browser.close()


def count(sink: Recorder, kind: type) -> int:
    return sum(isinstance(record, kind) for record in sink.records)


async def until(condition: Any, what: str) -> None:
    for _ in range(400):
        if condition():
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{what} did not happen")


async def test_a_call_from_the_browser(page: Any) -> None:
    sink = Recorder()
    async with running(Gateway(sink)) as host:
        await page.goto(f"http://{host}/capture")
        await page.select_option("#role", "customer")
        await page.check("#notice")
        await page.click("#start")
        await until(lambda: count(sink, VideoFrame) >= 3 and count(sink, AudioChunk) >= 12, "live media")
        assert "words and expression are analysed" in await page.text_content("#decisions")
        await page.click("#pause")
        await page.wait_for_selector("[data-state=paused]")
        await asyncio.sleep(0.3)
        at_pause = len(sink.records)
        await asyncio.sleep(0.5)
        assert len(sink.records) == at_pause, "nothing leaves the browser in a pause"
        await page.click("#pause")
        await until(lambda: len(sink.records) > at_pause + 5, "going on after the pause")
        await page.click("#stop")
        await page.wait_for_selector("[data-state=ended]")
    start = sink.records[0]
    assert isinstance(start, SessionStart) and start.notice and start.notice.given and start.decisions["captured"].emotion
    assert ends_of(sink.records) == ["completed"]
    chunks = [record for record in sink.records if isinstance(record, AudioChunk)]
    gaps = [b.start_sample - (a.start_sample + len(a.payload) // 2) for a, b in zip(chunks, chunks[1:], strict=False)]
    assert sum(gap > 0 for gap in gaps) == 1 and max(gaps) / chunks[0].rate >= 0.4, "the pause, and no other gap"
    assert np.abs(np.frombuffer(pcm_of(chunks)["audio/0"], "<i2").astype(int)).max() > 1000, "the beeps of the fake microphone"
    frames = [record for record in sink.records if isinstance(record, VideoFrame)]
    assert frames[0].payload.startswith(b"\xff\xd8") and frames[0].width >= 320
    steps = np.diff([frame.media_ms for frame in frames])
    assert 150 <= np.median(steps) <= 350
    assert page.faults == [], page.faults


async def test_a_broken_connection_heals_and_loses_nothing(page: Any) -> None:
    sink = Recorder()
    gateway = Gateway(sink)
    async with running(gateway) as host:
        switch = Switch([host, host])
        async with switch as through:
            await page.goto(f"http://{through}/capture")
            await page.uncheck("#camera")
            await page.click("#start")
            await until(lambda: count(sink, AudioChunk) >= 5, "live sound")
            switch.next()
            await page.wait_for_selector("[data-state=broken]")
            await page.wait_for_selector("[data-state=live]")
            before = len(sink.records)
            await until(lambda: len(sink.records) > before + 5, "going on")
            await page.click("#stop")
            await page.wait_for_selector("[data-state=ended]")
            assert await page.text_content("#reconnections") == "1"
    chunks = [record for record in sink.records if isinstance(record, AudioChunk)]
    assert [chunk.start_sample for chunk in chunks] == [i * len(chunks[0].payload) // 2 for i in range(len(chunks))]
    assert ends_of(sink.records) == ["completed"] and gateway.counters["dead_letters"] == 0


async def test_without_a_statement_the_page_says_that_no_emotion_is_analysed(page: Any) -> None:
    async with running(Gateway(Recorder())) as host:
        await page.goto(f"http://{host}/capture")
        await page.click("#start")
        await page.wait_for_selector("[data-state=live]")
        assert "no emotion" in await page.text_content("#decisions")
        await page.click("#stop")
        await page.wait_for_selector("[data-state=ended]")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_page_is_accessible(page: Any, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.async_playwright").Axe()
    async with running(Gateway(Recorder())) as host:
        await page.emulate_media(color_scheme=scheme)
        await page.goto(f"http://{host}/capture")
        await page.click("summary")
        # The page forbids inline scripts; the checker is allowed past that here only.
        found = (await axe.run(page)).response["violations"]
    assert [fault["id"] for fault in found if fault["impact"] in ("serious", "critical")] == []


async def test_the_page_asks_for_nothing_elsewhere(page: Any) -> None:
    addresses: list[str] = []
    page.on("request", lambda request: addresses.append(request.url))
    async with running(Gateway(Recorder())) as host:
        await page.goto(f"http://{host}/capture")
        await page.wait_for_load_state("networkidle")
        assert addresses and all(address.startswith(f"http://{host}/") for address in addresses)
        assert (await page.request.get(f"http://{host}/capture/../app.py")).status == 404
        assert (await page.request.get(f"http://{host}/capture/secret.txt")).status == 404
