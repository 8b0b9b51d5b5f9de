"""What every stage is: a synchronous, deterministic core that a runtime drives."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, runtime_checkable

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


@runtime_checkable
class Sheds(Protocol):
    """A stage that does less in a live session that it cannot keep up with. What is final is never left out."""

    def pressed(self, lag_ms: int) -> None:
        """How long the oldest record of the next `feed_many` has waited, in milliseconds; 0 while a worker that has taken
        a session over still catches up: the records that wait then are no sign of too much load."""
