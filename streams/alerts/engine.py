"""The alert engine: emotion events in, alerts out. A pure core with the shape of a stage.

Everything is counted in media time and in the order of the events, so that a recording fires the same alerts live and
in replay. An alert has one opening and one closing record of the same id; consumers keep the highest revision. Partial
and revised events fire nothing: a rule is judged once, on the final event.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import msgspec
from msgspec import Struct

from fusion.events import EmotionEvent
from fusion.metrics import UtteranceSpan, conversation_metrics, spans_of
from streams.alerts.rules import Rule
from streams.records import Alert as Alert
from streams.records import Cited as Cited
from streams.records import Output, SessionEnd, SessionStart, Watermark

EVERYBODY = ""
_KEPT_EVIDENCE = 5


class _Watch(Struct):
    """State of one rule for one participant."""

    since_ms: int | None = None
    alert: Alert | None = None
    quiet_until_ms: int = -1
    peak: float = 0.0
    evidence: list[Cited] = []
    history: list[Cited] = []


class _State(Struct):
    watches: dict[str, _Watch] = {}
    spans: list[UtteranceSpan] = []
    ids: list[str] = []
    voiced_until_ms: int = -1
    now_ms: int = 0
    seen: dict[str, int] = {}


class AlertStage:
    """Judges the rules over the events of one session (see `streams.stages.protocol.Stage`)."""

    def __init__(self, start: SessionStart, rules: Sequence[Rule]) -> None:
        self._session = start.session
        self._rules = tuple(rules)
        self._roles = {person.id: person.role for person in start.participants}
        self._state = _State()

    def feed(self, record: Output) -> Iterable[Alert]:
        if isinstance(record, EmotionEvent):
            return self._event(record)
        if isinstance(record, Watermark):
            return self.tick(record.media_ms)
        return self.flush() if isinstance(record, SessionEnd) else []

    def feed_many(self, records: Sequence[Output]) -> Iterable[Alert]:
        return [alert for record in records for alert in self.feed(record)]

    def tick(self, now_ms: int) -> Iterable[Alert]:
        """Silence can be judged without an event: `now_ms` is how far the media have been read."""
        self._state.now_ms = max(self._state.now_ms, now_ms)
        return [alert for rule in self._rules if rule.subject == "silence" for alert in self._silence(rule, now_ms)]

    def flush(self) -> Iterable[Alert]:
        """The session is over: what is open closes where the last event ended."""
        closed = [
            self._close(watch, self._state.now_ms, "the session ended")
            for watch in self._state.watches.values()
            if watch.alert
        ]
        return sorted(closed, key=lambda alert: (alert.start_ms, alert.id))

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode(self._state)

    def restore(self, state: bytes) -> None:
        self._state = msgspec.msgpack.decode(state, type=_State)

    def _event(self, event: EmotionEvent) -> list[Alert]:
        if event.status not in ("final", "withheld") or event.revision <= self._state.seen.get(event.id, -1):
            return []
        self._state.seen[event.id] = event.revision
        alerts: list[Alert] = []
        if event.kind == "utterance":
            for rule in self._rules:
                if rule.subject == "silence":
                    alerts += self._silence(rule, event.start_ms, spoken=True)
            self._state.voiced_until_ms = max(self._state.voiced_until_ms, event.end_ms)
            self._keep_span(event)
        self._state.now_ms = max(self._state.now_ms, event.end_ms)
        for rule in self._rules:
            if rule.subject == "interruptions" and event.kind == "utterance":
                alerts += self._interruptions(rule, event)
            elif rule.kind in ("label", "measure") and rule.role in (None, event.role):
                alerts += self._level(rule, event)
        return alerts

    def _watch(self, rule: Rule, participant: str) -> _Watch:
        return self._state.watches.setdefault(f"{rule.name}\x1f{participant}", _Watch(evidence=[], history=[]))

    def _level(self, rule: Rule, event: EmotionEvent) -> list[Alert]:
        """Rules on a label or a measure. Withheld and unknown events say nothing: they neither hold nor break one."""
        value = event.probabilities.get(rule.subject) if rule.kind == "label" else getattr(event, rule.subject)
        if value is None or event.status == "withheld" or event.label == "unknown":
            return []
        watch = self._watch(rule, event.participant)
        cited = Cited(event.id, event.start_ms, event.end_ms, round(value, 4), event.explanation)
        if rule.compare == "falls_by":
            return self._fall(rule, watch, event, cited)
        sign = 1 if rule.compare == "above" else -1
        if watch.alert:
            if sign * (value - rule.release) < 0:
                return [self._close(watch, event.start_ms, f"{rule.subject} is at {value:.2f} again")]
            watch.alert = self._worse(watch.alert, cited, sign)
            return []
        if sign * (value - rule.threshold) < 0:
            watch.since_ms, watch.evidence = None, []
            return []
        watch.since_ms = event.start_ms if watch.since_ms is None else watch.since_ms
        watch.evidence = [*watch.evidence, cited][-_KEPT_EVIDENCE:]
        if event.end_ms - watch.since_ms < rule.for_ms:
            return []
        worst = (max if sign > 0 else min)(item.value for item in watch.evidence)
        return self._open(
            rule, watch, event.participant, event.role, watch.since_ms, event.end_ms, worst, watch.evidence
        )

    def _fall(self, rule: Rule, watch: _Watch, event: EmotionEvent, cited: Cited) -> list[Alert]:
        if watch.alert:
            if cited.value >= watch.peak - rule.release:
                return [self._close(watch, event.start_ms, f"{rule.subject} recovered to {cited.value:.2f}")]
            return []
        watch.history = [item for item in watch.history if item.end_ms >= event.end_ms - rule.within_ms]
        highest = max(watch.history, key=lambda item: item.value, default=None)
        watch.history.append(cited)
        if highest is None or highest.value - cited.value < rule.threshold:
            return []
        watch.peak = highest.value
        fall = round(highest.value - cited.value, 4)
        opened = self._open(
            rule, watch, event.participant, event.role, highest.start_ms, event.end_ms, fall, [highest, cited]
        )
        watch.history = [cited]
        return opened

    def _interruptions(self, rule: Rule, event: EmotionEvent) -> list[Alert]:
        found = conversation_metrics(self._state.spans, self._state.now_ms).interruptions
        recent = [
            item
            for item in found
            if item.at_ms >= event.end_ms - rule.within_ms
            and rule.role in (None, self._roles.get(item.by, "participant"))
        ]
        watch = self._watch(rule, EVERYBODY)
        if watch.alert:
            return (
                []
                if len(recent) >= rule.release
                else [self._close(watch, event.end_ms, f"{len(recent)} interruptions within the window")]
            )
        if len(recent) < rule.threshold:
            return []
        cited = [
            Cited(
                self._id_at(item.by, item.at_ms),
                item.at_ms,
                item.at_ms + item.overlap_ms,
                1.0,
                f"{item.by} starts while {item.of} speaks",
            )
            for item in recent
        ][-_KEPT_EVIDENCE:]
        return self._open(rule, watch, EVERYBODY, "", recent[0].at_ms, event.end_ms, float(len(recent)), cited)

    def _silence(self, rule: Rule, now_ms: int, *, spoken: bool = False) -> list[Alert]:
        watch, began = self._watch(rule, EVERYBODY), self._state.voiced_until_ms
        alerts: list[Alert] = []
        if watch.alert is None and began >= 0 and now_ms - began >= rule.threshold:
            last = self._state.ids[-1] if self._state.ids else ""
            cited = [Cited(last, began, now_ms, float(now_ms - began), "the last words before the silence")]
            # The alert fires when the threshold is reached, however late a tick or the next word shows it.
            alerts += self._open(rule, watch, EVERYBODY, "", began, began + int(rule.threshold), rule.threshold, cited)
        if watch.alert is not None and spoken:
            alerts.append(
                self._close(
                    watch, now_ms, f"somebody speaks again after {(now_ms - watch.alert.start_ms) / 1000:.1f} s"
                )
            )
        return alerts

    def _open(
        self,
        rule: Rule,
        watch: _Watch,
        participant: str,
        role: str,
        start_ms: int,
        fired_ms: int,
        value: float,
        evidence: list[Cited],
    ) -> list[Alert]:
        watch.since_ms, watch.evidence = None, []
        if fired_ms < watch.quiet_until_ms:
            return []
        text = "\x1f".join((rule.name, self._session, participant, str(start_ms)))
        who = participant or "conversation"
        said = "; ".join(dict.fromkeys(item.text for item in evidence if item.text))
        watch.alert = Alert(
            hashlib.sha256(text.encode()).hexdigest()[:16],
            1,
            "open",
            rule.name,
            rule.severity,
            self._session,
            participant,
            role,
            start_ms,
            fired_ms,
            None,
            round(value, 4),
            rule.threshold,
            rule.condition(),
            f"{who}: {rule.condition()}, from {clock(start_ms)}. {said}".strip(),
            tuple(evidence),
        )
        watch.quiet_until_ms = fired_ms + rule.cooldown_ms
        return [watch.alert]

    def _close(self, watch: _Watch, end_ms: int, why: str) -> Alert:
        assert watch.alert is not None
        end = max(end_ms, watch.alert.fired_ms)
        closed = msgspec.structs.replace(
            watch.alert,
            revision=2,
            status="closed",
            end_ms=end,
            explanation=f"{watch.alert.explanation} Closed at {clock(end)}: {why}.",
        )
        watch.alert = None
        return closed

    @staticmethod
    def _worse(alert: Alert, cited: Cited, sign: int) -> Alert:
        worst = max if sign > 0 else min
        return msgspec.structs.replace(
            alert, value=worst(alert.value, cited.value), evidence=(*alert.evidence, cited)[-_KEPT_EVIDENCE:]
        )

    def _keep_span(self, event: EmotionEvent) -> None:
        horizon = event.end_ms - max((rule.within_ms for rule in self._rules), default=0) - 60_000
        kept = [
            (span, name)
            for span, name in zip(self._state.spans, self._state.ids, strict=True)
            if span.end_ms >= horizon
        ]
        self._state.spans = [span for span, _ in kept] + spans_of([event])
        self._state.ids = [name for _, name in kept] + [event.id]

    def _id_at(self, participant: str, start_ms: int) -> str:
        return next(
            (
                name
                for span, name in zip(self._state.spans, self._state.ids, strict=True)
                if span.participant == participant and span.start_ms == start_ms
            ),
            "",
        )


def clock(ms: int) -> str:
    """m:ss of a media time."""
    return f"{ms // 60_000}:{ms % 60_000 // 1000:02d}"
