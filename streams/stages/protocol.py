"""What every stage is: a synchronous, deterministic core that a runtime drives."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from streams.records import Output


class Stage(Protocol):
    """One instance serves one session.

    `feed` takes records in order of arrival and gives outputs that depend on media alone; `feed_many` is the same for
    several records at once (a stage that runs a model may batch inside, with equal results); `tick` brings deadlines
    from outside; `flush` ends the session; `snapshot` is the small state from which `restore` goes on after a crash.
    """

    def feed(self, record: Output) -> Iterable[Output]: ...

    def feed_many(self, records: Sequence[Output]) -> Iterable[Output]: ...

    def tick(self, now_ms: int) -> Iterable[Output]: ...

    def flush(self) -> Iterable[Output]: ...

    def snapshot(self) -> bytes: ...

    def restore(self, state: bytes) -> None: ...
