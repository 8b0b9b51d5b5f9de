"""JSON Lines: one event a line, UTF-8, fields in the order of the struct, maps sorted by key.

A file grows under the name ``NAME.part`` and gets its own name only when it is complete, so that a run that is taken up
again can tell what is done. Each event is one `write` of one whole line: whatever interrupts the process, every line
that is there is complete, and `JsonlWriter(..., append=True)` cuts off the only thing a power failure can leave, half a
last line.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from extractors.errors import InputError
from fusion.events import EmotionEvent

_decoder = msgspec.json.Decoder(EmotionEvent)


def encode_event(event: EmotionEvent) -> bytes:
    """One line of JSON, newline included. Raises ValueError on a number that JSON does not have (NaN, infinity)."""
    _refuse_non_finite(event, "event")
    return msgspec.json.encode(event, order="deterministic") + b"\n"


def _refuse_non_finite(value: Any, path: str) -> None:
    # msgspec would write null for NaN, which turns a fault into a gap that nobody notices.
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{path} is {value}, which JSON does not have")
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            _refuse_non_finite(getattr(value, name), f"{path}.{name}")
    elif isinstance(value, dict):
        for key, item in value.items():
            _refuse_non_finite(item, f"{path}.{key}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _refuse_non_finite(item, f"{path}[{index}]")


class JsonlWriter:
    """Writes events to `path`, under ``path.part`` until `close()`.

    `append` continues an interrupted ``.part`` file after cutting an incomplete last line; otherwise the file starts
    anew. As a context manager it closes on success and keeps the ``.part`` file (valid, every line whole) on an error
    or an interrupt. Raises InputError where the folder cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], *, append: bool = False) -> None:
        self.path = Path(path)
        self.part = self.path.with_name(self.path.name + ".part")
        self.count = 0
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if append and self.part.exists():
                _cut_incomplete_line(self.part)
                mode = "ab"
            else:
                mode = "wb"
            self._file = open(self.part, mode, buffering=0)
        except OSError as error:
            raise InputError(
                "the output cannot be written", where=str(self.path), cure=f"{error.strerror}; choose another --out folder"
            ) from error

    def write(self, event: EmotionEvent) -> None:
        """Adds one event; the whole line goes to the system in one call."""
        self._write_all(encode_event(event))
        self.count += 1

    def _write_all(self, line: bytes) -> None:
        start = self._file.seek(0, os.SEEK_END)
        try:
            written = self._file.write(line)
            while written is not None and written < len(line):  # a full disk or a signal can shorten a write
                line = line[written:]
                written = self._file.write(line)
        except BaseException:
            self._file.truncate(start)
            raise

    def close(self) -> Path:
        """Completes the file under its own name; calling it again does nothing."""
        if not self._file.closed:
            os.fsync(self._file.fileno())
            self._file.close()
            os.replace(self.part, self.path)
        return self.path

    def abandon(self) -> Path:
        """Stops without completing: what is done stays in the ``.part`` file; an empty one is taken away."""
        if not self._file.closed:
            self._file.close()
            if not self.part.stat().st_size:
                self.part.unlink()
        return self.part

    def __enter__(self) -> JsonlWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()


def _cut_incomplete_line(path: Path) -> None:
    """Shortens the file to its last newline."""
    with open(path, "r+b") as file:
        end = file.seek(0, os.SEEK_END)
        while end > 0:
            step = min(65536, end)
            file.seek(end - step)
            at = file.read(step).rfind(b"\n")
            if at >= 0:
                file.truncate(end - step + at + 1)
                return
            end -= step
        file.truncate(0)


def read_events(path: str | os.PathLike[str]) -> Iterator[EmotionEvent]:
    """The events of a JSON Lines file in file order. Raises InputError with the line number where one is not an event."""
    try:
        file = open(path, "rb")
    except OSError as error:
        raise InputError("the file cannot be read", where=str(path), cure=str(error.strerror)) from error
    with file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                yield _decoder.decode(line)
            except msgspec.MsgspecError as error:
                raise InputError(
                    "not an emotion event", where=f"{path}, line {number}", cure=f"{error}; compare `affectstream schema`"
                ) from error
