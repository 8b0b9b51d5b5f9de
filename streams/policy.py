"""Who is analysed for what: the one place that decides, before any emotion inference runs.

Defaults: an employee is transcribed and measured, never emotion-analysed; customers, the public and participants are
analysed. On live ingest a channel without a role is `unknown` and treated like an employee, and nobody is
emotion-analysed unless the session says that notice was given. A policy file (TOML) changes this:

    observables_only = false          # true: action units, pitch, loudness, speed, and no emotion label for anybody
    redact = ["card"]                 # replaced in transcripts: card, iban, phone, email, digits (any run of four or more)

    [roles.customer]
    emotion = true                    # transcribe, measure, emotion, observables_only

    [exception]                       # the only way to lift the rule for employees
    kind = "safety"                   # medical or safety
    roles = ["employee"]
    justification = "..."
    operator = "name of the person who answers for it"

Lifting the rule is written to an append-only audit log and stamped on each event.
"""

from __future__ import annotations

import datetime
import difflib
import json
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from extractors.errors import InputError
from fusion.redact import KINDS
from streams.records import Decision, Notice, Participant

ROLES = ("customer", "public", "participant", "employee", "unknown")
ROLE_ALIASES = {
    "agent": "employee",
    "operator": "employee",
    "staff": "employee",
    "caller": "customer",
    "client": "customer",
}
UNJOINED_FACES = "face-*"
"""Key of the decision for faces on a shared picture that belong to no declared participant."""

EMPLOYEE_REASON = "employees are not emotion-analysed"
UNKNOWN_REASON = "role unknown: treated like an employee"
NOTICE_REASON = "notice to the exposed persons was not stated"


class RoleRule(Struct, frozen=True, forbid_unknown_fields=True):
    """What one role is analysed for."""

    transcribe: bool = True
    measure: bool = True
    emotion: bool = True
    observables_only: bool = False


class ExceptionGrant(Struct, frozen=True, forbid_unknown_fields=True):
    """Permission to analyse the emotion of protected roles, for a medical or a safety reason."""

    kind: Literal["medical", "safety"]
    roles: tuple[str, ...]
    justification: str
    operator: str


_DEFAULT_ROLES = {role: RoleRule(emotion=role not in ("employee", "unknown")) for role in ROLES}


class Policy(Struct, frozen=True, forbid_unknown_fields=True):
    """The declared policy: rules per role over the defaults. `redact`: kinds of `fusion.redact.KINDS` that no transcript keeps."""

    roles: dict[str, RoleRule] = {}
    observables_only: bool = False
    redact: tuple[str, ...] = ("card",)
    exception: ExceptionGrant | None = None

    def rule(self, role: str) -> RoleRule:
        """The rule for a role; a role nobody declared is `unknown`."""
        return self.roles.get(role) or _DEFAULT_ROLES.get(role) or _DEFAULT_ROLES["unknown"]


def normal_role(role: str | None, *, live: bool = False) -> str:
    """The product's name of a role: ``agent`` is an employee; no role is `participant` in a replay, `unknown` live."""
    if not role:
        return "unknown" if live else "participant"
    name = role.strip().lower()
    return ROLE_ALIASES.get(name, name)


