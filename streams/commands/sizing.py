"""`affectstream sizing`: cores, workers, partitions and disk for so many calls, from measured costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.table import Table


@click.command()
@click.option("--calls", type=click.IntRange(1), required=True, help="Calls at the same time.")
@click.option("--channels", type=click.IntRange(1, 8), default=2, show_default=True, help="Audio channels per call.")
@click.option("--sample-rate", type=click.IntRange(4000, 192_000), default=16_000, show_default=True, help="Of the audio on the broker, in Hz.")
@click.option("--speech-share", type=click.FloatRange(0, 1), help="Share of time that one channel speaks (default: as measured).")
@click.option("--utterance-s", type=click.FloatRange(0, min_open=True), help="Mean length of an utterance in seconds (default: as measured).")
@click.option("--video-share", type=click.FloatRange(0, 1), default=0.0, show_default=True, help="Share of calls with a picture.")
@click.option("--fps", type=click.FloatRange(0.5, 60), default=10.0, show_default=True, help="Pictures per second that are analysed.")
@click.option("--picture-kb", type=click.FloatRange(0), help="Size of one JPEG picture in kB; without it video is not counted on the broker.")
@click.option("--utilisation", type=click.FloatRange(0, 1, min_open=True), default=0.7, show_default=True, help="How full a core may be in the mean.")
@click.option("--patience-s", type=click.FloatRange(0, min_open=True), default=2.0, show_default=True, help="Seconds a stage may fall behind.")
@click.option("--replication", type=click.IntRange(1, 9), default=3, show_default=True, help="Copies of every topic.")
@click.option("--measured", type=click.Path(path_type=Path, dir_okay=False), help="Measurements (default: deploy/measured.json of the checkout).")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for machines.")
def sizing(measured: Path | None, as_json: bool, **load: Any) -> None:
    """Cores, workers and broker size for so many calls, computed from the measured cost of a call."""
    from streams.sizing import Demand, read, size

    figures = read(measured)
    need = size(Demand(**load), figures)
    if as_json:
        click.echo(msgspec.json.encode(need).decode())
        return
    table = Table(title=f"{load['calls']} calls, {load['channels']} channels each, {load['video_share']:.0%} with a picture")
    for column in ("stage", "cores busy", "workers", "memory MB", "records/s", "lag threshold"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    for stage in need.stages:
        memory = "?" if stage.memory_mb is None else str(stage.memory_mb)
        table.add_row(stage.stage, f"{stage.cores:.2f}", str(stage.workers), memory, f"{stage.records_s:.0f}", str(stage.lag_threshold))
    Console().print(table)
    click.echo(f"cores busy in all: {need.cores:.2f}; partitions: at least {need.partitions}")
    click.echo(f"broker: {need.kafka_mb_s:.2f} MB/s of media in, {need.kafka_disk_gb:.1f} GB on disk over all replicas")
    for name in need.not_measured:
        click.echo(f"not measured, counted as nothing: {name}")
    for name in need.preliminary:
        click.echo(f"preliminary: {name} = {figures.figures[name].value:g} {figures.figures[name].unit} ({figures.figures[name].note})")
