"""Alert rules: a small typed language in YAML.

    rules:
      - name: angry customer
        when: {label: anger, above: 0.6}        # probability of a label …
        role: customer
        for: 10s                                # … without a break for so long
        release: 0.45                           # hysteresis: the alert closes below this
        cooldown: 60s                           # no second alert of this rule for the same person within this time
        severity: warning                       # info, warning or critical
      - name: valence falls
        when: {measure: valence, falls_by: 0.5} # valence, arousal, dominance or intensity: above, below or falls_by
        within: 30s
      - name: interruptions
        when: {metric: interruptions, at_least: 3}
        within: 60s
      - name: silence
        when: {metric: silence, at_least: 20s}

No rule can be about the emotion of an employee: such a rule is refused.
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any, Literal

import yaml
from msgspec import Struct

from extractors.cues import LABELS
from extractors.errors import InputError
from streams.policy import ROLES, normal_role

MEASURES = ("valence", "arousal", "dominance", "intensity")
METRICS = ("silence", "interruptions")
SEVERITIES = ("info", "warning", "critical")
_PROTECTED = ("employee", "unknown")
_UNITS = {"ms": 1, "s": 1000, "m": 60_000, "min": 60_000}


class Rule(Struct, frozen=True):
    """One checked rule. `subject` is a label, a measure or a metric; times in ms.

    `compare` says how `threshold` is meant; `release` is where an open alert closes again.
    """

    name: str
    kind: Literal["label", "measure", "metric"]
    subject: str
    compare: Literal["above", "below", "falls_by", "at_least"]
    threshold: float
    release: float
    role: str | None = None
    for_ms: int = 0
    within_ms: int = 60_000
    cooldown_ms: int = 60_000
    severity: str = "warning"

    def condition(self) -> str:
        """The rule in words, for explanations."""
        span = {
            "falls_by": f" within {_seconds(self.within_ms)}",
            "at_least": "" if self.subject == "silence" else f" within {_seconds(self.within_ms)}",
        }
        size = _seconds(int(self.threshold)) if self.subject == "silence" else f"{self.threshold:g}"
        words = {"above": "above", "below": "below", "falls_by": "falls by", "at_least": "at least"}[self.compare]
        return f"{self.subject} {words} {size}{span.get(self.compare, '')}" + (
            f" for {_seconds(self.for_ms)}" if self.for_ms else ""
        )


DEFAULT = Path(__file__).with_name("default.yaml")
"""Rules to begin with: angry customer, falling valence, interruptions, silence."""


def file_of(path: Path) -> Path:
    """The rules file that is meant: ``default`` are the rules that come with the product, where no file is called so."""
    return DEFAULT if str(path) == "default" and not path.exists() else path


def load(path: Path) -> tuple[Rule, ...]:
    """Read a rules file (see `file_of`). Raises `InputError` with file, line and cure for the first fault."""
    path = file_of(path)
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("rules file cannot be read", where=f"{path}: {error}", cure="check the path") from error
    return parse(text, str(path))


def parse(text: str, where: str = "rules") -> tuple[Rule, ...]:
    """Rules of a YAML text; `where` names it in errors."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise InputError(
            f"rules are not YAML: {getattr(error, 'problem', None) or error}",
            where=where + line,
            cure="see `affectstream alerts --help`",
        ) from error
    document = _Node(root, where)
    rules = tuple(_rule(node) for node in document.entry("rules", required=True).items())
    document.only(("rules",))
    names = [rule.name for rule in rules]
    for node, name in zip(document.entry("rules", required=True).items(), names, strict=True):
        if names.count(name) > 1:
            raise node.error(f"two rules are called {name}", "give each its own name")
    return rules


