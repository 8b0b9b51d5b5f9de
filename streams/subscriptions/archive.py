"""Finished replays from disk: every folder with a ``summary.json`` and an ``events.jsonl`` is a session."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from extractors.errors import InputError
from streams.alerts.acknowledgements import NAME, AcknowledgementFile
from streams.egress import face_index
from streams.egress.jsonl import read_events
from streams.records import Alert, Decision, Participant, SessionEnd, SessionStart
from streams.subscriptions.feed import Feed


def folders(root: Path) -> list[Path]:
    """Result folders in (or at) `root`, oldest first. Raises `InputError` where there is none."""
    if not root.is_dir():
        raise InputError("no such folder of results", where=str(root), cure="give the --out folder of a replay")
    found = [path.parent for path in sorted((*root.glob("summary.json"), *root.glob("*/summary.json"))) if (path.parent / "events.jsonl").is_file()]
    return sorted(found, key=lambda folder: ((folder / "summary.json").stat().st_mtime, folder.name))


def start_of(folder: Path) -> tuple[SessionStart, dict[str, Any]]:
    """The record that opened the session of a results folder, and its summary. Raises `InputError`."""
    file = folder / "summary.json"
    try:
        summary = json.loads(file.read_text("utf-8"))
        people = msgspec.convert(summary["participants"], tuple[Participant, ...])
        decisions = msgspec.convert(summary.get("decisions", {}), dict[str, Decision])
        video = tuple(sorted({p.video for p in people if p.video}))
        audio = tuple(sorted({p.channel for p in people if p.channel}))
        return SessionStart(str(summary["session"]), people, decisions, audio or (() if video else ("audio",)), video, media=str(summary.get("media", ""))), summary
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError("not the summary of a replay", where=f"{file}: {error}", cure="run the replay again") from error


def load(feed: Feed, root: Path, *, media: Iterable[Path] = ()) -> Iterator[str]:
    """Publish every result of `root` into `feed`; yields one line of text for each that cannot be read.

    A recording is served with its session when a file of its name lies in one of the `media` folders and has its content
    (the session id carries the first digits of its hash).
    """
    for folder in folders(root):
        try:
            start, summary = start_of(folder)
            events = list(read_events(folder / "events.jsonl"))
        except InputError as error:
            yield str(error)
            continue
        has_video = any("face" in event.modalities and event.modalities["face"].present for event in events)
        if has_video and not start.video_sources:
            start = msgspec.structs.replace(start, video_sources=("video/0",))
        if not start.audio_sources and any(event.kind == "utterance" for event in events):
            start = msgspec.structs.replace(start, audio_sources=("audio",))
        taken = AcknowledgementFile(folder / NAME)
        feed.open(start, media=recording(start, media), acknowledgements=taken)
        for event in events:
            feed.event(msgspec.structs.replace(event, session=start.session) if event.session != start.session else event)
        try:
            feed.show_faces(start.session, face_index.read(folder))
        except InputError as error:
            yield str(error)
        if not feed.rules:  # those that the replay judged; other rules judge anew
            try:
                for alert in fired(folder):
                    feed.alert(msgspec.structs.replace(alert, session=start.session))
            except InputError as error:
                yield str(error)
        for record in taken.read():
            feed.acknowledged(record)
        feed.end(SessionEnd(start.session), duration_ms=int(summary.get("duration_ms", 0)))


def fired(folder: Path) -> list[Alert]:
    """The alerts of a results folder, none where it was made without rules. Raises `InputError`."""
    file = folder / "alerts.jsonl"
    found: list[Alert] = []
    try:
        lines = file.read_bytes().splitlines() if file.is_file() else []
    except OSError as error:
        raise InputError("the file cannot be read", where=str(file), cure=str(error.strerror)) from error
    for number, line in enumerate(lines, 1):
        try:
            found.append(msgspec.json.decode(line, type=Alert))
        except (msgspec.MsgspecError, ValueError) as error:
            raise InputError("not an alert", where=f"{file}, line {number}", cure=f"{error}; run the replay again") from error
    return found


def recording(start: SessionStart, places: Iterable[Path]) -> Path | None:
    """The recording of a session in one of the folders `places`, known by name and content."""
    from extractors.registry import sha256_of

    name = Path(start.media).name
    for place in places:
        path = place if place.is_file() and place.name == name else place / name
        if name and path.is_file() and sha256_of(path)[:8] == start.session.rpartition("-")[2]:
            return path.resolve()
    return None
