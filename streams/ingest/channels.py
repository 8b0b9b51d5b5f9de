"""Which channels of a recording are which participants.

Declared: ``left=customer,right=agent`` (also ``0=…``, ``1=…`` up to the last channel, ``mix=…`` for all channels as one
person, ``video=…`` for the person whom the picture shows). ``left=anna:customer`` names the participant as well;
otherwise the role is the name.

Not declared, the channels of a stereo recording are compared over the first 30 s that are not silent:

- `same`: the difference lies 30 dB or more below the channels: mono marked stereo, one source, one participant.
- `separate`: the channels hardly correlate (largest normalised cross-correlation within 20 ms below 0.3) and in most
  active stretches of 20 ms one is 10 dB above the other, as in a telephone call: two sources, `left` and `right`.
- `mixed`: everything else (a room, music, silence) and every recording of more than two channels: mixed down to one
  source.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Literal

import numpy as np
from msgspec import Struct

from extractors.errors import InputError
from streams.policy import ROLE_ALIASES, ROLES, normal_role
from streams.records import Participant

StereoKind = Literal["same", "separate", "mixed"]

COMPARED_SECONDS = 30
SILENCE_DBFS = -60.0
SAME_DB = -30.0
CORRELATION_LIMIT = 0.3
CORRELATION_LAG_S = 0.02
ONE_SIDED_DB = 10.0
ONE_SIDED_LIMIT = 0.5
FULL_SCALE = 32768.0
VIDEO_SOURCE = "video/0"
_NAMED = {"left": 0, "right": 1}


class AudioSource(Struct, frozen=True):
    """One source to read: `channel` of the track, or None for the mix of all."""

    name: str
    channel: int | None


class ChannelPlan(Struct, frozen=True):
    """What is read from a recording and who speaks there; `reason` says why in one sentence. `assumed_same`: one
    channel stands for two because they are equal at the beginning."""

    sources: tuple[AudioSource, ...]
    participants: tuple[Participant, ...]
    reason: str
    assumed_same: bool = False


class StereoComparison:
    """Compares two channels block by block; memory stays flat. Feed s16 arrays (2, n) of one rate."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._block = rate
        self._lag = max(1, int(rate * CORRELATION_LAG_S))
        self._pending = np.zeros((2, 0), np.int16)
        self._energy = np.zeros(3)  # left, right, difference
        self._cross = np.zeros(2 * self._lag + 1)
        self._active = self._one_sided = 0
        self.seconds = 0.0
        """Seconds compared so far, silence not counted."""

    def feed(self, pcm: np.ndarray) -> None:
        self._pending = np.concatenate([self._pending, pcm], axis=1)
        while self._pending.shape[1] >= self._block:
            self._add(self._pending[:, : self._block])
            self._pending = self._pending[:, self._block :]

    def finish(self) -> StereoKind:
        """The verdict over everything fed."""
        if self._pending.shape[1]:
            self._add(self._pending)
            self._pending = self._pending[:, :0]
        left, right, difference = self._energy
        if not left + right:
            return "mixed"
        if difference <= (left + right) / 2 * 10 ** (SAME_DB / 10):
            return "same"
        correlation = float(np.abs(self._cross).max() / np.sqrt(left * right)) if left * right else 0.0
        one_sided = self._one_sided / self._active if self._active else 0.0
        return "separate" if correlation < CORRELATION_LIMIT and one_sided >= ONE_SIDED_LIMIT else "mixed"

    def _add(self, pcm: np.ndarray) -> None:
        block = pcm.astype(np.float64) / FULL_SCALE
        power = (block**2).mean(axis=1)
        if power.max() < 10 ** (SILENCE_DBFS / 10):
            return
        length = block.shape[1]
        self.seconds += length / self._rate
        self._energy += [*(power * length), float(((block[0] - block[1]) ** 2).sum())]
        size = 1 << (length + self._lag).bit_length()
        spectrum = np.fft.rfft(block, size)
        cross = np.fft.irfft(spectrum[0] * np.conj(spectrum[1]), size)
        self._cross += np.concatenate([cross[-self._lag :], cross[: self._lag + 1]])
        window = max(1, self._rate // 50)
        levels = (block[:, : length // window * window].reshape(2, -1, window) ** 2).mean(axis=2)
        loud, quiet = levels.max(axis=0), levels.min(axis=0)
        active = loud > 10 ** ((SILENCE_DBFS + 10) / 10)
        self._active += int(active.sum())
        self._one_sided += int((active & (loud > quiet * 10 ** (ONE_SIDED_DB / 10))).sum())


def parse(spec: str | Mapping[str, str] | None) -> dict[str, tuple[str, str]]:
    """Channel declaration as place -> (participant name, role). Raises `InputError` with the nearest known word.

    Places are ``left``, ``right``, a channel number, ``mix`` and ``video``.
    """
    if not spec:
        return {}
    pairs = spec.items() if isinstance(spec, Mapping) else [tuple(part.partition("=")[::2]) for part in spec.split(",")]
    declared: dict[str, tuple[str, str]] = {}
    for place, value in ((place.strip().lower(), value.strip()) for place, value in pairs):
        if place not in ("left", "right", "mix", "video") and not place.isdecimal():
            cure = "use left, right, a number, mix or video, as in left=customer,right=agent"
            raise InputError(f"unknown channel `{place}`", where="--channels", cure=cure)
        name, colon, role = value.partition(":")
        role = (role if colon else name).strip().lower()
        if normal_role(role) not in ROLES or not role:
            near = difflib.get_close_matches(role, [*ROLES, *ROLE_ALIASES], 1)
            cure = f"did you mean `{near[0]}`?" if near else f"use one of {', '.join(ROLES)}, or NAME:ROLE"
            raise InputError(f"unknown role `{role}` of channel {place}", where="--channels", cure=cure)
        key = str(_NAMED[place]) if place in _NAMED else place
        if key in declared:
            raise InputError(f"channel {place} is declared twice", where="--channels", cure="declare it once")
        declared[key] = (name.strip() or role, role)
    return declared


def plan(
    channels: int,
    stereo: StereoKind | None,
    has_video: bool,
    spec: str | Mapping[str, str] | None = None,
    *,
    where: str = "",
) -> ChannelPlan:
    """Sources and participants of a recording of `channels` audio channels (0: none).

    Raises `InputError` when the declaration does not fit the recording (`where` names it).
    """
    declared = parse(spec)
    seen = declared.pop("video", None)
    if seen and not has_video:
        raise InputError("a participant is declared for a missing picture", where=where, cure="leave out video=…")
    _check_fit(declared, channels, where)
    if "mix" in declared or not declared:
        sources, names, reason = _undeclared(channels, stereo)
        if "mix" in declared:
            sources, names, reason = (AudioSource("audio/0", None),), (declared["mix"][0],), "channels as declared"
        roles = tuple(declared[key][1] for key in declared) or ("participant",) * len(names)
    else:
        order = sorted(declared, key=int)
        sources = tuple(AudioSource(f"audio/{key}", int(key)) for key in order)
        names, roles = tuple(declared[key][0] for key in order), tuple(declared[key][1] for key in order)
        reason = "channels as declared"
    people = [(name, role, source.name) for name, role, source in zip(names, roles, sources, strict=True)]
    assumed_same = not declared and channels == 2 and stereo == "same"
    return ChannelPlan(sources, _participants(people, seen), reason, assumed_same)


def _check_fit(declared: dict[str, tuple[str, str]], channels: int, where: str) -> None:
    if not declared:
        return
    if not channels:
        raise InputError("channels are declared, but there is no audio track", where=where, cure="leave out --channels")
    if "mix" in declared and len(declared) > 1:
        cure = "declare mix alone or each channel"
        raise InputError("mix cannot stand beside single channels", where="--channels", cure=cure)
    beyond = [key for key in declared if key != "mix" and int(key) >= channels]
    if beyond:
        count = "one channel" if channels == 1 else f"{channels} channels"
        name = {"0": "left", "1": "right"}.get(beyond[0], beyond[0])
        cure = "leave out --channels or use mix=ROLE" if channels == 1 else f"declare channels 0 to {channels - 1}"
        raise InputError(f"channel {name} is declared, but the recording has {count}", where=where, cure=cure)


def _undeclared(channels: int, stereo: StereoKind | None) -> tuple[tuple[AudioSource, ...], tuple[str, ...], str]:
    if channels == 0:
        return (), (), "no audio"
    if channels == 2 and stereo == "separate":
        both = (AudioSource("audio/0", 0), AudioSource("audio/1", 1))
        return both, ("left", "right"), "stereo with two different channels: one participant each"
    if channels == 1:
        return (AudioSource("audio/0", 0),), ("speaker",), "mono: one participant"
    if channels == 2 and stereo == "same":
        return (AudioSource("audio/0", 0),), ("speaker",), "both channels are the same: taken as mono"
    return (AudioSource("audio/0", None),), ("speaker",), f"{channels} channels that belong together: mixed to one"


def _participants(people: list[tuple[str, str, str]], seen: tuple[str, str] | None) -> tuple[Participant, ...]:
    """A name given twice gets a number; the person of the picture is the one of that name, or one more."""
    taken: dict[str, Participant] = {}
    for name, role, source in people:
        taken_name, number = name, 2
        while taken_name in taken:
            taken_name, number = f"{name}-{number}", number + 1
        taken[taken_name] = Participant(taken_name, normal_role(role), channel=source)
    if seen:
        name, role = seen
        known = taken.get(name)
        taken[name] = Participant(name, normal_role(role), channel=known.channel if known else None, video=VIDEO_SOURCE)
    return tuple(taken.values())
