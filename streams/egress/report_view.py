"""What the report shows, computed from events: rows of the axis, episodes, list entries, overview and figures."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from msgspec import Struct

from fusion.events import EmotionEvent
from fusion.metrics import ConversationMetrics, ParticipantMetrics
from fusion.naming import clock
from streams.egress.chart import Bin
from streams.policy import UNJOINED_FACES
from streams.records import Decision, Participant

EPISODE_GAP_MS = 45_000
"""Events of one label with at most this silence between them are one episode."""
OVERVIEW_FROM_MS = 20 * 60_000
"""From this length on the axis opens on a window, with an overview of the whole above it."""
WINDOW_MS = 10 * 60_000
OVERVIEW_BINS = 300
MODALITY_NAMES = {"speech": "voice", "text": "words", "face": "face", "scene": "scene", "music": "music"}


class Episode(Struct, frozen=True):
    """Successive events of one look: `state` is the label, `unknown` or `withheld`. A single abstention between two
    events of one label does not end the episode (and is not counted in it); its own span stays hatched."""

    state: str
    start_ms: int
    end_ms: int
    count: int


class Row(Struct, frozen=True):
    """One participant on the axis."""

    id: str
    name: str
    role: str
    analysed: bool
    note: str
    episodes: tuple[Episode, ...]
    curve: int | None
    summary: str


def state_of(event: EmotionEvent) -> str:
    """What the event looks like on the page."""
    return "withheld" if event.status == "withheld" or event.label is None else event.label


def episodes(events: Sequence[EmotionEvent]) -> tuple[Episode, ...]:
    found: list[Episode] = []
    for event in events:
        state = state_of(event)
        bridged = len(found) > 1 and found[-1].state == "unknown" and found[-1].count == 1 and found[-2].state == state
        last = found[-2] if bridged else found[-1] if found else None
        if last is not None and last.state == state and event.start_ms - last.end_ms <= EPISODE_GAP_MS:
            if bridged:
                found.pop()
            found[-1] = Episode(state, last.start_ms, max(last.end_ms, event.end_ms), last.count + 1)
        else:
            found.append(Episode(state, event.start_ms, event.end_ms, 1))
    return tuple(found)


def rows(events: Sequence[EmotionEvent], participants: Sequence[Participant], decisions: Mapping[str, Decision]) -> list[Row]:
    """A row for each declared participant and for everybody else who has events, in order of appearance."""
    declared = {p.id: p for p in participants}
    order = list(dict.fromkeys([*declared, *(e.participant for e in events)]))
    built: list[Row] = []
    curves = 0
    for name in order:
        mine = [e for e in events if e.participant == name]
        decision = decisions.get(name) or (decisions.get(UNJOINED_FACES) if name.startswith("face-") else None)
        shown = any(e.status != "withheld" and e.label is not None for e in mine)
        analysed = decision.emotion if decision is not None else shown or not mine
        stamp = next((e.policy.reason for e in mine if e.policy and e.status == "withheld"), "")
        reason = decision.reason if decision is not None and not analysed else stamp
        has_curve = analysed and any(e.valence is not None for e in mine)
        role = declared[name].role if name in declared else next((e.role for e in mine), "participant")
        built.append(
            Row(
                id=name,
                name=name[:1].upper() + name[1:],
                role=role,
                analysed=analysed,
                note="" if analysed else f"withheld: {reason or 'policy'}",
                episodes=episodes(mine),
                curve=curves if has_curve else None,
                summary=_summary(name, mine, analysed, reason),
            )
        )
        curves += has_curve
    return built


def _summary(name: str, events: Sequence[EmotionEvent], analysed: bool, reason: str) -> str:
    """The row in words, for those who do not see it."""
    if not events:
        return f"{name}: nothing was said or seen"
    if not analysed:
        return f"{name}: {len(events)} events, emotion withheld ({reason or 'policy'})"
    parts = [f"{e.state} {clock(e.start_ms)} to {clock(e.end_ms)}" for e in episodes(events)]
    more = f" and {len(parts) - 12} more" if len(parts) > 12 else ""
    return f"{name}: {'; '.join(parts[:12])}{more}"


def overview(events: Sequence[EmotionEvent], built: Sequence[Row], duration_ms: int) -> list[Bin]:
    """Cells over the whole length: in each the label with the most time, any expression before neutral, so that no turn
    is smoothed away."""
    cells: dict[tuple[int, int], dict[str, int]] = {}
    width = max(duration_ms / OVERVIEW_BINS, 1.0)
    index = {row.id: i for i, row in enumerate(built)}
    for event in events:
        for cell in range(int(event.start_ms // width), int(max(event.end_ms - 1, event.start_ms) // width) + 1):
            shared = min(event.end_ms, (cell + 1) * width) - max(event.start_ms, cell * width)
            times = cells.setdefault((index[event.participant], cell), {})
            times[state_of(event)] = times.get(state_of(event), 0) + max(int(shared), 1)
    quiet = ("neutral", "unknown", "withheld")
    return [
        Bin(row, round(cell * width / 1000, 3), round((cell + 1) * width / 1000, 3), min(times, key=lambda s: (s in quiet, -times[s], s)))
        for (row, cell), times in sorted(cells.items())
    ]


def curve_height(count: int) -> int:
    """Height of each valence curve in pixels: eight of them have to share the page."""
    return 72 if count <= 2 else 56 if count == 3 else 40


def window(duration_ms: int, turn_ms: int | None) -> tuple[tuple[float, float], tuple[float, float]]:
    """(window to open on, whole) in seconds; a little air on both sides lets the first label be read."""
    air = max(duration_ms, 1000) * 0.012 / 1000
    whole = (-air, max(duration_ms, 1000) / 1000 + air)
    if duration_ms < OVERVIEW_FROM_MS:
        return whole, whole
    start = min(max((turn_ms or 0) - WINDOW_MS // 5, 0), duration_ms - WINDOW_MS) / 1000
    return (start - 4, start + WINDOW_MS / 1000 + 4), whole


def entry(event: EmotionEvent, index: int, row: int, turn: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """An event for the page's script; texts are put in as text, never as markup. `turn`: the shift that begins here."""
    withheld = event.status == "withheld"
    item: dict[str, Any] = {
        "i": index, "id": event.id, "p": row, "s": event.start_ms, "e": event.end_ms, "k": event.kind, "st": state_of(event),
        "why": event.policy.reason if withheld and event.policy else "",
        "said": event.transcript.text if event.transcript else "", "lang": event.transcript.language if event.transcript else "",
    }
    if withheld:
        observed = event.policy is not None and event.policy.decision == "observables"
        return item | ({"x": event.explanation} if observed else {})
    top = sorted(event.probabilities.items(), key=lambda pair: (-pair[1], pair[0]))
    item |= {
        "pr": [[label, round(p, 3)] for label, p in top if p >= 0.005][:8],
        "v": event.valence, "a": event.arousal, "int": event.intensity, "c": event.confidence, "cmp": event.compound, "ol": list(event.open_labels),
        "ev": [[MODALITY_NAMES.get(e.modality, e.modality), e.text.removeprefix(f"{MODALITY_NAMES.get(e.modality)} "), round(e.weight, 3), e.supports, e.start_ms, e.end_ms] for e in event.evidence],
        "mo": [
            [MODALITY_NAMES.get(name, name), use.present, round(use.weight, 3), round(use.quality, 2), use.reason or ""]
            for name, use in sorted(event.modalities.items(), key=lambda pair: (-pair[1].weight, pair[0]))
        ],
        "x": event.explanation, "md": event.models,
    }
    if turn is not None:
        item |= {"pv": turn["before"], "tx": turn["text"]}
    join = event.context.association
    if join is not None and join.method == "mouth_activity":
        item["jn"] = {"ok": join.accepted, "score": join.score}
    return item


