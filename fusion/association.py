"""Who is who: which face on a shared picture speaks with which voice.

Evidence of one utterance for one face: the correlation between the level of the voice and the motion of the mouth, both
per 100 ms and smoothed over 300 ms, over the utterance and up to one second of the speaker's silence before it. It
becomes a z-score, atanh(r)·sqrt(n − 3), with n the number of *independent* steps (Bartlett 1946: both series are
smooth, so neighbouring steps are no new evidence), divided by the spread that unrelated mouths and voices really show.

Over utterances the evidence is an e-value, E = exp(S²/2(k + 1)) / sqrt(k + 1) with S the sum of k z-scores (Robbins
1970): by chance it ever passes 1000 in at most one pair of a voice and a face in a thousand, *however often one looks*.
The score of a pair is log10 E.

A face is joined to a voice when its score reaches `ACCEPT`, stands `MARGIN` above every other face of the span, the
mouth moves in this very utterance, and no other voice has a better claim. A wrong join is worse than none: a face that
does not reach this stays a participant of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from msgspec import Struct

from fusion.events import Association

STEP_MS = 100
CONTEXT_MS = 1000
"""Silence of the speaker before the utterance that counts as evidence, at most."""
LONGEST_GAP_MS = 500
"""The mouth is interpolated between frames at most this far apart."""
SMOOTH_STEPS = 3
VOICE_RANGE_DB = 40.0
"""Level of the voice: 1 at the peak of the utterance, 0 from here below it on."""
CHANCE_SPREAD = 1.2
"""Standard deviation of the Fisher z of unrelated pairs: 1.04–1.27 for 16 pairings of three filmed people at 4 to 10
frames a second with the turns of a telephone call, 1.18 over ten channels of calls and five other faces."""
ACCEPT = 3.0
"""log10 of the e-value from which on a join holds."""
MARGIN = 1.0
"""A join must be ten times as well supported as that of any other face."""
MOVING = 0.1
"""Least mouth motion while the voice is on, in inner-lip gap / outer-eye distance per second."""
AGREEING = 0.8
"""Least z-score in the utterance itself, whatever earlier utterances said: off-screen voices happen."""
FEWEST_STEPS = 12
MOST_PAIRS = 64

Mouth = Sequence[tuple[int, float]]
"""(media_ms, mouth_open) of one track in order of time."""
Track = tuple[str, int]
"""(video source, track id)."""
_Series = np.ndarray[tuple[int], np.dtype[np.float64]]


class Score(Struct, frozen=True):
    """Evidence of one utterance: `z` standard deviations above chance, `motion` of the mouth while the voice is on."""

    z: float
    motion: float


def score(envelope_db: Sequence[float], start_ms: int, mouth: Mouth, *, silence_ms: int = CONTEXT_MS) -> Score | None:
    """Evidence that `mouth` speaks the utterance that starts at `start_ms` with level `envelope_db` per 100 ms.
    `silence_ms` of silence of the same speaker precede it. None where the face was not seen for long enough."""
    before = min(max(silence_ms, 0), CONTEXT_MS) // STEP_MS
    voice = np.concatenate([np.zeros(before), voice_level(envelope_db)])
    motion = mouth_motion(mouth, start_ms - before * STEP_MS, len(voice))
    seen = np.isfinite(motion)
    if seen.sum() < FEWEST_STEPS:
        return None
    speaking = seen & (voice >= 0.5)
    moved = float(motion[speaking].mean()) if speaking.any() else 0.0
    # Mouth motion has heavy tails: the root keeps one yawn from outweighing a sentence.
    x, y = _smooth(voice)[seen], _smooth(np.sqrt(np.where(seen, motion, 0.0)))[seen]
    return Score(round(z_score(x, y) / CHANCE_SPREAD, 4), round(moved, 4))


def voice_level(envelope_db: Sequence[float]) -> _Series:
    """Level in [0, 1] per step, relative to the peak of the utterance."""
    levels = np.asarray(envelope_db, dtype=np.float64)
    if not len(levels):
        return np.zeros(0)
    level: _Series = np.clip((levels - levels.max()) / VOICE_RANGE_DB + 1.0, 0.0, 1.0)
    return level


def mouth_motion(mouth: Mouth, start_ms: int, steps: int) -> _Series:
    """Absolute change of the mouth opening per second, per step; NaN where no frame is near."""
    if len(mouth) < 2 or not steps:
        return np.full(steps, np.nan)
    times = np.array([time for time, _ in mouth], dtype=np.float64)
    opening = np.array([value for _, value in mouth], dtype=np.float64)
    centres = start_ms + (np.arange(-1, steps) + 0.5) * STEP_MS
    place = np.interp(centres, times, opening)
    # Several frames in a step: their mean, so that the jitter of landmarks does not grow with the frame rate.
    index = np.floor((times - (start_ms - STEP_MS)) / STEP_MS).astype(int)
    inside = (index >= 0) & (index <= steps)
    counts = np.bincount(index[inside], minlength=steps + 1)
    sums = np.bincount(index[inside], weights=opening[inside], minlength=steps + 1)
    place = np.where(counts > 0, sums / np.maximum(counts, 1), place)
    after = np.searchsorted(times, centres).clip(1, len(times) - 1)
    covered = (
        (times[after] - times[after - 1] <= LONGEST_GAP_MS)
        & (centres >= times[0] - STEP_MS)
        & (centres <= times[-1] + STEP_MS)
    )
    place = np.where(covered | (counts > 0), place, np.nan)
    return np.abs(np.diff(place)) / (STEP_MS / 1000)


def z_score(x: _Series, y: _Series) -> float:
    """Fisher z of the correlation over the effective number of steps; 0 where a series is constant or too short."""
    x, y = x - x.mean(), y - y.mean()
    norm = math.sqrt(float(x @ x) * float(y @ y))
    if norm < 1e-12:
        return 0.0
    r = min(0.99, max(-0.99, float(x @ y) / norm))
    n = len(x)
    inflation = 1.0
    for lag in range(1, min(n // 3, 15)):
        common = float(x[lag:] @ x[:-lag]) / float(x @ x) * float(y[lag:] @ y[:-lag]) / float(y @ y)
        inflation += 2 * (1 - lag / n) * common
    effective = n / max(1.0, inflation)
    return math.atanh(r) * math.sqrt(effective - 3) if effective > 4 else 0.0


def _smooth(series: _Series) -> _Series:
    weights = np.convolve(np.ones(len(series)), np.ones(SMOOTH_STEPS), mode="same")
    return np.convolve(series, np.ones(SMOOTH_STEPS), mode="same") / weights


class Pair(Struct):
    """Running evidence of one voice and one face."""

    participant: str
    source: str
    track: int
    total: float = 0.0
    count: int = 0
    at_ms: int = 0

    @property
    def score(self) -> float:
        """log10 of the e-value that mouth and voice belong together; below 0 where they contradict each other."""
        gained = max(0.0, self.total) ** 2 / (2 * (self.count + 1))
        return round((gained - 0.5 * math.log(self.count + 1)) / math.log(10), 4)


class Joins(Struct):
    """Joins of a session: evidence of every pair and the joins that hold. Copying it is its snapshot.

    Bounded: of more than `MOST_PAIRS` pairs the one not heard of for longest is forgotten.
    """

    pairs: list[Pair] = []
    joined: list[tuple[str, int, str]] = []

    def owner(self, track: Track) -> str | None:
        """The participant whose face `track` is, None where no join holds."""
        return next((who for source, number, who in self.joined if (source, number) == track), None)

    def strength(self, participant: str, track: Track) -> float | None:
        """Score of a pair, None where there was no evidence yet."""
        pairs = (p for p in self.pairs if (p.participant, p.source, p.track) == (participant, *track))
        return next((pair.score for pair in pairs), None)

    def resolve(self, participant: str, scores: Mapping[Track, Score], at_ms: int) -> Association | None:
        """Take the evidence of one utterance in and say which face is joined to it.

        Gives the best face with `accepted` True or False; None where no face was seen for long enough.
        """
        if not scores:
            return None
        ranked = sorted(scores, key=lambda track: (-self._add(participant, track, scores[track].z, at_ms), track))
        best = ranked[0]
        claim = self._pair(participant, best).score
        others = [self._pair(participant, track).score for track in ranked[1:]]
        accepted = (
            claim >= ACCEPT
            and all(round(claim - other, 4) >= MARGIN for other in others)
            and scores[best].motion >= MOVING
            and scores[best].z >= AGREEING
            and self._best_claim(best) == participant
        )
        if accepted:
            self.joined = [entry for entry in self.joined if entry[:2] != best]
            self.joined.append((*best, participant))
        self._forget()
        return Association(best[1], best[0], "mouth_activity", claim, accepted)

    def _pair(self, participant: str, track: Track) -> Pair:
        for pair in self.pairs:
            if (pair.participant, pair.source, pair.track) == (participant, *track):
                return pair
        pair = Pair(participant, *track)
        self.pairs.append(pair)
        return pair

    def _add(self, participant: str, track: Track, z: float, at_ms: int) -> float:
        pair = self._pair(participant, track)
        pair.total, pair.count, pair.at_ms = pair.total + z, pair.count + 1, at_ms
        return pair.score

    def _best_claim(self, track: Track) -> str:
        claims = [pair for pair in self.pairs if (pair.source, pair.track) == track]
        return min(claims, key=lambda pair: (-pair.score, pair.participant)).participant

    def _forget(self) -> None:
        self.pairs = sorted(self.pairs, key=lambda p: (-p.at_ms, p.participant, p.source, p.track))[:MOST_PAIRS]
        known = {(pair.source, pair.track) for pair in self.pairs}
        self.joined = [entry for entry in self.joined if entry[:2] in known]
