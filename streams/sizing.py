"""How many cores, workers, partitions and bytes a load of calls needs: arithmetic over measured costs.

Nothing here is estimated by feel. Costs come from a file of measurements (`deploy/measured.json`), sizes of records from
the topic table, and what depends on the calls is an argument. What was not measured is named and counted as nothing.

    cores of a stage   = what reaches it per second x CPU seconds per unit + records per second x CPU seconds per record
    workers of a stage = cores / utilisation, rounded up: a worker runs a stage on one core at a time
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from extractors.errors import InputError
from streams.records import TOPICS

MEASURED = Path(__file__).resolve().parent.parent / "deploy" / "measured.json"
BLOCK_MS = 100
"""Media time of one audio record of the gateway."""
WATERMARK_MS = 500
"""Media time between two watermarks of a source."""
PCM_RATE = 16_000
"""Samples per second of the PCM in `utterances`, two bytes each."""
PROGRESS_MS = 1000
"""Media time between two progress marks of `fuse`."""
STAGES = ("segment", "hear", "look", "fuse", "alert")


class Figure(Struct, frozen=True, forbid_unknown_fields=True):
    """One measurement. `value` is None where nobody measured it yet; `command` printed it, on `machine`; a `preliminary`
    value comes from an experiment with parts of the product, and `note` says which."""

    value: float | None
    unit: str
    status: Literal["measured", "preliminary", "missing"] = "missing"
    command: str = ""
    machine: str = ""
    note: str = ""


class Measured(Struct, frozen=True, forbid_unknown_fields=True):
    """The file of measurements. Names: ``{stage}_cpu_s`` (CPU s per unit of the stage), ``{stage}_peak_mb``,
    ``gateway_cpu_s`` (per second of a call), ``record_cpu_s`` (per record and stage, by the stream engine),
    ``utterance_s``, ``speech_share``."""

    format: Literal[1]
    figures: dict[str, Figure]
    comment: str = ""

    def value(self, name: str) -> float | None:
        figure = self.figures.get(name)
        return figure.value if figure else None


class Demand(Struct, frozen=True):
    """The load. `speech_share` is the share of time that one channel speaks, `utterance_s` the mean length of an
    utterance (None: as measured); `picture_kb` is the size of one JPEG picture; `utilisation` how full a core may be in
    the mean, so that bursts find room; `patience_s` how far a stage may fall behind before a worker is added."""

    calls: int
    channels: int = 2
    sample_rate: int = 16_000
    speech_share: float | None = None
    utterance_s: float | None = None
    video_share: float = 0.0
    fps: float = 10.0
    picture_kb: float | None = None
    utilisation: float = 0.7
    patience_s: float = 2.0
    replication: int = 3


class StageNeed(Struct, frozen=True):
    """What one stage needs. `lag_threshold`: records of consumer lag per worker from which another one is wanted."""

    stage: str
    cores: float
    workers: int
    memory_mb: int | None
    records_s: float
    lag_threshold: int


class Need(Struct, frozen=True):
    """The result. Kafka: megabytes written per second (once) and gigabytes kept on disk (all replicas)."""

    stages: tuple[StageNeed, ...]
    cores: float
    partitions: int
    kafka_mb_s: float
    kafka_disk_gb: float
    not_measured: tuple[str, ...]
    preliminary: tuple[str, ...]


def read(file: Path | None = None) -> Measured:
    """The measurements in `file` (default: `deploy/measured.json` of the checkout)."""
    place = file or MEASURED
    try:
        return msgspec.convert(json.loads(place.read_text("utf-8")), Measured)
    except OSError as error:
        raise InputError("measurements cannot be read", where=f"{place}: {error.strerror}", cure="give --measured FILE (see docs/sizing.md)") from error
    except ValueError as error:
        raise InputError("measurements cannot be used", where=f"{place}: {error}", cure="compare docs/sizing.md") from error


def size(demand: Demand, measured: Measured) -> Need:
    """What `demand` needs at the costs in `measured`. Pure."""
    _check(demand)
    used: set[str] = set()

    def cost(name: str) -> float:
        used.add(name)
        return measured.value(name) or 0.0

    channels, pictures = demand.calls * demand.channels, demand.calls * demand.video_share * demand.fps
    share = demand.speech_share if demand.speech_share is not None else cost("speech_share")
    length = demand.utterance_s if demand.utterance_s is not None else cost("utterance_s")
    speech = channels * share
    utterances = speech / length if length else 0.0
    marks = channels * 1000 / WATERMARK_MS
    looked = pictures + demand.calls * demand.video_share * 1000 / WATERMARK_MS
    units = {"segment": float(channels), "hear": speech, "look": pictures, "fuse": utterances, "alert": utterances}
    records = {
        "segment": channels * 1000 / BLOCK_MS, "hear": utterances + marks, "look": pictures, "fuse": utterances + marks + looked,
        "alert": utterances + demand.calls * 1000 / PROGRESS_MS,
    }
    needs = []
    for stage in STAGES:
        busy = units[stage] > 0
        cores = units[stage] * cost(f"{stage}_cpu_s") + records[stage] * cost("record_cpu_s") if busy else 0.0
        workers = max(1, math.ceil(round(cores / demand.utilisation, 6))) if busy else 0
        peak = measured.value(f"{stage}_peak_mb")
        threshold = math.ceil(records[stage] / workers * demand.patience_s) if workers else 0
        needs.append(StageNeed(stage, round(cores, 3), workers, round(peak * workers) if peak else None, round(records[stage], 1), threshold))
    gateway = demand.calls * cost("gateway_cpu_s")
    traffic = _traffic(demand, speech, pictures)
    most = max(need.workers for need in needs)
    return Need(
        stages=tuple(needs),
        cores=round(sum(need.cores for need in needs) + gateway, 3),
        partitions=max(8, math.ceil(2 * most / 4) * 4),
        kafka_mb_s=round(sum(traffic.values()) / 1e6, 3),
        kafka_disk_gb=round(sum(traffic[name] * _kept_s(name) for name in traffic) * demand.replication / 1e9, 2),
        not_measured=tuple(sorted(name for name in used if measured.value(name) is None)),
        preliminary=tuple(sorted(name for name in used if name in measured.figures and measured.figures[name].status == "preliminary")),
    )


def _traffic(demand: Demand, speech: float, pictures: float) -> dict[str, float]:
    """Payload bytes per second of the topics that carry media; cues and events are small beside them."""
    return {
        "media.audio": demand.calls * demand.channels * demand.sample_rate * 2.0,
        "utterances": speech * PCM_RATE * 2.0,
        "media.video": pictures * (demand.picture_kb or 0.0) * 1000.0,
    }


def _kept_s(topic: str) -> float:
    """How long a byte can lie on disk: the retention, and one more segment, for only whole segments are deleted."""
    retention = next(row.retention_ms for row in TOPICS if row.name == topic)
    return retention * 1.5 / 1000


def _check(demand: Demand) -> None:
    wrong = {
        "--calls": demand.calls < 1, "--channels": demand.channels < 1, "--video-share": not 0 <= demand.video_share <= 1,
        "--utilisation": not 0 < demand.utilisation <= 1, "--speech-share": demand.speech_share is not None and not 0 <= demand.speech_share <= 1,
        "--utterance-s": demand.utterance_s is not None and demand.utterance_s <= 0,
    }
    for option, bad in wrong.items():
        if bad:
            raise InputError("no such load", where=option, cure="see `affectstream sizing --help`")