def leads(events: Sequence[EmotionEvent]) -> list[int]:
    """For each event the index of the one that stands for it in the list: of successive windows of a silent face that
    show the same, the first stands for all, so that they do not drown the words."""
    standing: dict[str, int] = {}
    found = []
    for index, event in enumerate(events):
        first = standing.get(event.participant)
        same = first is not None and event.kind == events[first].kind == "face" and state_of(event) == state_of(events[first])
        if first is None or not same:
            standing[event.participant] = first = index
        found.append(first)
    return found


def turns(events: Sequence[EmotionEvent], built: Sequence[Row], turn_of: Mapping[str, Mapping[str, Any]] = MappingProxyType({})) -> list[dict[str, Any]]:
    """Entries of the list under the axis; `turn_of` maps the first events of shifts to them."""
    row_of = {row.id: row for row in built}
    lead = leads(events)
    until = {first: events[index].end_ms for index, first in enumerate(lead)}
    listed = []
    for index, event in enumerate(events):
        if lead[index] != index:
            continue
        said = event.transcript.text.strip() if event.transcript else ""
        listed.append({
            "index": index, "clock": clock(event.start_ms), "name": row_of[event.participant].name, "state": state_of(event), "said": said,
            "silent": _unsaid(event, until[index]), "language": event.transcript.language if event.transcript else "",
            "previous": turn_of[event.id]["before"] if event.id in turn_of else "", "probability": _share(event.probabilities.get(event.label or "")),
        })  # fmt: skip
    return listed


