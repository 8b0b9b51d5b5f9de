"""HTTP message signatures of AudioHook connections (RFC 9421, algorithm hmac-sha256)."""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Mapping

REQUIRED = ("@request-target", "audiohook-organization-id", "audiohook-session-id", "audiohook-correlation-id", "x-api-key")
HOST = ("@authority", "host")
"""One of these must be covered as well; older senders use the header."""
MAX_AGE_S = 10
MIN_NONCE = 22
_INPUT = re.compile(r'\s*([a-z*][a-z0-9_.*-]*)=(\(([^)]*)\)((?:;[a-z]+=(?:"[^"]*"|\d+))*))\s*')
_PARAMETER = re.compile(r';([a-z]+)=(?:"([^"]*)"|(\d+))')


def signature_base(components: list[str], values: Mapping[str, str], parameters: str) -> str:
    """The text that is signed: a line per component, and the signature's own parameters last."""
    lines = [f'"{name}": {values[name]}' for name in components]
    return "\n".join([*lines, f'"@signature-params": {parameters}'])


def problem(headers: Mapping[str, str], *, target: str, authority: str, keys: Mapping[str, str], now: float) -> str | None:
    """What is wrong with the upgrade request, or None where it is signed by a known key.

    `headers` by lower-case name; `target` is path and query, `authority` the host as the caller sees it; `keys` maps an API
    key to its client secret in base64 (empty: the key alone is checked); `now` in Unix seconds.
    """
    key = headers.get("x-api-key", "")
    if key not in keys:
        return "the API key is not known"
    if not keys[key]:
        return None
    match = _INPUT.fullmatch(headers.get("signature-input", ""))
    if match is None:
        return "there is no signature"
    label, parameters, inner, tail = match[1], match[2], match[3], match[4]
    components = re.findall(r'"([^"]*)"', inner)
    given = {name: text or number for name, text, number in _PARAMETER.findall(tail)}
    values = {**headers, "@request-target": target, **dict.fromkeys(HOST, authority.lower())}
    missing = next((name for name in REQUIRED if name not in components or name not in values), None)
    if missing or not set(HOST) & set(components):
        return f"the signature does not cover {missing or 'the host'}"
    if any(name not in values for name in components):
        return "the signature covers a header that is not there"
    if given.get("keyid") != key or given.get("alg", "hmac-sha256") != "hmac-sha256" or len(given.get("nonce", "")) < MIN_NONCE:
        return "the signature has another key, another algorithm or no nonce"
    created, expires = int(given.get("created") or 0), int(given.get("expires") or now + 1)
    if not now - MAX_AGE_S <= created <= now + MAX_AGE_S or expires < now:
        return "the signature is too old"
    sent = re.fullmatch(rf"\s*{re.escape(label)}=:([A-Za-z0-9+/=]*):\s*", headers.get("signature", ""))
    try:
        secret = base64.b64decode(keys[key], validate=True)
        signature = base64.b64decode(sent[1], validate=True) if sent else b""
    except binascii.Error:
        return "the signature is not base64"
    expected = hmac.digest(secret, signature_base(components, values, parameters).encode(), "sha256")
    return None if hmac.compare_digest(expected, signature) else "the signature is wrong"
