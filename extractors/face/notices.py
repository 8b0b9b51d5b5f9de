"""Loading networks without the notices that LiteRT and OpenCV print from C++, where no setting reaches them."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

HARMLESS = (
    "Created TensorFlow Lite XNNPACK delegate for CPU",
    "setPreferableTarget Targets are not supported by the new graph engine",
)

_one_at_a_time = threading.Lock()


@contextmanager
def without_notices() -> Iterator[None]:
    """Holds back what the process writes to file descriptor 2 meanwhile, and passes it on without `HARMLESS` lines."""
    with _one_at_a_time, tempfile.TemporaryFile() as caught:
        try:
            terminal = os.dup(2)
        except OSError:  # no standard error at all: nothing to tidy
            yield
            return
        os.dup2(caught.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
            caught.seek(0)
            for line in caught.read().decode(errors="replace").splitlines(keepends=True):
                if not any(notice in line for notice in HARMLESS):
                    sys.stderr.write(line)
