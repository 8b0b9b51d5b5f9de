"""The one form in which a measurement is printed and stored."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct, to_builtins
from rich.console import Console
from rich.markup import escape
from rich.table import Table


class ClassFigures(Struct, frozen=True):
    """Figures of one class: how often it occurs, and how well it is found."""

    n: int
    recall: float
    precision: float
    f1: float


class Report(Struct, frozen=True):
    """A measurement, or a training run with measurements as `sections`.

    `metrics` are figures in the units their names say (shares in [0, 1] unless the name ends in ``_bits``); `intervals`
    their 95 % bootstrap intervals, drawn over `bootstrap_over`. `groups`: group column -> value -> figures. `mapping`:
    label as it came -> label it was scored as; `unmapped`: label -> rows left out of the label figures because the
    label has no counterpart.
    """

    task: str
    data: str
    n: int
    metrics: dict[str, float] = {}
    intervals: dict[str, tuple[float, float]] = {}
    bootstrap_over: str = "rows"
    classes: dict[str, ClassFigures] = {}
    confusion: dict[str, dict[str, int]] = {}
    groups: dict[str, dict[str, dict[str, float]]] = {}
    mapping: dict[str, str] = {}
    unmapped: dict[str, int] = {}
    label_set: str = ""
    models: dict[str, str] = {}
    parameters: dict[str, Any] = {}
    notes: tuple[str, ...] = ()
    sections: tuple[Report, ...] = ()

    def to_json(self) -> str:
        """One line of JSON; figures rounded to four decimals, not-a-number as null. Metrics also stand at top level."""
        body = _clean(to_builtins(self))
        body = {name: value for name, value in body.items() if value not in ({}, [], "")}
        return json.dumps(
            {**{k: v for k, v in body.get("metrics", {}).items() if k not in body}, **body}, ensure_ascii=False
        )

    def render(self, console: Console) -> None:
        """Tables for a person."""
        console.print(f"[bold]{escape(self.task)}[/bold]  {escape(self.data)}  n = {self.n}")
        if self.models:
            console.print("models: " + escape(", ".join(f"{part} {name}" for part, name in self.models.items())))
        if self.parameters:
            console.print(
                "parameters: " + escape(", ".join(f"{name} {value}" for name, value in self.parameters.items()))
            )
        for table in self._tables():
            console.print(table)
        self._print_mapping(console)
        for note in self.notes:
            console.print(f"note: {escape(note)}")
        for section in self.sections:
            console.print()
            section.render(console)

    def _tables(self) -> Iterator[Table]:
        if self.metrics:
            yield _figures(self.metrics, self.intervals, self.bootstrap_over)
        if self.classes:
            yield _per_class(self.classes)
        if self.confusion:
            yield _confusion(self.confusion)
        for column, values in self.groups.items():
            yield _per_group(column, values)

    def _print_mapping(self, console: Console) -> None:
        changed = {label: target for label, target in self.mapping.items() if label != target}
        if self.mapping:
            text = (
                ", ".join(f"{label} → {target}" for label, target in changed.items()) or "labels are used as they are"
            )
            console.print(escape(f"mapping ({self.label_set}): {text}"))
        if self.unmapped:
            console.print(
                escape("no counterpart, left out: " + ", ".join(f"{label} × {n}" for label, n in self.unmapped.items()))
            )


def _figures(metrics: Mapping[str, float], bounds: Mapping[str, Sequence[float]], over: str) -> Table:
    table = Table(box=None, header_style="bold")
    table.add_column("metric")
    table.add_column("value", justify="right")
    table.add_column(f"95 % interval (over {over})", justify="right")
    for name, value in metrics.items():
        low_high = bounds.get(name)
        table.add_row(
            name, _figure(name, value), f"{_number(low_high[0])} – {_number(low_high[1])}" if low_high else ""
        )
    return table


def _per_class(classes: Mapping[str, ClassFigures]) -> Table:
    table = Table(box=None, header_style="bold")
    table.add_column("class", no_wrap=True)
    for name in ("n", "recall", "precision", "f1"):
        table.add_column(name, justify="right")
    for label, figures in classes.items():
        table.add_row(label, str(figures.n), _number(figures.recall), _number(figures.precision), _number(figures.f1))
    return table


def _confusion(confusion: Mapping[str, Mapping[str, int]]) -> Table:
    """Rows are the truth, columns what it was taken for."""
    table = Table(box=None, header_style="bold")
    table.add_column("taken for", no_wrap=True)
    columns = list(dict.fromkeys(name for row in confusion.values() for name in row))
    for name in columns:
        table.add_column(name[:5], justify="right", no_wrap=True)
    for label, row in confusion.items():
        table.add_row(label, *(str(row.get(name, 0)) for name in columns))
    return table


def _per_group(column: str, values: Mapping[str, Mapping[str, float]]) -> Table:
    names = list(dict.fromkeys(name for figures in values.values() for name in figures))
    table = Table(box=None, header_style="bold")
    table.add_column(column)
    for name in names:
        table.add_column(name, justify="right")
    for value, figures in values.items():
        table.add_row(escape(value), *(_figure(name, figures.get(name, math.nan)) for name in names))
    return table


def _figure(name: str, value: float) -> str:
    """Counts (`n`, ``n_…``) without decimals, all else with three."""
    return str(int(value)) if (name == "n" or name.startswith("n_")) and math.isfinite(value) else _number(value)


def _number(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "–"


def _clean(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: int(item) if str(key).startswith("n_") and isinstance(item, float) else _clean(item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    if isinstance(value, float):
        return round(value, 4) + 0.0 if math.isfinite(value) else None
    return value
