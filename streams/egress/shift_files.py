"""Emotion shifts of a recording as files of their own: JSON Lines and Parquet, one shift a line or row.

The table is flat; what preceded a shift and the last words before it are lists of structs, so that a new kind of antecedent
never changes the schema. Texts of the transcript are not copied: `event` names the utterance in the table of events.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from fusion.shifts import EmotionShift
from streams.records import SCHEMA_VERSION

_TIME = {"unit": "ms since session start"}
_WORDS = pa.list_(pa.struct([("participant", pa.string()), ("event", pa.string()), ("start_ms", pa.int64()), ("end_ms", pa.int64()), ("before_ms", pa.int64())]))
_PRECEDED = pa.list_(
    pa.struct([
        ("kind", pa.string()), ("participant", pa.string()), ("start_ms", pa.int64()), ("end_ms", pa.int64()), ("before_ms", pa.int64()), ("text", pa.string()),
        ("of", pa.string()), ("value", pa.float64()), ("baseline", pa.float64()), ("count", pa.int64()), ("outcome", pa.string()), ("unit", pa.string()),
        ("event", pa.string()),
    ])
)  # fmt: skip
_PHASE: tuple[tuple[str, pa.DataType, str], ...] = (
    ("label", pa.string(), "settled label"), ("tone", pa.string(), "side of valence: negative, neutral, positive"), ("start_ms", pa.int64(), "first event"),
    ("end_ms", pa.int64(), "end of its last event"), ("count", pa.int64(), "labelled events of this tone"),
    ("valence", pa.float64(), "mean, weighted by duration, -1 to 1"), ("confidence", pa.float64(), "mean, weighted by duration, 0 to 1"),
    ("event", pa.string(), "id of its first event"),
)  # fmt: skip


def table_schema() -> pa.Schema:
    """Arrow schema of the table of shifts; each field carries `description` and, for times, `unit`."""
    described: list[tuple[str, pa.DataType, str]] = [
        ("session", pa.string(), "session of the recording"), ("participant", pa.string(), "whose expression turned"), ("role", pa.string(), "role of the participant"),
        ("kind", pa.string(), "tone: the side of valence turned; label: the label turned within one side"),
        ("at_ms", pa.int64(), "start of the first event of the new expression"), ("settled_ms", pa.int64(), "end of the event that settled the turn"),
        ("event", pa.string(), "id of the first event of the new expression"),
        *((f"{side}_{name}", kind, f"{text} ({side} the turn)") for side in ("before", "after") for name, kind, text in _PHASE),
        ("last_words", _WORDS, "last utterance with words of each participant before the turn, the closest first"),
        ("preceded_by", _PRECEDED, "what was measured in the window before the turn, the closest first; it need not be the cause"),
        ("text", pa.string(), "the turn and what preceded it in words"),
    ]  # fmt: skip
    fields = [pa.field(name, kind, metadata={"description": text} | (_TIME if name.endswith("_ms") else {})) for name, kind, text in described]
    return pa.schema(fields, metadata={"schema_version": SCHEMA_VERSION, "statement": "Expression as perceived, not what a person feels."})


def lines(shifts: Sequence[EmotionShift], session: str) -> bytes:
    """One JSON object a line, `session` first."""
    return b"".join(msgspec.json.encode({"session": session, **msgspec.to_builtins(shift)}) + b"\n" for shift in shifts)


def write_table(shifts: Sequence[EmotionShift], session: str, path: Path) -> Path:
    """Write the table of shifts; a recording without one gives a table without rows."""
    rows = [_row(shift, session) for shift in shifts]
    pq.write_table(pa.Table.from_pylist(rows, schema=table_schema()), path, compression="zstd")
    return path


def _row(shift: EmotionShift, session: str) -> dict[str, Any]:
    row: dict[str, Any] = {"session": session, **msgspec.to_builtins(shift)}
    for side in ("before", "after"):
        row |= {f"{side}_{name}": value for name, value in row.pop(side).items()}
    return row
