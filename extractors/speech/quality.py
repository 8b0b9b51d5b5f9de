"""How far the audio of an utterance can be trusted, from the signal alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from extractors.cues import AudioQuality
from extractors.speech.loudness import FLOOR_DB, frame_levels
from extractors.speech.resample import as_float32

Floats = NDArray[np.float32]

RATE = 16_000
_FRAME = 320  # 20 ms
_CLIPPED = 32_600 / 32_768
_BAND_HZ = 125
_EDGE_DB = 25.0


def assess(pcm: NDArray[Any], speech_ratio: float | None = None) -> AudioQuality:
    """Quality of one utterance: int16, or float32 in [-1, 1], mono at 16 kHz, with padding or pauses around the words.

    `speech_ratio` is the share of it that voice activity took for speech. The score starts at 1 and is multiplied down
    for each reason: ``noise`` (SNR below 20 dB), ``clipping``, ``telephone_band`` (nothing above 4.5 kHz), ``short``
    (below 1 s), ``quiet`` (speech below -50 dBFS), ``little_speech`` (below a third); ``silent`` is 0.

    The SNR compares the mean power of frames above the median of the utterance's frames with its 5th percentile: an
    estimate that needs some frames without speech, and is None where there are fewer than 10 frames.
    """
    audio = as_float32(pcm)
    levels = frame_levels(audio, _FRAME, _FRAME // 2)
    if len(levels) == 0 or levels.max() <= FLOOR_DB + 6:
        return AudioQuality(0.0, reasons=("silent",))
    snr = snr_db(levels)
    clipped = clipping_ratio(audio)
    bandwidth = bandwidth_hz(audio)
    seconds, speech_level = len(audio) / RATE, float(np.percentile(levels, 90))
    factors = {
        "noise": _ramp(snr, 0.0, 20.0, 0.2) if snr is not None else 1.0,
        "clipping": _ramp(-clipped, -0.02, -0.0005, 0.4),
        "telephone_band": 0.9 if bandwidth is not None and bandwidth <= 4_500 else 1.0,
        "short": _ramp(seconds, 0.2, 1.0, 0.4),
        "quiet": _ramp(speech_level, -65.0, -50.0, 0.5),
        "little_speech": _ramp(speech_ratio, 0.0, 0.33, 0.3) if speech_ratio is not None else 1.0,
    }
    return AudioQuality(
        score=round(float(np.prod(list(factors.values()))), 4),
        snr_db=None if snr is None else round(snr, 1),
        clipping_ratio=round(clipped, 5),
        bandwidth_hz=bandwidth,
        reasons=tuple(name for name, factor in factors.items() if factor < 1.0),
    )


def snr_db(levels: NDArray[np.float64]) -> float | None:
    """Speech over noise in dB, from frame levels in dBFS; limited to 60."""
    if len(levels) < 10:
        return None
    power = 10 ** (levels / 10)
    noise = 10 ** (float(np.percentile(levels, 5)) / 10)
    loud = float(np.mean(power[levels >= np.median(levels)]))
    return min(60.0, max(-5.0, 10 * float(np.log10(max(loud - noise, 0.3 * noise) / noise))))


def clipping_ratio(audio: Floats) -> float:
    """Share of samples in flat tops: at least three equal neighbours within 0.5 % of full scale or of the loudest sample.

    A converter or a codec may have clipped below full scale; a loudest value that is held is a flat top all the same.
    """
    peak = float(np.abs(audio).max()) if len(audio) else 0.0
    if peak < 0.1 or len(audio) < 3:
        return 0.0
    top = np.abs(audio) >= min(_CLIPPED, 0.995 * peak)
    held = top[:-2] & top[1:-1] & top[2:] & (np.sign(audio[:-2]) == np.sign(audio[2:]))
    flat = np.zeros(len(audio), np.bool_)
    for shift in range(3):
        flat[shift : len(audio) - 2 + shift] |= held
    return float(flat.mean())


def bandwidth_hz(audio: Floats) -> int | None:
    """Upper edge of the band that carries the audio, in steps of 125 Hz up to 8,000; None below 0.2 s.

    The edge is where the long-term spectrum last falls by 25 dB within 500 Hz: a channel's cut-off, not a voice's own slope.
    """
    size = 1024
    if len(audio) < RATE // 5:
        return None
    starts = np.arange(0, len(audio) - size + 1, size // 2)
    frames = audio[starts[:, None] + np.arange(size)].astype(np.float64) * np.hanning(size)
    power = (np.abs(np.fft.rfft(frames, axis=1)) ** 2).mean(axis=0)
    bins = _BAND_HZ * size // RATE
    bands = 10 * np.log10(power[: size // 2].reshape(-1, bins).mean(axis=1) + 1e-9)
    drop = bands[:-4] - bands[4:]
    candidates = np.flatnonzero((drop >= _EDGE_DB) & (np.arange(len(drop)) * _BAND_HZ >= 1_500))
    if len(candidates) == 0:
        return RATE // 2
    # The middle of the fall, from the first band of the last such drop's run.
    steepest = candidates[int(np.argmax(drop[candidates]))]
    return int((steepest + 2) * _BAND_HZ)


def _ramp(value: float | None, low: float, high: float, least: float) -> float:
    """1 at `high` and above, `least` at `low` and below, straight between."""
    if value is None:
        return 1.0
    return round(least + (1 - least) * min(max((value - low) / (high - low), 0.0), 1.0), 4)
