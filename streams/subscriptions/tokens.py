"""Access: one shared secret, or tokens signed with it that expire and may be bound to one session."""

from __future__ import annotations

import hashlib
import hmac
import math
import time

from extractors.errors import InputError


def sign(secret: str, *, valid_s: int, session: str = "*", now: float | None = None) -> str:
    """A token ``EXPIRY.SESSION.SIGNATURE`` (session in hex, ``*`` for all), valid for `valid_s` seconds."""
    expiry = int((time.time() if now is None else now) + valid_s)
    body = f"{expiry}.{session.encode().hex()}"
    return f"{body}.{_signature(secret, body)}"


def check(secret: str | None, given: str | None, *, now: float | None = None) -> str:
    """The session the bearer may see, ``*`` for all. Raises `InputError` with the reason; compares in constant time."""
    if secret is None:
        return "*"
    if not given:
        raise InputError("a token is needed", where="authorization", cure="send `Authorization: Bearer TOKEN` or ?token=")
    if hmac.compare_digest(secret.encode(), given.encode()):
        return "*"
    expiry, _, rest = given.partition(".")
    session, _, signature = rest.partition(".")
    genuine = hmac.compare_digest(_signature(secret, f"{expiry}.{session}").encode(), signature.encode())
    if not genuine or not (expiry.isascii() and expiry.isdecimal()):
        raise InputError("the token is not valid here", where="authorization", cure="ask the operator for a new one")
    if int(expiry) <= (time.time() if now is None else now):
        raise expired(int(expiry))
    return bytes.fromhex(session).decode()


def expires(secret: str | None, given: str | None) -> float:
    """When a token that `check` has accepted ends, in seconds since 1970; infinity where it does not end."""
    if secret is None or given is None or hmac.compare_digest(secret.encode(), given.encode()):
        return math.inf
    return float(given.partition(".")[0])


def expired(moment_s: float) -> InputError:
    """What the bearer of a token that ended then is told."""
    moment = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(moment_s))
    return InputError(f"the token expired at {moment}", where="authorization", cure="ask the operator for a new one")


def _signature(secret: str, body: str) -> str:
    return hmac.new(secret.encode(), body.encode(), hashlib.sha256).hexdigest()
