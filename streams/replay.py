"""Replay of recordings: media in, emotion events and their files out, in one process."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from extractors.errors import InputError
from fusion.events import EmotionEvent
from fusion.metrics import ConversationMetrics
from fusion.preceding import conversation_figures
from streams import policy as policies
from streams.egress.faces import FaceLog
from streams.ingest.channels import VIDEO_SOURCE, ChannelPlan, plan
from streams.ingest.files import open_media
from streams.ingest.media import MediaInfo, probe
from streams.records import DeadLetter, Notice, SessionStart
from streams.runtimes import embedded
from streams.topology import Options, Resources

FORMATS = ("jsonl", "parquet", "vtt", "emotionml", "html")


class ReplayOptions(Struct, frozen=True):
    """How a recording is read and analysed. Times in ms of the media; `speed` None is as fast as possible."""

    channels: str | None = None
    language: str | None = None
    fps: float = 10.0
    from_ms: int | None = None
    to_ms: int | None = None
    speed: float | None = None
    video: bool = True
    policy: Path | None = None
    analysis: Options = msgspec.field(default_factory=Options)

    def fingerprint(self, media_sha256: str) -> str:
        """Hash over everything that decides the events; a finished replay with the same one need not run again."""
        decisive = msgspec.structs.replace(self, speed=None, policy=None)
        rules = self.policy.read_text("utf-8") if self.policy and self.policy.is_file() else ""
        return hashlib.sha256(msgspec.json.encode([msgspec.to_builtins(decisive), rules, media_sha256])).hexdigest()[
            :16
        ]


class Replay(Struct):
    """Result of one recording."""

    media: Path
    info: MediaInfo
    start: SessionStart
    events: list[EmotionEvent]
    complete: bool
    duration_ms: int
    problems: list[str]
    dead_letters: list[DeadLetter]
    faces: FaceLog

    @property
    def metrics(self) -> ConversationMetrics:
        """Figures of the conversation: talk time, interruptions, response latency, valence by quarter, emotion shifts."""
        return conversation_figures(self.events, self.duration_ms)


def session_name(media: Path, sha256: str) -> str:
    """Session id of a recording: its name made plain and eight digits of its content's hash."""
    plain = unicodedata.normalize("NFKD", media.stem).encode("ascii", "ignore").decode()
    slug = re.sub(r"[^A-Za-z0-9]+", "-", plain).strip("-").lower()[:40] or "recording"
    return f"{slug}-{sha256[:8]}"


def session_start(
    info: MediaInfo, channels: ChannelPlan, options: ReplayOptions, rules: policies.Policy
) -> SessionStart:
    """The record that opens the session of a recording, with the policy decisions already made.

    The command of the user is the statement that the people in the recording may be analysed; protected roles stay so.
    """
    participants = channels.participants
    return SessionStart(
        session=session_name(Path(info.path), info.sha256),
        participants=participants,
        decisions=policies.decide(participants, rules),
        audio_sources=tuple(source.name for source in channels.sources),
        video_sources=(VIDEO_SOURCE,) if info.video and options.video else (),
        language=options.language,
        media=Path(info.path).name,
        notice=Notice(True, "recording given by the user"),
    )


