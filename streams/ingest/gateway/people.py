"""Names and roles of the people on a call whose protocol knows only channels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from streams.policy import ROLES, normal_role
from streams.records import Notice, Participant

# The languages that the transcriber knows (ISO 639-1, and 639-2 where there is no shorter one).
LANGUAGES = frozenset(
    """af am ar as az ba be bg bn bo br bs ca cs cy da de el en es et eu fa fi fo fr gl gu ha haw he hi hr ht hu hy id is it
    ja jw ka kk km kn ko la lb ln lo lt lv mg mi mk ml mn mr ms mt my ne nl nn no oc pa pl ps pt ro ru sa sd si sk sl sn so
    sq sr su sv sw ta te tg th tk tl tr tt uk ur uz vi yi yo yue zh""".split()
)


def language_of(text: object) -> str | None:
    """``en`` of ``en-US``; None for what is no language that can be transcribed, so that it is found by listening."""
    code = text.replace("_", "-").partition("-")[0].strip().lower() if isinstance(text, str) else ""
    return code if code in LANGUAGES else None


def audio_name(index: int) -> str:
    return f"audio/{index}"


def video_name(index: int) -> str:
    return f"video/{index}"


def people(channels: Iterable[str], roles: Mapping[str, str]) -> tuple[Participant, ...]:
    """A participant per channel, named as the vendor names it. A role that is missing or not known is `unknown`: nobody is
    analysed because of a spelling mistake."""
    return tuple(Participant(name, known_role(roles.get(name)), audio_name(i)) for i, name in enumerate(channels))


def known_role(text: object) -> str:
    role = normal_role(text if isinstance(text, str) else None, live=True)
    return role if role in ROLES else "unknown"


def notice_of(value: object) -> Notice | None:
    """The operator's statement in a vendor's metadata: an object with `given`, `method`, `time`, or one of the words
    ``given``, ``true``, ``yes``, ``1``. Anything else states nothing."""
    if isinstance(value, Mapping):
        return Notice(value.get("given") is True, str(value.get("method", ""))[:200], str(value.get("time", ""))[:64])
    if value is True or (isinstance(value, str) and value.strip().lower() in ("given", "true", "yes", "1")):
        return Notice(True, "stated by the operator's metadata")
    return None
