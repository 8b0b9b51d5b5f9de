"""The curves of the report, as Bokeh documents that the page shows without a server or a network.

Everything on the time axis shares one range in seconds, so that zooming one zooms all. Colours are not set here: a glyph
carries the name of a CSS variable in its `tags`, and the page paints it, in light and in dark.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any

from msgspec import Struct

from fusion.events import EmotionEvent

BAND = 0.5
"""Half-width of the confidence band at no confidence at all; it shrinks to nothing at full confidence."""
_BRIDGE_MS = 20_000
"""Up to this silence two utterances are joined by a thin line; beyond it there is nothing to join."""


class Curve(Struct, frozen=True):
    """Valence and arousal of one participant: only events that have a valence."""

    name: str
    events: tuple[EmotionEvent, ...]


class Bin(Struct, frozen=True):
    """A cell of the overview: what is most telling between two times (a row counts from the top)."""

    row: int
    start_s: float
    end_s: float
    label: str


def charts(curves: Sequence[Curve], bins: Sequence[Bin], rows: int, view_s: tuple[float, float], whole_s: tuple[float, float], height: int) -> dict[str, Any]:
    """``{"doc": document as JSON, "roots": {element name: root id}}``.

    Elements: `axis` (the time ruler), `valence-N` for each curve, and `overview` where bins are given.
    """
    from bokeh.core.json_encoder import serialize_json
    from bokeh.document import Document
    from bokeh.models import AdaptiveTicker, CustomJSTickFormatter, Range1d

    document = Document()
    shared = Range1d(start=view_s[0], end=view_s[1], bounds=whole_s, min_interval=2, name="view")
    clock = (
        "const s = Math.round(tick); if (s < 0) return ''; const two = n => String(n).padStart(2, '0');"
        "return s >= 3600 ? `${Math.floor(s / 3600)}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}` : `${Math.floor(s / 60)}:${two(s % 60)}`"
    )
    roots: dict[str, Any] = {}

    ruler = _figure(shared, Range1d(start=0, end=1), 26, axis=True)
    ruler.xaxis.ticker = AdaptiveTicker(base=60, mantissas=[1, 2, 5, 10, 15, 30], min_interval=1, desired_num_ticks=8, name="ticks")
    ruler.xaxis.formatter = CustomJSTickFormatter(code=clock)
    roots["axis"] = ruler
    for index, curve in enumerate(curves):
        roots[f"valence-{index}"] = _valence(curve, shared, height)
    if bins:
        roots["overview"] = _overview(bins, rows, shared, whole_s)
    for root in roots.values():
        document.add_root(root)
    written = serialize_json({"doc": document.to_json(deferred=False), "roots": {name: root.id for name, root in roots.items()}})
    return _stable(written)


def _figure(x_range: Any, y_range: Any, height: int, *, axis: bool = False) -> Any:
    from bokeh.plotting import figure

    plot = figure(
        x_range=x_range, y_range=y_range, height=height, sizing_mode="stretch_width", toolbar_location=None, tools="", min_border=0,
        outline_line_color=None, background_fill_alpha=0, border_fill_alpha=0, output_backend="canvas",
    )
    plot.grid.visible = False
    plot.yaxis.visible = False
    plot.xaxis.visible = axis
    plot.xaxis.tags = ["--quiet"]
    plot.xaxis.major_label_text_font_size = "12px"
    plot.xaxis.minor_tick_line_color = None
    return plot


def _valence(curve: Curve, shared: Any, height: int) -> Any:
    from bokeh.models import Range1d

    plot = _figure(shared, Range1d(start=-1.12, end=1.12), height)
    plot.hspan(y=[0], line_width=1, tags=["--line"])
    seconds = [(e.start_ms / 1000, e.end_ms / 1000) for e in curve.events]
    values = [e.valence or 0.0 for e in curve.events]
    doubt = [BAND * (1 - (e.confidence if e.confidence is not None else 0.0)) for e in curve.events]
    left, right = [s for s, _ in seconds], [e for _, e in seconds]
    plot.quad(
        left=left, right=right, top=[min(1.0, round(v + d, 4)) for v, d in zip(values, doubt, strict=True)],
        bottom=[max(-1.0, round(v - d, 4)) for v, d in zip(values, doubt, strict=True)], line_color=None, fill_alpha=0.28, tags=["--valence"],
    )
    aroused = [(s, e.arousal) for s, e in zip(seconds, curve.events, strict=True) if e.arousal is not None]
    plot.segment(
        x0=[s for (s, _), _ in aroused], x1=[e for (_, e), _ in aroused], y0=[a for _, a in aroused], y1=[a for _, a in aroused],
        line_width=1.5, line_dash=[2, 2], tags=["--arousal"],
    )
    x, y = _joined(seconds, values)
    plot.line(x=x, y=y, line_width=1, line_alpha=0.5, tags=["--valence"])
    plot.segment(x0=left, x1=right, y0=values, y1=values, line_width=3, line_cap="round", tags=["--valence"])
    return plot


def _joined(seconds: Sequence[tuple[float, float]], values: Sequence[float]) -> tuple[list[float], list[float]]:
    """A line through all utterances; a long silence breaks it (NaN)."""
    x: list[float] = []
    y: list[float] = []
    for (start, end), value in zip(seconds, values, strict=True):
        if x and start - x[-1] > _BRIDGE_MS / 1000:
            x.append(x[-1])
            y.append(float("nan"))
        x += [start, end]
        y += [value, value]
    return x, y


def _overview(bins: Sequence[Bin], rows: int, shared: Any, whole_s: tuple[float, float]) -> Any:
    from bokeh.models import Range1d, RangeTool

    plot = _figure(Range1d(start=whole_s[0], end=whole_s[1]), Range1d(start=rows, end=0), 14 * rows + 10)
    for label in sorted({b.label for b in bins}):
        mine = [b for b in bins if b.label == label]
        # What is not analysed is a thin line and an abstention is hatched: neither may pass for neutral.
        inset = 0.42 if label == "withheld" else 0.12
        pattern = {"fill_alpha": 0, "hatch_pattern": "right_diagonal_line", "hatch_scale": 6} if label == "unknown" else {}
        plot.quad(
            left=[b.start_s for b in mine], right=[b.end_s for b in mine], top=[b.row + inset for b in mine],
            bottom=[b.row + 1 - inset for b in mine], line_color=None, tags=[f"--{label}"], **pattern,
        )
    tool = RangeTool(x_range=shared)
    tool.overlay.tags = ["--select"]
    plot.add_tools(tool)
    return plot


def _stable(written: str) -> dict[str, Any]:
    """The same document with ids counted from 1: Bokeh counts on through the life of the process."""
    numbers: dict[str, str] = {}

    def renamed(match: re.Match[str]) -> str:
        return numbers.setdefault(match[0], f'"p{len(numbers) + 1}"')

    stable: dict[str, Any] = json.loads(re.sub(r'"p\d+"', renamed, written))
    return stable


@cache
def script() -> tuple[str, str]:
    """(version of Bokeh, its script compressed with gzip and in base64), from the installed package."""
    import bokeh

    source = resources.files("bokeh").joinpath("server/static/js/bokeh.min.js").read_bytes()
    return bokeh.__version__, base64.b64encode(gzip.compress(source, 9, mtime=0)).decode("ascii")
