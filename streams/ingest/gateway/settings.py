"""Everything a gateway can be told. Every default has its reason in the line beside it."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from streams.records import Notice


class CallDefaults(Struct, frozen=True, forbid_unknown_fields=True):
    """What an operator knows about the calls of one vendor, where the protocol itself does not say it.

    `roles`: channel name of the vendor -> role (customer, employee, public, participant). A channel not named is `unknown`.
    `notice`: that the exposed persons are informed before each of these calls. Without it no emotion is analysed.
    """

    roles: dict[str, str] = {}
    notice: Notice | None = None
    language: str | None = None


# Where the protocol itself says who they are.
_ROLES = {"audiohook": {"external": "customer", "internal": "employee"}}


class GatewaySettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Limits and secrets of a gateway. Times in seconds."""

    token: str | None = None  # shared secret of the own protocol and of FreeSWITCH; None: anybody who reaches the port
    allowed_origins: tuple[str, ...] = ()  # web pages of other hosts that may open a socket; our own page always may
    resume_key: str | None = None  # signs resume tokens; one key on all gateways lets a client move between them
    hello_s: float = 10.0  # from the connection to the first message: an honest client needs one round trip
    idle_s: float = 60.0  # without media (heartbeats do not count): longer than any silence that is not sent
    idle_in_pause_s: float = 3600.0  # a caller on hold is not gone
    join_s: float = 10.0  # how long the first AudioSocket connection of a call waits for the others that are registered
    resume_s: float = 30.0  # how long a dropped call waits for its client
    heartbeat_s: float = 15.0  # below the minute after which proxies drop silent connections
    ack_s: float = 0.1  # at most one acknowledgement per block of audio
    max_frame_bytes: int = 1 << 20  # the largest sensible picture; also 30 s of 16 kHz PCM
    max_sessions: int = 2000  # bounds memory: a session holds up to queue_records records
    queue_records: int = 256  # per session: 25 s of one channel, enough for a pause of the broker
    video_patience_s: float = 1.0  # how long a picture waits for a full queue before video is dropped
    max_gap_s: float = 600.0  # a longer step in media time is a clock that was set, not a gap
    public_url: str | None = None  # as callers see us, where a proxy stands between (signatures cover it)
    twilio_auth_token: str | None = None  # checks X-Twilio-Signature
    audiohook_keys: dict[str, str] = {}  # X-API-KEY -> client secret (base64, empty: the key alone is checked)
    audit_log: str = "policy-audit.jsonl"  # where each use of a policy exception is written
    vendors: dict[Literal["audiohook", "twilio", "freeswitch", "audiosocket"], CallDefaults] = {}

    def defaults(self, vendor: Literal["audiohook", "twilio", "freeswitch", "audiosocket"]) -> CallDefaults:
        """What is known about the calls of a vendor: its protocol's own roles, and over them what the operator says."""
        stated = self.vendors.get(vendor) or CallDefaults()
        return CallDefaults(_ROLES.get(vendor, {}) | stated.roles, stated.notice, stated.language)
