"""Nothing that the product loads reports to anybody or leaves an identifier of the machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

LOAD = """
import extractors, os, sys
import onnxruntime, swift_f0
model = os.path.join(os.path.dirname(swift_f0.__file__), "model.onnx")
onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
"""


def test_loading_a_model_leaves_nothing_in_the_home_of_the_user(tmp_path: Path) -> None:
    """The ONNX Runtime of a released package writes a device id there before it reports; it is switched off by us."""
    environment = {name: value for name, value in os.environ.items() if name not in ("ORT_DISABLE_TELEMETRY", "CI", "XDG_CACHE_HOME")}
    done = subprocess.run([sys.executable, "-c", LOAD], env=environment | {"HOME": str(tmp_path)}, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert [str(file) for file in tmp_path.rglob("*") if file.is_file()] == []