def replay(
    media: str | Path,
    *,
    channels: str | None = None,
    options: ReplayOptions | None = None,
    resources: Resources | None = None,
    on_event: Callable[[EmotionEvent], None] | None = None,
    on_progress: Callable[[int, int | None], None] | None = None,
    on_start: Callable[[SessionStart, MediaInfo], None] | None = None,
    stop: threading.Event | None = None,
    on_record: Callable[[Any], None] | None = None,
) -> Replay:
    """Analyse one recording and return its events in order.

    `channels` is a shortcut for ``options.channels`` (``left=customer,right=agent``). `resources` shares loaded models
    between recordings. `on_event` gets each event as it is made, `on_progress` (position ms, duration ms or None),
    `on_record` each cue and watermark before it is fused.
    Raises `InputError` for media that cannot be analysed and `ModelMissing` where a model file is not installed.
    """
    chosen = options or ReplayOptions()
    if channels is not None:
        chosen = msgspec.structs.replace(chosen, channels=channels)
    rules = policies.load(chosen.policy)
    info = probe(media)
    layout = plan(
        info.audio.channels if info.audio else 0,
        info.stereo,
        bool(info.video and chosen.video),
        chosen.channels,
        where=str(media),
    )
    start = session_start(info, layout, chosen, rules)
    if on_start:
        on_start(start, info)
    shared = resources or Resources(chosen.analysis)
    result = Replay(Path(media), info, start, [], False, 0, list(info.problems), [], FaceLog())

    def keep(event: EmotionEvent) -> None:
        result.events.append(event)
        if on_event:
            on_event(event)

    def note(record: Any) -> None:
        result.faces.feed(record)
        if on_record:
            on_record(record)

    reader = open_media(
        media,
        session=start.session,
        info=info,
        channels=layout,
        fps=chosen.fps,
        from_ms=chosen.from_ms,
        to_ms=chosen.to_ms,
        video=chosen.video,
    )

    def records() -> Iterable[Any]:
        for record in reader:
            if on_progress:
                on_progress(reader.position_ms, reader.duration_ms)
            yield record

    result.complete = embedded.run(
        start,
        records(),
        shared,
        keep,
        speed=chosen.speed,
        on_dead_letter=result.dead_letters.append,
        on_record=note,
        stop=stop,
    )
    result.duration_ms = reader.position_ms
    result.problems += [problem for problem in reader.problems if problem not in result.problems]
    return result


def folder_names(media: Iterable[Path]) -> dict[Path, str]:
    """Output folder per recording: its stem; recordings of one stem get a number in the order given."""
    names: dict[Path, str] = {}
    taken: set[str] = set()
    for path in media:
        name, number = path.stem or "recording", 2
        while name in taken:
            name, number = f"{path.stem}-{number}", number + 1
        taken.add(name)
        names[path] = name
    return names


def finished(folder: Path, fingerprint: str, formats: Iterable[str], rules: str | None = None) -> Mapping[str, Any] | None:
    """The summary of a replay that was completed with the same media and options, in at least these formats, and judged by
    these alert rules where any are given (`rules`: their identity)."""
    try:
        summary = json.loads((folder / "summary.json").read_text("utf-8"))
    except (OSError, ValueError):
        return None
    same = (
        summary.get("fingerprint") == fingerprint
        and summary.get("status") == "complete"
        and set(formats) <= set(summary.get("formats", ()))
        and rules in (None, summary.get("rules"))
    )
    return summary if same else None


def summarize(result: Replay, fingerprint: str, formats: Iterable[str], seconds: float) -> dict[str, Any]:
    """What `summary.json` says of a replay; `seconds` of wall time is the only part that may differ between runs."""
    status = "complete" if result.complete else "interrupted"
    labels: dict[str, int] = {}
    for event in result.events:
        if event.label:
            labels[event.label] = labels.get(event.label, 0) + 1
    return {
        "media": result.media.name,
        "session": result.start.session,
        "status": status,
        "fingerprint": fingerprint,
        "formats": sorted(formats),
        "duration_ms": result.duration_ms,
        "participants": [msgspec.to_builtins(person) for person in result.start.participants],
        "decisions": msgspec.to_builtins(result.start.decisions),
        "events": len(result.events),
        "utterances": sum(event.kind == "utterance" for event in result.events),
        "withheld": sum(event.status == "withheld" for event in result.events),
        "labels": dict(sorted(labels.items())),
        "metrics": msgspec.to_builtins(result.metrics),
        "problems": result.problems,
        "dead_letters": [{"stage": letter.stage, "reason": letter.reason} for letter in result.dead_letters],
        "seconds": round(seconds, 2),
    }


def writable(folder: Path) -> None:
    """Raises `InputError` where nothing can be written into `folder` (made if it is not there)."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe_file = folder / ".writable"
        probe_file.write_bytes(b"")
        probe_file.unlink()
    except OSError as error:
        raise InputError(
            "output folder cannot be written", where=f"{folder}: {error.strerror}", cure="choose another with --out"
        ) from error
