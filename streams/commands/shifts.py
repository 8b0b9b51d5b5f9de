"""`affectstream shifts`: what preceded emotion shifts, over the results of many replays."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from extractors.errors import InputError

TITLES = {
    "interruption": "interruption", "silence": "nobody speaks", "overlap": "several speak at once", "slow_response": "slow response",
    "loudness": "louder or quieter", "speed": "faster or slower", "face": "face changes",
}  # fmt: skip


@click.command()
@click.argument("results", type=click.Path(path_type=Path))
@click.option("--into", type=click.Choice(["negative", "neutral", "positive"]), help="Only turns into this side of valence.")
@click.option("--window", type=click.FloatRange(5, 600), default=30.0, show_default=True, help="Seconds before a moment that are looked at.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the table.")
def shifts(results: Path, into: Any, window: float, as_json: bool) -> None:
    """What stands before emotion shifts more often than before other moments, over all replays in RESULTS.

    Compared within each participant of each recording, with counts and an interval that holds for all rows together. It says
    what goes before, not what causes.
    """
    import msgspec

    from fusion.metrics import MetricParameters
    from fusion.precedence import precedence
    from fusion.shifts import ShiftParameters

    params = MetricParameters(shifts=ShiftParameters(window_ms=round(window * 1000)))
    found = precedence(_recordings(results), into=into, params=params)
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(found)))
        return
    turns = f"turns into the {into}" if into else "turns"
    table = Table(title=f"In the {window:g} s before {found.shifts} {turns} and before {found.moments} other moments of {found.conversations} recordings")
    for column in ("what", "before turns", "elsewhere", "difference", "verdict"):
        table.add_column(column)
    for kind in found.kinds:
        difference = "" if kind.difference is None else f"{kind.difference:+.0%} ({kind.low:+.0%} to {kind.high:+.0%})"
        table.add_row(TITLES[kind.kind], _share(kind.before, kind.shifts), _share(kind.elsewhere, kind.moments), difference, kind.verdict)
    Console().print(table)
    click.echo(
        f"{found.found} {turns} in all; windows are whole and never overlap. Differences are taken within each participant; all intervals hold "
        f"together at {found.confidence:.0%}. Below {found.fewest} on either side: too few. What goes before need not be the cause."
    )


def _share(count: int, of: int) -> str:
    return f"{count / of:.0%} ({count} of {of})" if of else "none"


def _recordings(results: Path) -> Iterator[list[Any]]:
    """The events of every recording in a folder of results (or of one recording)."""
    from streams.egress.jsonl import read_events

    files = [results] if results.is_file() else sorted((*results.glob("events.jsonl"), *results.glob("*/events.jsonl")))
    if not files:
        raise InputError("no events in this folder", where=str(results), cure="give the --out folder of a replay")
    for file in files:
        yield list(read_events(file))
