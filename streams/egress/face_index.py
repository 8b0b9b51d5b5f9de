"""Where the faces of a finished recording are, so that its moments of change can be shown again without analysing anew.

`faces.json` lies beside the other results: for each chosen moment (`streams.egress.faces.moments`) the event, the media time
and the box of the face. It holds no picture; pictures are cut from the recording when somebody looks, and only where
policy still allows it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from extractors.errors import InputError
from fusion.events import EmotionEvent
from streams.egress.faces import CropRequest, allowed
from streams.records import Decision

FILE = "faces.json"
_MOST_BYTES = 1 << 20


def write(folder: str | os.PathLike[str], requests: Sequence[CropRequest]) -> Path | None:
    """Write `requests` into `folder`; without any, an older file goes and None is returned. Raises InputError."""
    target = Path(folder) / FILE
    try:
        if not requests:
            target.unlink(missing_ok=True)
            return None
        target.write_bytes(msgspec.json.format(msgspec.json.encode(requests), indent=1) + b"\n")
    except OSError as error:
        raise InputError("the places of the faces cannot be written", where=f"{target}: {error.strerror}", cure="choose another --out") from error
    return target


def read(folder: str | os.PathLike[str]) -> list[CropRequest]:
    """The moments of a results folder; an empty list where there are none. Raises InputError for a file that is none of ours."""
    target = Path(folder) / FILE
    try:
        if not target.is_file():
            return []
        if target.stat().st_size > _MOST_BYTES:
            raise InputError("not the places of faces", where=str(target), cure="run the replay again")
        return msgspec.json.decode(target.read_bytes(), type=list[CropRequest])
    except (OSError, msgspec.MsgspecError) as error:
        raise InputError("not the places of faces", where=f"{target}: {error}", cure="run the replay again") from error


def permitted(requests: Iterable[CropRequest], events: Iterable[EmotionEvent], decisions: Mapping[str, Decision]) -> list[CropRequest]:
    """Those of `requests` whose event is there and whose participant may be analysed."""
    may = {event.id for event in events if allowed(event, decisions)}
    return [request for request in requests if request.key in may]
