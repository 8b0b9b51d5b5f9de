"""Who has taken an alert, kept beside the results of its recording: a file of JSON Lines that only grows.

The first line of an alert counts, so that two servers on one folder agree whatever the order of their requests. A line is one
write and is safe on disk before it is answered; half a last line, which a power failure can leave, is passed over.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from extractors.errors import InputError
from streams.records import AlertAcknowledged

NAME = "acknowledgements.jsonl"

Keeper = Callable[[AlertAcknowledged], Awaitable[AlertAcknowledged]]
"""Stores an acknowledgement and gives back the one that counts: the first that was stored for the alert. Raises `NotStored`."""

_decoder = msgspec.json.Decoder(AlertAcknowledged)


class NotStored(InputError):
    """An acknowledgement could not be stored: nobody has taken the alert."""


async def in_memory(record: AlertAcknowledged) -> AlertAcknowledged:
    """A keeper that forgets with the process."""
    return record


class AcknowledgementFile:
    """Acknowledgements of one session. All methods may be called from any thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._first: dict[str, AlertAcknowledged] = {}
        self._offset = 0
        self.unreadable = 0

    async def take(self, record: AlertAcknowledged) -> AlertAcknowledged:
        """Store `record`; the one that counts (see `Keeper`)."""
        return await asyncio.to_thread(self._take, record)

    def _take(self, record: AlertAcknowledged) -> AlertAcknowledged:
        with self._lock:
            self._read()
            if record.alert not in self._first:
                try:
                    self._append(msgspec.json.encode(record) + b"\n")
                except OSError as error:
                    raise NotStored("the acknowledgement could not be stored", where=f"{self._path}: {error.strerror}", cure="make the folder writable") from error
                self._read()
            return self._first.get(record.alert, record)

    def _append(self, line: bytes) -> None:
        with self._path.open("a+b", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            if end:
                file.seek(end - 1)
                if file.read(1) != b"\n":  # the half line of a crash must not swallow this one
                    line = b"\n" + line
            file.write(line)
            os.fsync(file.fileno())

    def read(self) -> list[AlertAcknowledged]:
        """What was stored since the last call, by this process or another: the first one of each alert."""
        with self._lock:
            return self._read()

    def _read(self) -> list[AlertAcknowledged]:
        try:
            if self._path.stat().st_size == self._offset:
                return []
            with self._path.open("rb") as file:
                if file.seek(0, os.SEEK_END) < self._offset:  # not the file it was
                    self._first, self._offset = {}, 0
                file.seek(self._offset)
                data = file.read()
        except OSError:
            return []
        whole = data.rfind(b"\n") + 1
        self._offset += whole
        found = []
        for line in data[:whole].splitlines():
            if not line.strip():
                continue
            try:
                record = _decoder.decode(line)
            except (msgspec.MsgspecError, ValueError):  # ValueError: not UTF-8
                self.unreadable += 1
                continue
            if record.alert not in self._first:
                self._first[record.alert] = record
                found.append(record)
        return found
