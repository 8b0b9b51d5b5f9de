"""`affectstream doctor`: can this machine run the product, and if not, what cures it."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import platform
import shutil

import click
from rich.console import Console
from rich.table import Table

from extractors import registry

_LIBRARIES = (
    "torch",
    "torchaudio",
    "faust-streaming",
    "faster-whisper",
    "ctranslate2",
    "opencv-python",
    "av",
    "onnxruntime",
    "ai-edge-litert",
    "numpy",
)
_IMPORTS = {
    "faust-streaming": "faust",
    "faster-whisper": "faster_whisper",
    "opencv-python": "cv2",
    "ai-edge-litert": "ai_edge_litert.interpreter",
}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for machines.")
def doctor(as_json: bool) -> int:
    """Check libraries, models, GPU and tools; status 2 when something the default profile needs is missing."""
    rows = [*map(_library, _LIBRARIES), *_models(), _gpu(), *map(_tool, ("chromium", "java", "mvn"))]
    if as_json:
        click.echo(
            json.dumps(
                [{"check": name, "ok": ok, "detail": detail, "needed": needed} for name, ok, detail, needed in rows]
            )
        )
    else:
        table = Table(
            title=f"Python {platform.python_version()} on {platform.system()} {platform.machine()}, {os.cpu_count()} cores"
        )
        for column in ("check", "", "detail"):
            table.add_column(column)
        for name, ok, detail, needed in rows:
            table.add_row(
                name,
                "[green]ok[/green]" if ok else "[red]missing[/red]" if needed else "[yellow]absent[/yellow]",
                detail,
            )
        Console().print(table)
    return 2 if any(needed and not ok for _, ok, _, needed in rows) else 0


def _library(name: str) -> tuple[str, bool, str, bool]:
    try:
        importlib.import_module(_IMPORTS.get(name, name))
        return name, True, importlib.metadata.version(name), True
    except (ImportError, OSError) as error:
        cure = " (Debian: apt-get install libgl1 libglib2.0-0)" if "libGL" in str(error) else ""
        return name, False, f"{error}{cure}", True


def _models() -> list[tuple[str, bool, str, bool]]:
    rows = []
    for name, model in registry.MODELS.items():
        found = registry.installed(name)
        rows.append(
            (f"model {name}", found.path is not None, found.problem or found.place, "bundled" in model.profiles)
        )
    return rows


def _gpu() -> tuple[str, bool, str, bool]:
    import torch

    present = torch.cuda.is_available()
    return "GPU", present, torch.cuda.get_device_name(0) if present else "none: models run on the CPU", False


def _tool(name: str) -> tuple[str, bool, str, bool]:
    place = shutil.which(name)
    return name, place is not None, place or "only for tests and live runs", False
