"""A worker process of the integration tests: ``python -m tests.integration.worker CONFIG.json``.

The file holds `bootstrap`, `config` (a WorkerConfig), `stages` (names), `topology` ("small" or "product") and
`fetch_wait_ms` for brokers that do not wake a waiting fetch.
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any

import aiokafka
import msgspec

from streams.runtimes.kafka import WorkerConfig, run_worker


class Job(msgspec.Struct):
    bootstrap: str
    config: WorkerConfig
    stages: list[str]
    topology: str = "small"
    fetch_wait_ms: int | None = None


def limit_fetch_wait(milliseconds: int) -> None:
    original = aiokafka.AIOKafkaConsumer.__init__

    @functools.wraps(original)
    def patched(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **(kwargs | {"fetch_max_wait_ms": milliseconds}))

    aiokafka.AIOKafkaConsumer.__init__ = patched


def main() -> int:
    job = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Job)
    if job.fetch_wait_ms:
        limit_fetch_wait(job.fetch_wait_ms)
    if job.topology == "product":
        from streams.topology import TOPOLOGY as graph
        from streams.topology import Resources

        resources: Any = Resources()
    else:
        from tests.integration.stages import GRAPH as graph

        resources = None
    return run_worker([spec for spec in graph if spec.name in job.stages], job.bootstrap, job.config, resources=resources, graph=graph)


if __name__ == "__main__":
    sys.exit(main())
