"""Fixtures of the integration tests: a broker for the session, a bench (namespace and workers) for the test."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration import brokers
from tests.integration.harness import Bench


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--broker", choices=("auto", "kafka", "tansu", "both"), help="broker of the tests (default: $AFFECTSTREAM_TEST_BROKER or auto)")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "broker" in metafunc.fixturenames:
        wanted = metafunc.config.getoption("--broker", default=None) or os.environ.get("AFFECTSTREAM_TEST_BROKER", "auto")
        kinds = ["kafka", "tansu"] if wanted == "both" else [wanted]
        metafunc.parametrize("broker", kinds, indirect=True, scope="session")


@pytest.fixture(scope="session")
def broker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[brokers.Broker]:
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # topics are polled for before they exist
    context = brokers.start(request.param, tmp_path_factory.mktemp("broker"))
    try:
        running = context.__enter__()
    except brokers.Unavailable as reason:
        pytest.skip(str(reason))
    try:
        yield running
    finally:
        context.__exit__(None, None, None)


@pytest.fixture
def bench(broker: brokers.Broker, tmp_path: Path) -> Iterator[Bench]:
    """Topics of its own on the broker; workers started through it are gone after the test."""
    place = Bench(broker, tmp_path)
    yield place
    place.stop()