def load(path: Path | None) -> Policy:
    """Read and check a policy file; None gives the defaults. Raises `InputError` naming what, where and the cure."""
    if path is None:
        return Policy()
    try:
        policy = msgspec.convert(tomllib.loads(path.read_text("utf-8")), Policy)
    except OSError as error:
        raise InputError(
            "policy file cannot be read", where=f"{path}: {error.strerror}", cure="check the path"
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise InputError(
            "policy file is not TOML", where=f"{path}: {error}", cure="see `affectstream policy --help`"
        ) from error
    except msgspec.ValidationError as error:
        raise InputError(
            "policy file has a wrong entry", where=f"{path}: {error}", cure=_nearest_key(str(error))
        ) from error
    return _checked(policy, path)


def _nearest_key(message: str) -> str:
    unknown = message.split("`")[1] if "unknown field" in message and message.count("`") >= 2 else ""
    known = [*RoleRule.__struct_fields__, *Policy.__struct_fields__, *ExceptionGrant.__struct_fields__]
    near = difflib.get_close_matches(unknown, known, 1)
    return f"did you mean `{near[0]}`?" if near else "see `affectstream policy --help`"


def _checked(policy: Policy, path: Path) -> Policy:
    for role in policy.roles:
        if role not in ROLES:
            near = difflib.get_close_matches(role, [*ROLES, *ROLE_ALIASES], 1)
            raise InputError(
                f"unknown role `{role}`",
                where=str(path),
                cure=f"did you mean `{ROLE_ALIASES.get(near[0], near[0])}`?"
                if near
                else f"use one of {', '.join(ROLES)}",
            )
    for kind in policy.redact:
        if kind not in KINDS:
            near = difflib.get_close_matches(kind, KINDS, 1)
            cure = f"did you mean `{near[0]}`?" if near else f"use some of {', '.join(KINDS)}"
            raise InputError(f"nothing is called `{kind}` that could be redacted", where=str(path), cure=cure)
    granted = policy.exception.roles if policy.exception else ()
    for role in ("employee", "unknown"):
        if policy.rule(role).emotion and role not in granted:
            raise InputError(
                f"emotion analysis of role `{role}` needs an exception",
                where=str(path),
                cure='add [exception] with kind = "medical" or "safety", roles, justification and operator',
            )
    if policy.exception and not (policy.exception.justification.strip() and policy.exception.operator.strip()):
        raise InputError("an exception needs a justification and an operator", where=str(path), cure="fill both")
    return policy


def decide(
    participants: Iterable[Participant],
    policy: Policy | None = None,
    *,
    notice: Notice | None = None,
    live: bool = False,
) -> dict[str, Decision]:
    """Decision per participant id, and under `UNJOINED_FACES` the one for faces that belong to nobody declared.

    A face of unknown owner is analysed only where every participant of the session may be: it could be the employee's.
    """
    rules = policy or Policy()
    people = list(participants)
    decisions = {person.id: _decision(normal_role(person.role, live=live), rules, notice, live) for person in people}
    forbidden = next((d for d in decisions.values() if not d.emotion and not d.observables_only), None)
    faces = _decision("participant", rules, notice, live)
    if forbidden:
        faces = Decision(
            transcribe=False,
            measure=False,
            emotion=False,
            reason=f"a face that may be a protected person's: {forbidden.reason}",
        )
    return {**decisions, UNJOINED_FACES: faces}


def _decision(role: str, policy: Policy, notice: Notice | None, live: bool) -> Decision:
    rule = policy.rule(role)
    grant = policy.exception if policy.exception and role in policy.exception.roles and rule.emotion else None
    exception = f"{grant.kind}: {grant.justification} ({grant.operator})" if grant else None
    emotion, reason = rule.emotion, f"role {role}: analysed"
    if not rule.emotion:
        reason = {"employee": EMPLOYEE_REASON, "unknown": UNKNOWN_REASON}.get(
            role, f"policy: role {role} is not emotion-analysed"
        )
    elif live and not (notice and notice.given):
        emotion, reason = False, NOTICE_REASON
    observables = (policy.observables_only or rule.observables_only) and emotion
    if observables:
        emotion, reason = False, "observables only: measurements without emotion labels"
    return Decision(rule.transcribe, rule.measure, emotion, reason, observables, exception, policy.redact)


def audit(log: Path, policy: Policy, session: str) -> None:
    """Append the use of an exception to the audit log (JSON Lines; the only wall-clock entry of a replay)."""
    if policy.exception is None:
        return
    entry = {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "session": session,
        **msgspec.to_builtins(policy.exception),
    }
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(entry, ensure_ascii=False) + "\n")
