"""A browser in a thread of its own: Playwright's loop would otherwise stand in the way of the asynchronous tests."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest


class Browser:
    """`run(steps)` gives a fresh page to `steps` and fails on any script error, any refusal by the page's own policy, and
    any request that leaves the machine."""

    def __init__(self, chromium: Any, thread: ThreadPoolExecutor) -> None:
        self._chromium, self._thread = chromium, thread

    def run(self, steps: Callable[[Any], None], *, size: tuple[int, int] = (1440, 900), scheme: str = "light", expected: tuple[str, ...] = ()) -> None:
        self._thread.submit(self._run, steps, size, scheme, expected).result(120)

    def _run(self, steps: Callable[[Any], None], size: tuple[int, int], scheme: str, expected: tuple[str, ...]) -> None:
        context = self._chromium.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, reduced_motion="reduce")
        context.set_default_timeout(15_000)
        page = context.new_page()
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        page.on("request", lambda request: faults.append(request.url) if not request.url.startswith(("http://127.0.0.1:", "data:", "blob:")) else None)
        try:
            steps(page)
            assert [fault for fault in faults if not any(text in fault for text in expected)] == []
        finally:
            context.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = os.environ.get("CHROMIUM_PATH") or shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium here (set CHROMIUM_PATH)")
    sync_api = pytest.importorskip("playwright.sync_api")
    with ThreadPoolExecutor(1, thread_name_prefix="browser") as thread, ExitStack() as stack:
        def start() -> Any:
            playwright = stack.enter_context(sync_api.sync_playwright())
            return playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required"])

        chromium = thread.submit(start).result(60)
        yield Browser(chromium, thread)
        thread.submit(chromium.close).result(30)
        thread.submit(stack.close).result(30)
