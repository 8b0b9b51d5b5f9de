"""What machine and which versions a benchmark ran on."""

from __future__ import annotations

import importlib.metadata
import os
import platform


def machine(*packages: str) -> str:
    """One line: processor, cores, Python and the versions of `packages`."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    except OSError:
        pass
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    return f"{model}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; Python {platform.python_version()}; {versions}"