def _unsaid(event: EmotionEvent, until_ms: int) -> str:
    """What the list says of an event without words."""
    if event.kind == "face":
        seen = f": {event.evidence[0].text}" if event.evidence and event.status != "withheld" else ""
        return f"seen while silent, to {clock(until_ms)}{seen}"
    return {"music": "music", "conversation": event.explanation}.get(event.kind) or "nothing understood"


def crop_urls(crops: Mapping[str, bytes], events: Sequence[EmotionEvent], built: Sequence[Row]) -> list[dict[str, Any]]:
    """Faces in time order, only of events that are analysed."""
    names = {row.id: row for row in built}
    return [
        {
            "index": index, "start_ms": event.start_ms, "state": state_of(event), "row": names[event.participant].id,
            "url": "data:image/jpeg;base64," + base64.b64encode(crops[event.id]).decode("ascii"),
            "alt": f"{names[event.participant].name} at {clock(event.start_ms)}, {state_of(event)}",
        }
        for index, event in enumerate(events)
        if event.id in crops and event.status != "withheld" and names[event.participant].analysed
    ]  # fmt: skip


# Figures


def facts(m: ConversationMetrics) -> list[tuple[str, str]]:
    """Figures of the whole conversation: (name, value with its count)."""
    made = sum(i.outcome == "success" for i in m.interruptions)
    parameters = m.parameters
    return [
        ("Somebody speaks", clock(m.talk_ms)),
        (f"Nobody speaks, {parameters.non_talk_min_ms / 1000:g} s or longer", _spent(m.non_talk_ms, len(m.non_talk))),
        ("Several speak at once", _spent(m.overlap_ms, len(m.overlaps))),
        ("Interruptions", f"{made} · {len(m.interruptions) - made} attempt{'' if len(m.interruptions) - made == 1 else 's'}"),
    ]


def people(m: ConversationMetrics, built: Sequence[Row]) -> list[ParticipantMetrics]:
    """Participants who spoke, in the order of the rows of the axis."""
    order = [row.id for row in built]
    return sorted(m.participants, key=lambda p: order.index(p.participant) if p.participant in order else len(order))


def figures(m: ConversationMetrics, built: Sequence[Row]) -> list[tuple[str, str, list[str]]]:
    """(name, explanation, value per participant) rows of the table."""
    spoke = people(m, built)

    def row(name: str, explanation: str, value: Any) -> tuple[str, str, list[str]]:
        return name, explanation, [value(p) for p in spoke]

    return [
        row("Talk time", "voice activity", lambda p: clock(p.talk_ms)),
        row("Share of talk", "of all talk time", lambda p: _percent(p.talk_ratio)),
        row("Utterances", "in turns", lambda p: f"{p.utterances} in {p.turns}"),
        row("Talk speed", "words a minute of voiced time · utterances", lambda p: _counted(p.words_per_min, "{:.0f}", p.worded_utterances)),
        row("Loudness", "LUFS, weighted by duration · utterances", lambda p: _counted(p.loudness_lufs, "{:.1f}", p.loudness_count)),
        row("Answers after", "median from the end of the other's turn · answers",
            lambda p: _counted(_in_seconds(p.response.median_ms), "{:.1f} s", p.response.count)),
        row("Speaks while others do", "times begun second", lambda p: f"{_seconds(p.overlap_ms)} · {p.overlaps_begun}"),
        row("Interrupts", "and attempts, overlap in all", lambda p: f"{p.interruptions_made} and {p.interruption_attempts} · {_seconds(p.interruption_ms)}"),
        row("Is interrupted", "successfully", lambda p: str(p.interrupted)),
    ]