class _Node:
    """A YAML node that knows its line, so that every fault is named where it stands."""

    def __init__(self, node: Any, where: str) -> None:
        self._node, self._where = node, where

    def error(self, what: str, cure: str) -> InputError:
        line = f", line {self._node.start_mark.line + 1}" if self._node is not None else ""
        return InputError(what, where=self._where + line, cure=cure)

    def _map(self) -> dict[str, _Node]:
        if not isinstance(self._node, yaml.MappingNode):
            raise self.error("a mapping is expected here", "write key: value")
        return {str(key.value): _Node(value, self._where) for key, value in self._node.value}

    def keys(self) -> list[str]:
        return list(self._map())

    def only(self, known: tuple[str, ...]) -> None:
        for key, value in self._map().items():
            if key not in known:
                near = difflib.get_close_matches(key, known, 1)
                raise value.error(
                    f"unknown key `{key}`", f"did you mean `{near[0]}`?" if near else f"use {', '.join(known)}"
                )

    def entry(self, key: str, *, required: bool = False) -> _Node:
        found = self._map().get(key)
        if found is None:
            if required:
                raise self.error(f"`{key}` is missing", f"add `{key}: …`")
            return _Node(None, self._where)
        return found

    def items(self) -> list[_Node]:
        if not isinstance(self._node, yaml.SequenceNode):
            raise self.error("a list is expected here", "begin each rule with `- name: …`")
        return [_Node(item, self._where) for item in self._node.value]

    @property
    def given(self) -> bool:
        return self._node is not None

    def text(self) -> str:
        if not isinstance(self._node, yaml.ScalarNode) or not str(self._node.value).strip():
            raise self.error("a text is expected here", "write one word or a quoted text")
        return str(self._node.value).strip()

    def choice(self, known: tuple[str, ...], what: str) -> str:
        value = self.text()
        if value not in known:
            near = difflib.get_close_matches(value, known, 1)
            raise self.error(
                f"unknown {what} `{value}`", f"did you mean `{near[0]}`?" if near else f"use {', '.join(known)}"
            )
        return value

    def number(self, low: float, high: float) -> float:
        try:
            value = float(self.text())
        except ValueError as error:
            raise self.error(f"`{self.text()}` is not a number", f"write a number from {low:g} to {high:g}") from error
        if not low <= value <= high:
            raise self.error(f"{value:g} is out of range", f"write a number from {low:g} to {high:g}")
        return value

    def duration(self) -> int:
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|min|m)", self.text())
        if not match:
            raise self.error(f"`{self.text()}` is not a duration", "write 500ms, 10s or 2m")
        return round(float(match[1]) * _UNITS[match[2]])


def _rule(node: _Node) -> Rule:
    node.only(("name", "when", "role", "for", "within", "release", "cooldown", "severity"))
    name, when = node.entry("name", required=True).text(), node.entry("when", required=True)
    kind, subject, compare, threshold = _condition(when)
    role = _role(node.entry("role"), kind)
    release = node.entry("release")
    highest = 3_600_000.0 if kind == "metric" else 2.0
    opposite = _default_release(compare, threshold)
    for field, allowed in (
        ("for", compare in ("above", "below")),
        ("within", compare == "falls_by" or subject == "interruptions"),
    ):
        if node.entry(field).given and not allowed:
            raise node.entry(field).error(f"`{field}` does not fit {subject} {compare}", f"leave out `{field}`")
    return Rule(
        name=name,
        kind=kind,
        subject=subject,
        compare=compare,
        threshold=threshold,
        release=release.number(-highest, highest) if release.given else opposite,
        role=role,
        for_ms=node.entry("for").duration() if node.entry("for").given else 0,
        within_ms=node.entry("within").duration() if node.entry("within").given else 60_000,
        cooldown_ms=node.entry("cooldown").duration() if node.entry("cooldown").given else 60_000,
        severity=node.entry("severity").choice(SEVERITIES, "severity") if node.entry("severity").given else "warning",
    )


def _condition(when: _Node) -> tuple[Any, str, Any, float]:
    keys = when.keys()
    kinds = [key for key in keys if key in ("label", "measure", "metric")]
    if len(kinds) != 1:
        raise when.error("a condition is about one thing", "write one of label, measure or metric")
    kind = kinds[0]
    subject = when.entry(kind).choice(
        {"label": (*LABELS, "contempt"), "measure": MEASURES, "metric": METRICS}[kind], kind
    )
    allowed = {"label": ("above",), "measure": ("above", "below", "falls_by"), "metric": ("at_least",)}[kind]
    when.only((kind, *allowed))
    compares = [key for key in keys if key in allowed]
    if len(compares) != 1:
        raise when.error(f"a condition on a {kind} needs a comparison", f"write one of {', '.join(allowed)}")
    value = when.entry(compares[0])
    if subject == "silence":
        return kind, subject, compares[0], float(value.duration())
    low, high = {"label": (0.0, 1.0), "measure": (-1.0, 1.0), "metric": (1.0, 1000.0)}[kind]
    return (
        kind,
        subject,
        compares[0],
        value.number(0.0 if compares[0] == "falls_by" else low, 2.0 if compares[0] == "falls_by" else high),
    )


def _role(node: _Node, kind: str) -> str | None:
    if not node.given:
        return None
    role = normal_role(node.text())
    if role not in ROLES:
        near = difflib.get_close_matches(role, ROLES, 1)
        raise node.error(f"unknown role `{role}`", f"did you mean `{near[0]}`?" if near else f"use {', '.join(ROLES)}")
    if kind != "metric" and role in _PROTECTED:
        raise node.error(
            f"no alert can be about the emotion of role `{role}`", "leave the rule out, or make it about a metric"
        )
    return role


def _default_release(compare: str, threshold: float) -> float:
    """Without a stated hysteresis an alert closes a tenth below (or above) where it opened."""
    return {"above": threshold - 0.1, "below": threshold + 0.1, "falls_by": threshold / 2, "at_least": threshold}[
        compare
    ]


def _seconds(ms: int) -> str:
    return f"{ms / 1000:g} s"
