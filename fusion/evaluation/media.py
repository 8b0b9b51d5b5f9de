"""Media of a row: sound as 16 kHz mono floats, a face as a grey picture."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import av
import cv2
import numpy as np
from faster_whisper.audio import decode_audio
from numpy.typing import NDArray

from extractors.errors import InputError
from fusion.evaluation.rows import Row

RATE = 16_000
CELL, ACROSS = 48, 50


def read_audio(row: Row) -> NDArray[np.float32]:
    """The stretch of sound that a row names, float32 in [-1, 1], shape (n,)."""
    stretch = _channel(str(row.path), row.channel)
    start, end = (row.start_ms or 0) * RATE // 1000, len(stretch) if row.end_ms is None else row.end_ms * RATE // 1000
    if start >= len(stretch) and start > 0:
        where = f"{row.path}, line {row.line}"
        raise InputError(f"start_ms {row.start_ms} is after the end of the recording", where=where, cure="mend the row")
    return stretch[start:end]


@lru_cache(maxsize=2)
def _channel(path: str, channel: int | None) -> NDArray[np.float32]:
    try:
        if channel is None:
            return np.asarray(decode_audio(path, sampling_rate=RATE), np.float32)
        sides = decode_audio(path, sampling_rate=RATE, split_stereo=True)
    except (av.FFmpegError, ValueError, IndexError) as error:
        raise InputError(
            f"cannot decode sound ({error})", where=path, cure="give a sound or video file that ffmpeg reads"
        ) from error
    if channel >= len(sides):
        raise InputError(
            f"there is no channel {channel}", where=path, cure="channels count from 0; only the first two are read"
        )
    return np.asarray(sides[channel], np.float32)


def read_cell(row: Row) -> NDArray[np.uint8]:
    """The face of a row, grey, uint8: a whole picture, or its cell of a mosaic."""
    picture = _picture(str(row.path))
    if row.cell is None:
        return picture
    y, x = divmod(row.cell, ACROSS)
    return picture[y * CELL : (y + 1) * CELL, x * CELL : (x + 1) * CELL]


@lru_cache(maxsize=2)
def _picture(path: str) -> NDArray[np.uint8]:
    data = np.frombuffer(Path(path).read_bytes(), np.uint8)
    picture = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE) if len(data) else None
    if picture is None:
        raise InputError("cannot read the picture", where=path, cure="give a PNG or JPEG file")
    return np.asarray(picture, np.uint8)
