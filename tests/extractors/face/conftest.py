"""Frames of real moving faces for the face tests."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

Timed = list[tuple[int, NDArray[np.uint8]]]


def frames_of(path: Path, step: int = 1) -> Timed:
    """(media time in ms, BGR picture) of every `step`-th frame, at container time."""
    with av.open(str(path)) as container:
        return [
            (round(float(frame.pts * frame.time_base) * 1000), frame.to_ndarray(format="bgr24"))
            for index, frame in enumerate(container.decode(video=0))
            if index % step == 0
        ]


@pytest.fixture(scope="session")
def woman(sample_clip: Path) -> Timed:
    """19.7 s at 12 frames a second: crying with a hand over the mouth from 2.5 to 6.7 s, laughing from 12.5 s."""
    return frames_of(sample_clip, 2)


@pytest.fixture(scope="session")
def laugh(woman: Timed) -> NDArray[np.uint8]:
    """One picture of her laughing, 640×360."""
    return woman[200][1]