def valence_table(m: ConversationMetrics, built: Sequence[Row]) -> list[dict[str, Any]]:
    """Valence by quarter and its trend; withheld participants are named with the reason and without any figure."""
    notes = {row.id: row for row in built}
    table: list[dict[str, Any]] = []
    for p in people(m, built):
        row = notes.get(p.participant)
        if p.valence is None or (row is not None and not row.analysed):
            table.append({"name": _name(p), "note": row.note if row else "withheld", "quarters": [], "trend": "", "change": ""})
            continue
        if not p.valence.count:
            table.append({"name": _name(p), "note": "no valence was measured", "quarters": [], "trend": "", "change": ""})
            continue
        quarters = [
            {
                "value": _signed(q.valence), "count": q.count, "tint": round(abs(q.valence or 0) * 45),
                "side": "negative" if (q.valence or 0) < 0 else "positive",
            }
            for q in p.valence.quarters
        ]  # fmt: skip
        trend = p.valence.trend
        slope = "too few utterances"
        if trend.slope_per_min is not None:
            slope = f"{_signed(trend.slope_per_min, 3)} a minute"
            if trend.low is not None:
                slope += f" ({m.parameters.trend_confidence:.0%}: {_signed(trend.low, 3)} to {_signed(trend.high, 3)})"
        mean = f"{_signed(p.valence.mean)} · {p.valence.count} utterance{'' if p.valence.count == 1 else 's'}"
        table.append({"name": _name(p), "note": "", "mean": mean, "quarters": quarters, "trend": slope, "change": _signed(p.valence.change)})
    return table


def parameters(m: ConversationMetrics) -> list[tuple[str, str]]:
    p = m.parameters
    return [
        ("Nobody speaks", f"no voice on any channel for {p.non_talk_min_ms} ms or longer, between the first and the last utterance"),
        ("Several speak at once", f"at least two voices for {p.overlap_min_ms} ms or longer"),
        ("Interruption", f"begins while another has spoken for {p.interruption_spoken_ms} ms or longer, overlaps by {p.interruption_overlap_ms} ms or "
                         f"more; it succeeds when the other stops within {p.interruption_yield_ms} ms"),
        ("Listening words", f"utterances up to {p.back_channel_max_ms} ms made only of {', '.join(p.back_channel_words)} are no interruption and no turn"),
        ("Loudness", p.loudness_method),
        ("Talk speed", p.word_source),
        ("Valence by quarter", f"four equal parts of the conversation; {p.valence_weighting}"),
        ("Turn", f"another expression, or another side of valence, in {p.shifts.events} labelled events of a person in a row that together lead the old one by "
                 f"{p.shifts.margin:g} in probability; dated from the first of them; abstentions count for nothing"),
        ("Preceded by", f"what began before the turn and ended within {p.shifts.window_ms / 1000:g} s of it; an answer is slow from {p.shifts.slow_response_ms} ms on; "
                        f"loudness ({p.shifts.loudness_change_lu:g} LU), speed ({p.shifts.speed_change:.0%}) and face ({p.shifts.face_change:g} of 5) against the own median "
                        f"of at least {p.shifts.baseline_events} earlier utterances. What went before need not be the cause"),
        ("Trend", f"least squares over utterances, at least {p.trend_min_turns}; {p.trend_confidence:.0%} interval of Student's t"),
    ]  # fmt: skip


def _name(p: ParticipantMetrics) -> str:
    return p.participant[:1].upper() + p.participant[1:]


def _spent(ms: int, count: int) -> str:
    return "never" if not count else f"{_seconds(ms)} · {'once' if count == 1 else f'{count} times'}"


def _seconds(ms: int) -> str:
    return clock(ms) if ms >= 60_000 else f"{ms / 1000:.1f} s"


def _in_seconds(ms: float | None) -> float | None:
    return None if ms is None else ms / 1000


def _counted(value: float | None, pattern: str, count: int) -> str:
    return f"{pattern.format(value).replace('-', '−')} · {count}" if value is not None else "none · 0"


def _percent(value: float | None) -> str:
    return "none" if value is None else f"{value:.0%}"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _signed(value: float | None, digits: int = 2) -> str:
    if value is None:
        return "none"
    return f"{value:+.{digits}f}".replace("-", "−") if round(value, digits) else f"{0:.{digits}f}"
