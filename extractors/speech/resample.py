"""Sample-rate conversion of a stream, with the same output however the input was cut into chunks.

Windowed-sinc interpolation (Smith and Gossett 1984) in its polyphase form: with in:out reduced to M:L, output sample n
lies at input position n*M/L, whose whole part says which input samples to take and whose remainder k/L says which of
the L filter phases to weigh them with. All of it is integer arithmetic, so nothing drifts in hours of audio. The low
pass is a sinc, 90 % of the lower Nyquist frequency wide (-6 dB there), under a Kaiser window of beta 8.6 (stop band
below -85 dB): linear phase, centred on the output instant, so that output sample n is at time n / rate_out exactly.

Filter sums are matrix products over blocks that start at multiples of a fixed number of *output* samples: how a
library orders a floating-point sum depends on the shape of the operands, and that shape is then always the same.
"""

from __future__ import annotations

from functools import lru_cache
from math import ceil, gcd
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from extractors.errors import InputError

Floats = NDArray[np.float32]

LOWEST_RATE, HIGHEST_RATE = 4_000, 192_000
_ZERO_CROSSINGS = 24
_ROLLOFF = 0.9
_BETA = 8.6


@lru_cache(maxsize=16)
def _phases(up: int, down: int) -> tuple[Floats, int]:
    """Filter phases for a ratio of `up` output to `down` input samples: float32 (up, taps), and the half width.

    Row p interpolates at p/up of the way from one input sample to the next; tap j belongs to the sample at j - half + 1.
    """
    cutoff = _ROLLOFF * min(1.0, up / down)  # as a share of the input's Nyquist frequency
    half = ceil(_ZERO_CROSSINGS / cutoff)
    offset = np.arange(-half + 1, half + 1)[None, :] - (np.arange(up) / up)[:, None]
    window = np.i0(_BETA * np.sqrt(np.maximum(0.0, 1.0 - (offset / half) ** 2))) / np.i0(_BETA)
    taps = cutoff * np.sinc(cutoff * offset) * window
    taps /= taps.sum(axis=1, keepdims=True)  # a constant stays exactly that constant in every phase
    return taps.astype(np.float32), half


class StreamingResampler:
    """Turns a mono stream at `rate_in` Hz into one at `rate_out` Hz.

    `push` gives all blocks of 20 ms that are certain by now: output lags the input by half a filter (3.4 ms from 8 kHz, 1.7 ms
    from 48 kHz) and up to one block. `flush` gives the rest. Equal rates pass through untouched.
    """

    def __init__(self, rate_in: int, rate_out: int = 16_000) -> None:
        for rate in (rate_in, rate_out):
            if not LOWEST_RATE <= rate <= HIGHEST_RATE:
                raise InputError(
                    f"sample rate {rate} Hz cannot be used",
                    where="audio",
                    cure=f"give audio between {LOWEST_RATE} and {HIGHEST_RATE} Hz",
                )
        divisor = gcd(rate_in, rate_out)
        self._up, self._down = rate_out // divisor, rate_in // divisor
        self._taps, self._half = _phases(self._up, self._down)
        self._block = max(1, rate_out // 50)
        self._buffer: Floats = np.zeros(self._half - 1, np.float32)
        self._buffer_start = 1 - self._half  # input index of buffer[0]; the stream is preceded by silence
        self._read = 0
        self._written = 0
        self._ended = False

    def push(self, samples: NDArray[Any]) -> Floats:
        """Take int16, or float32 in [-1, 1], of shape (n,); give float32 of shape (m,) in [-1, 1] (overshoot apart)."""
        if samples.ndim != 1 or samples.dtype not in (np.int16, np.float32):
            raise ValueError(f"the resampler takes int16 or float32 of shape (n,), not {samples.dtype} {samples.shape}")
        if self._ended:
            raise ValueError("the resampler was flushed: begin a new one for a new stream")
        values = as_float32(samples)
        self._read += len(values)
        if self._up == self._down:
            self._written += len(values)
            return values.copy()
        self._buffer = np.concatenate([self._buffer, values])
        certain = ((self._read - self._half) * self._up) // self._down  # outputs whose last tap has been read
        return self._produce(max(0, certain) // self._block * self._block)

    def flush(self) -> Floats:
        """The remaining output, as if silence followed. The whole stream then has ceil(n * rate_out / rate_in) samples."""
        self._ended = True
        if self._up == self._down:
            return np.zeros(0, np.float32)
        end = -(-self._read * self._up // self._down)
        blocks = -(-end // self._block) * self._block
        missing = blocks * self._down // self._up + self._half + 1 - self._read
        self._buffer = np.concatenate([self._buffer, np.zeros(max(0, missing), np.float32)])
        surplus = blocks - end
        rest = self._produce(blocks)
        return rest[: len(rest) - surplus] if surplus else rest

    def snapshot(self) -> bytes:
        """State as bytes: the input that later output still needs, and the positions reached."""
        positions = (self._buffer_start, self._read, self._written, int(self._ended))
        return np.array(positions, "<i8").tobytes() + self._buffer.astype("<f4").tobytes()

    def restore(self, state: bytes) -> None:
        """Take over what `snapshot` of a resampler of the same rates gave."""
        start, read, written, ended = (int(value) for value in np.frombuffer(state[:32], "<i8"))
        self._buffer_start, self._read, self._written, self._ended = start, read, written, bool(ended)
        self._buffer = np.frombuffer(state[32:], "<f4").astype(np.float32)

    def _produce(self, end: int) -> Floats:
        """Output samples from the last one written to `end`, in whole blocks; forgets input no longer needed."""
        blocks = [self._convolve(first) for first in range(self._written, end, self._block)]
        self._written = max(self._written, end)
        done = self._written * self._down // self._up - self._half + 1 - self._buffer_start
        if done > 0:
            self._buffer = self._buffer[done:].copy()
            self._buffer_start += done
        return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)

    def _convolve(self, first: int) -> Floats:
        position = np.arange(first, first + self._block, dtype=np.int64) * self._down
        start = position // self._up - self._half + 1 - self._buffer_start
        windows = sliding_window_view(self._buffer, 2 * self._half)[start]
        block: Floats = np.einsum("ij,ij->i", windows, self._taps[position % self._up])
        return block


def as_float32(samples: NDArray[Any]) -> Floats:
    """int16 to float32 in [-1, 1) (division by 32768); float32 is returned as it is."""
    return samples.astype(np.float32) / np.float32(32768) if samples.dtype == np.int16 else samples


def as_int16(samples: Floats) -> NDArray[np.int16]:
    """float32 in [-1, 1] to int16, rounded to nearest and clipped."""
    rounded: NDArray[np.int16] = np.clip(np.rint(samples * np.float32(32768)), -32768, 32767).astype(np.int16)
    return rounded
