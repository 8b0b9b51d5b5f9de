"""Parquet: one flat table of stable columns, a row an event, units in the column metadata.

Open maps (probabilities, observables, models) are lists of structs, so that a new label never changes the schema. Rows
are written in groups, so that memory stays flat for a long recording. Like the JSON Lines file, the table grows as
``NAME.part`` and gets its name when it is complete.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from extractors.errors import InputError
from fusion.events import EmotionEvent
from streams.egress.field_docs import FIELD_DOCS
from streams.records import SCHEMA_VERSION

_SCORES = pa.list_(pa.struct([("label", pa.string()), ("score", pa.float64())]))
_NAMES = pa.list_(pa.struct([("part", pa.string()), ("model", pa.string())]))
_WORDS = pa.list_(
    pa.struct([("text", pa.string()), ("start_ms", pa.int64()), ("end_ms", pa.int64()), ("probability", pa.float64())])
)
_MODALITIES = pa.list_(
    pa.struct([
        ("modality", pa.string()), ("present", pa.bool_()), ("quality", pa.float64()), ("weight", pa.float64()),
        ("biometric", pa.bool_()), ("reason", pa.string()),
    ])
)
_EVIDENCE = pa.list_(
    pa.struct([
        ("modality", pa.string()), ("cue", pa.string()), ("text", pa.string()), ("start_ms", pa.int64()),
        ("end_ms", pa.int64()), ("weight", pa.float64()), ("supports", pa.bool_()),
    ])
)

# Column, type, and the documented field that it comes from.
_COLUMNS: tuple[tuple[str, pa.DataType, str, str], ...] = (
    *((name, pa.string(), "EmotionEvent", name) for name in ("id", "session", "participant", "role", "kind", "status")),
    ("revision", pa.int32(), "EmotionEvent", "revision"),
    *((name, pa.int64(), "EmotionEvent", name) for name in ("start_ms", "end_ms")),
    ("label", pa.string(), "EmotionEvent", "label"),
    ("probabilities", _SCORES, "EmotionEvent", "probabilities"),
    ("compound", pa.string(), "EmotionEvent", "compound"),
    ("open_labels", pa.list_(pa.string()), "EmotionEvent", "open_labels"),
    *((name, pa.float64(), "EmotionEvent", name) for name in ("valence", "arousal", "dominance", "intensity", "confidence")),
    ("text", pa.string(), "EventTranscript", "text"),
    ("language", pa.string(), "EventTranscript", "language"),
    ("words", _WORDS, "EventTranscript", "words"),
    ("modalities", _MODALITIES, "EmotionEvent", "modalities"),
    ("evidence", _EVIDENCE, "EmotionEvent", "evidence"),
    ("explanation", pa.string(), "EmotionEvent", "explanation"),
    ("previous_label", pa.string(), "Context", "previous"),
    ("shift", pa.bool_(), "Context", "shift"),
    ("running_valence", pa.float64(), "Context", "running_valence"),
    ("association_source", pa.string(), "Association", "source"),
    ("association_track", pa.int32(), "Association", "track"),
    ("association_method", pa.string(), "Association", "method"),
    ("association_score", pa.float64(), "Association", "score"),
    ("association_accepted", pa.bool_(), "Association", "accepted"),
    ("observables", _SCORES, "EmotionEvent", "observables"),
    ("biometric", pa.bool_(), "EmotionEvent", "biometric"),
    ("models", _NAMES, "EmotionEvent", "models"),
    ("policy_decision", pa.string(), "PolicyStamp", "decision"),
    ("policy_reason", pa.string(), "PolicyStamp", "reason"),
    ("policy_exception", pa.string(), "PolicyStamp", "exception"),
    ("latency", _SCORES, "EmotionEvent", "latency"),
)


def table_schema() -> pa.Schema:
    """Arrow schema of the table; each field carries `unit`, `description` and, where there is one, `range`."""
    fields = []
    for name, kind, struct, field in _COLUMNS:
        doc = FIELD_DOCS[struct][field]
        metadata = {"unit": doc.unit, "description": doc.description}
        if doc.minimum is not None:
            metadata["range"] = f"[{doc.minimum}, {'inf' if doc.maximum is None else doc.maximum}]"
        fields.append(pa.field(name, kind, metadata=metadata))
    return pa.schema(
        fields, metadata={"schema_version": SCHEMA_VERSION, "statement": "Expression as perceived, not what a person feels."}
    )


def _row(event: EmotionEvent) -> dict[str, Any]:
    row: dict[str, Any] = {
        name: getattr(event, field) for name, _, struct, field in _COLUMNS if struct == "EmotionEvent"
    }
    row["open_labels"] = list(event.open_labels)
    for name in ("probabilities", "observables", "latency"):
        row[name] = [{"label": key, "score": value} for key, value in sorted(getattr(event, name).items())]
    row["models"] = [{"part": key, "model": value} for key, value in sorted(event.models.items())]
    row["modalities"] = [{"modality": key, **_fields(use)} for key, use in sorted(event.modalities.items())]
    row["evidence"] = [_fields(item) for item in event.evidence]
    if event.transcript is not None:
        row |= {
            "text": event.transcript.text,
            "language": event.transcript.language,
            "words": [_fields(word) for word in event.transcript.words],
        }
    row |= {"previous_label": event.context.previous, "shift": event.context.shift, "running_valence": event.context.running_valence}
    for prefix, part in (("association", event.context.association), ("policy", event.policy)):
        if part is not None:
            row |= {f"{prefix}_{key}": value for key, value in _fields(part).items()}
    return row


def _fields(struct: Any) -> dict[str, Any]:
    return {name: getattr(struct, name) for name in struct.__struct_fields__}


class ParquetWriter:
    """Writes events to `path` in row groups of `group_rows`, under ``path.part`` until `close()`.

    Parquet keeps its index at the end of the file: an interrupted run calls `close()` as well, so that what is done can
    be read. Raises InputError where the folder cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], *, group_rows: int = 4096) -> None:
        self.path = Path(path)
        self.part = self.path.with_name(self.path.name + ".part")
        self.group_rows = group_rows
        self._schema = table_schema()
        self._rows: list[dict[str, Any]] = []
        self._closed = False
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = pq.ParquetWriter(self.part, self._schema, compression="zstd")
        except OSError as error:
            raise InputError(
                "the output cannot be written", where=str(self.path), cure=f"{error.strerror}; choose another --out folder"
            ) from error

    def write(self, event: EmotionEvent) -> None:
        """Adds one event as one row."""
        self._rows.append(_row(event))
        if len(self._rows) >= self.group_rows:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self._schema))
            self._rows = []

    def close(self) -> Path:
        """Writes the rest and completes the file under its own name; calling it again does nothing."""
        if not self._closed:
            self._flush()
            self._writer.close()
            self._closed = True
            os.replace(self.part, self.path)
        return self.path
