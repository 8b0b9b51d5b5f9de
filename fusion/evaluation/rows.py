"""One labelled row of an evaluation, and the manifest (CSV) that a user may write himself."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from msgspec import Struct

from extractors.errors import InputError

SHOWN = 10


class Row(Struct, frozen=True):
    """One labelled item. Empty text and None mean unknown.

    `start_ms`/`end_ms` cut the media file; `channel` counts from 0. `label` is a single label, `labels` a distribution
    (label -> share, sum 1); `valence`, `arousal`, `dominance` lie in [-1, 1], `intensity` in [0, 1]. `cell` is the
    place of a picture in a mosaic of equal cells. `line` is where the row stands in its file.
    """

    path: Path | None = None
    start_ms: int | None = None
    end_ms: int | None = None
    channel: int | None = None
    text: str = ""
    label: str = ""
    labels: dict[str, float] = {}
    valence: float | None = None
    arousal: float | None = None
    dominance: float | None = None
    intensity: float | None = None
    speaker: str = ""
    sex: str = ""
    language: str = ""
    dialogue: str = ""
    turn: str = ""
    role: str = ""
    split: str = ""
    context: str = ""
    title: str = ""
    cell: int | None = None
    line: int = 0


COLUMNS = tuple(name for name in Row.__struct_fields__ if name not in ("cell", "line"))
_TEXTS = ("text", "label", "speaker", "sex", "language", "dialogue", "turn", "role", "split", "context", "title")
_DIMENSIONS = ("valence", "arousal", "dominance")

Check = Callable[[Row], str | None]


def read_manifest(file: Path, check: Check | None = None) -> list[Row]:
    """Rows of a manifest: CSV in UTF-8 with a header; paths in it are relative to it.

    Columns that `Row` does not know are ignored. `check` says what a row lacks for a task (None: nothing). Raises
    `InputError` with every problem found (the first ten in words), each with its line.
    """
    problems: list[str] = []
    rows: list[Row] = []
    header, records = _records(file)
    for line, cells in records:
        try:
            if len(cells) != len(header):
                raise ValueError(f"{len(cells)} cells under {len(header)} columns: quote cells that hold a comma")
            row = _row(dict(zip(header, (cell.strip() for cell in cells), strict=True)), file.parent, line)
            if check and (lack := check(row)):
                raise ValueError(lack)
            rows.append(row)
        except ValueError as problem:
            problems.append(f"line {line}: {problem}")
    if problems:
        more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        count = "a problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise InputError(
            f"{count} in the manifest: {'; '.join(problems[:SHOWN])}{more}",
            where=str(file),
            cure="mend the lines and run again",
        )
    if not rows:
        raise InputError("the manifest has no rows", where=str(file), cure="add rows under its header")
    return rows


def _records(file: Path) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    try:
        text = file.read_text("utf-8-sig")
    except OSError as error:
        raise InputError(
            f"cannot read the manifest ({error.strerror})", where=str(file), cure="check the path"
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"the manifest is not UTF-8 (byte {error.start})", where=str(file), cure="save it as UTF-8"
        ) from error
    reader = csv.reader(io.StringIO(text, newline=""))
    header = [name.strip() for name in next(reader, [])]
    known = [name for name in header if name in COLUMNS]
    if not known:
        cure = f"begin it with a header line of columns separated by commas, among {', '.join(COLUMNS)}"
        raise InputError("the manifest has no known column", where=f"{file}, line 1", cure=cure)
    if twice := sorted({name for name in known if header.count(name) > 1}):
        raise InputError(f"column {twice[0]} occurs twice", where=f"{file}, line 1", cure="keep one of them")
    return header, ((reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells))


def _row(cells: dict[str, str], folder: Path, line: int) -> Row:
    start, end = _whole(cells, "start_ms"), _whole(cells, "end_ms")
    if start is not None and end is not None and end <= start:
        raise ValueError(f"end_ms {end} is not after start_ms {start}")
    path = folder / cells["path"] if cells.get("path") else None
    if path is not None and not path.is_file():
        raise ValueError(f"there is no file {path}: paths are relative to the manifest")
    valence, arousal, dominance = (_number(cells, name, -1.0, 1.0) for name in _DIMENSIONS)
    texts: dict[str, Any] = {name: cells.get(name, "") for name in _TEXTS}
    return Row(
        path=path,
        start_ms=start,
        end_ms=end,
        channel=_whole(cells, "channel"),
        labels=_shares(cells.get("labels", "")),
        line=line,
        valence=valence,
        arousal=arousal,
        dominance=dominance,
        intensity=_number(cells, "intensity", 0.0, 1.0),
        **texts,
    )


def _whole(cells: dict[str, str], name: str) -> int | None:
    value = cells.get(name, "")
    if not value:
        return None
    if not value.isdigit():
        raise ValueError(f"{name} is {value!r}: give a whole number from 0")
    return int(value)


def _number(cells: dict[str, str], name: str, low: float, high: float) -> float | None:
    value = cells.get(name, "")
    if not value:
        return None
    try:
        number = float(value)
    except ValueError:
        raise ValueError(f"{name} is {value!r}: give a number") from None
    if not (math.isfinite(number) and low <= number <= high):
        raise ValueError(f"{name} is {value}: scale it to {low:g} … {high:g}")
    return number


def _shares(text: str) -> dict[str, float]:
    """A JSON object (label -> weight) or list of labels, as a distribution."""
    if not text:
        return {}
    try:
        found = json.loads(text)
    except ValueError:
        raise ValueError('labels is not JSON: write {"anger": 0.7, "sadness": 0.3} or ["anger", "sadness"]') from None
    if isinstance(found, list):
        found = dict.fromkeys(found, 1.0) if all(isinstance(label, str) for label in found) else {}
    values = found if isinstance(found, dict) else {}
    if not values or not all(
        isinstance(v, int | float) and not isinstance(v, bool) and v >= 0 for v in values.values()
    ):
        raise ValueError("labels holds no label with a share of 0 or more")
    total = float(sum(values.values()))
    if not (math.isfinite(total) and total > 0):
        raise ValueError("the shares in labels do not add up to more than 0")
    return {label: value / total for label, value in values.items()}
