"""Participants for tests: what policy may say about them."""

from __future__ import annotations

from msgspec import Struct

from fusion.compose import Subject


class Allowed(Struct, frozen=True):
    """A policy decision as the composer sees it."""

    transcribe: bool = True
    measure: bool = True
    emotion: bool = True
    observables_only: bool = False
    reason: str = "role customer: analysed"
    exception: str | None = None
    redact: tuple[str, ...] = ()


ANALYSED = Allowed()
EMPLOYEE = Allowed(emotion=False, reason="employees are not emotion-analysed")
OBSERVED = Allowed(emotion=False, observables_only=True, reason="observables only")


def subject(allowed: Allowed, participant: str = "customer", role: str = "customer") -> Subject:
    return Subject("call-1", participant, role, allowed)
