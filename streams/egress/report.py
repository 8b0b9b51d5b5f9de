"""The report: one HTML file that opens from a mail attachment, with no network and no other file.

The page answers what happened in a conversation, when it turned and why the system says so. Spans, transcript and
figures are plain HTML that reads without a script; the curves are Bokeh's, whose script travels compressed inside the
page. Every text that came from a recording, a model or a user is put in as text: the template escapes, the script of the
page writes text nodes, and the data block has no character that could end it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
import msgspec
from markupsafe import Markup
from msgspec import Struct

from extractors.errors import InputError
from fusion.events import Context, EmotionEvent
from fusion.metrics import ConversationMetrics
from fusion.naming import clock
from fusion.preceding import conversation_figures
from fusion.settle import settled
from streams.egress import chart, faces, report_moments, report_view
from streams.egress.faces import FaceLog
from streams.egress.headline import headline
from streams.records import Alert, Decision, Participant

LABELS = ("anger", "contempt", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")
STATEMENT = "Expression as perceived, not what a person feels."


class ReportSession(Struct, frozen=True):
    """What the report says about the recording. `media_href` is a link relative to the report, or None."""

    media: str
    duration_ms: int
    participants: tuple[Participant, ...] = ()
    decisions: dict[str, Decision] = {}
    language: str | None = None
    has_audio: bool = True
    has_video: bool = False
    media_href: str | None = None
    complete: bool = True
    problems: tuple[str, ...] = ()


def render(
    events: Iterable[EmotionEvent], *, session: ReportSession, metrics: ConversationMetrics | None = None,
    crops: Mapping[str, bytes] | None = None, alerts: Iterable[Alert] = (),
) -> str:
    """The page as text. `metrics` are computed from the events where not given; `crops` maps event ids to JPEG bytes;
    `alerts` that fired are drawn as flags (of each the newest revision)."""
    kept = settled(events)
    duration_ms = max([session.duration_ms, *(e.end_ms for e in kept)])
    built = report_view.rows(kept, session.participants, session.decisions)
    protected = {row.id for row in built if not row.analysed}
    kept = [_without_emotion(e) if e.participant in protected and e.status != "withheld" else e for e in kept]
    built = report_view.rows(kept, session.participants, session.decisions) if protected else built
    metrics = metrics or conversation_figures(kept, duration_ms)
    index = {row.id: i for i, row in enumerate(built)}
    analysed = [row.id for row in built if row.analysed and row.episodes]
    reason = next((row.note.removeprefix("withheld: ") for row in built if not row.analysed), None)
    story = headline(kept, analysed, reason)
    view, whole = report_view.window(duration_ms, story.at_ms)
    bins = report_view.overview(kept, built, duration_ms) if duration_ms >= report_view.OVERVIEW_FROM_MS else []
    curves = [
        chart.Curve(row.id, tuple(e for e in kept if e.participant == row.id and e.valence is not None))
        for row in built if row.curve is not None
    ]
    plots = chart.charts(curves, bins, len(built), view, whole, report_view.curve_height(len(curves)))
    version, script = chart.script()
    states = [report_view.state_of(e) for e in kept]
    index_of = {e.id: i for i, e in enumerate(kept)}
    turned = report_moments.turnings(metrics, kept, built, index_of)
    flags = report_moments.flags(alerts, built, kept, index_of, duration_ms)
    turn_of = {turn["event"]: turn for turn in turned}
    data = {
        "events": [report_view.entry(e, i, index[e.participant], turn_of.get(e.id)) for i, e in enumerate(kept)],
        "rows": [{"name": row.name, "note": row.note} for row in built],
        "lead": report_view.leads(kept), "view": view, "whole": whole, "duration": duration_ms / 1000, "turn": story.at_ms, "charts": plots,
    }  # fmt: skip
    return _environment().get_template("report.html").render(
        session=session, headline=story, rows=built, events=kept, metrics=metrics, duration=clock(duration_ms), duration_ms=duration_ms,
        turns=report_view.turns(kept, built, turn_of), turned=turned, flags=flags,
        spoken=any(e.kind == "utterance" for e in kept) or not kept, curve_height=report_view.curve_height(len(curves)),
        faces=report_view.crop_urls(crops or {}, kept, built), row_of=index,
        index_of=index_of,
        facts=report_view.facts(metrics), figures=report_view.figures(metrics, built), people=report_view.people(metrics, built),
        valence=report_view.valence_table(metrics, built),
        parameters=report_view.parameters(metrics), labels=[s for s in LABELS if s in states],
        others=sorted({s for s in states if s not in (*LABELS, "unknown", "withheld")}), has_unknown="unknown" in states,
        has_withheld="withheld" in states, overview=bool(bins), cell=f"{duration_ms / report_view.OVERVIEW_BINS / 1000:.0f} s",
        view=view, statement=STATEMENT, bokeh=version, script=Markup(script), data=_json_block(data), css=_text("report.css"),
        js=_text("report.js"), language=session.language or _language(kept), models=_models(kept),
    )  # fmt: skip


def write_report(result: Any, path: str | os.PathLike[str], *, log: FaceLog | None = None, alerts: Iterable[Alert] = ()) -> Path:
    """Render the result of a replay (`streams.replay.Replay`) into `path`; the recording is linked relative to it, and `alerts`
    that rules fired over it are drawn.

    `log` (or the result's own `faces`) remembers where faces were seen during the run; with it the page shows them at
    moments of change.
    Raises InputError where the file cannot be written.
    """
    target = Path(path)
    crops: dict[str, bytes] = {}
    log = log or getattr(result, "faces", None)
    if log is not None and result.info.video is not None:
        wanted = faces.moments(result.events, log, result.start.participants, result.start.decisions)
        crops = faces.crops(result.media, wanted, info=result.info)
    session = ReportSession(
        media=result.media.name,
        duration_ms=result.duration_ms,
        participants=tuple(result.start.participants),
        decisions=dict(result.start.decisions),
        language=result.start.language,
        has_audio=bool(result.start.audio_sources),
        has_video=bool(result.start.video_sources),
        media_href=_relative(Path(result.media), target.parent),
        complete=result.complete,
        problems=tuple(result.problems),
    )
    page = render(result.events, session=session, crops=crops, alerts=alerts)
    try:
        target.write_text(page, "utf-8")
    except OSError as error:
        raise InputError("the report cannot be written", where=f"{target}: {error.strerror}", cure="choose another --out") from error
    return target


def _without_emotion(event: EmotionEvent) -> EmotionEvent:
    """The event as policy allows it. Stages never make one with more; a page that travels by mail does not rely on it."""
    return msgspec.structs.replace(
        event, status="withheld", label=None, probabilities={}, compound=None, open_labels=(), valence=None, arousal=None, dominance=None,
        intensity=None, confidence=None, modalities={}, evidence=(), explanation="", context=Context(),
    )  # fmt: skip


def _relative(media: Path, folder: Path) -> str | None:
    """Link from a folder to the recording; None where there is no way (another drive)."""
    try:
        return quote(Path(os.path.relpath(media.resolve(), folder.resolve())).as_posix())
    except ValueError:
        return None


def _language(events: list[EmotionEvent]) -> str | None:
    spoken = [e.transcript.language for e in events if e.transcript and e.transcript.text and e.transcript.language]
    return max(sorted(set(spoken)), key=spoken.count) if spoken else None


def _models(events: list[EmotionEvent]) -> list[tuple[str, str]]:
    return sorted({(part, model) for e in events for part, model in e.models.items()})


def _json_block(data: dict[str, Any]) -> Markup:
    """JSON that cannot end its script element, whatever texts it holds."""
    text = msgspec.json.encode(data).decode()
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _text(name: str) -> Markup:
    return Markup(resources.files("streams.egress").joinpath("templates", name).read_text("utf-8"))


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: str(_text(name))), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["clock"] = clock
    environment.filters["state"] = report_view.state_of
    return environment
