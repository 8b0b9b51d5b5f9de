"""The sizing guide: arithmetic over measurements, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from extractors.errors import InputError
from streams import sizing
from streams.commands.sizing import sizing as command
from streams.sizing import Demand, Figure, Measured, read, size
from streams.topology import STAGES

COSTS = Measured(1, {
    "segment_cpu_s": Figure(0.01, "", "measured"), "hear_cpu_s": Figure(0.1, "", "measured"), "look_cpu_s": Figure(0.02, "", "measured"),
    "fuse_cpu_s": Figure(0.002, "", "measured"), "alert_cpu_s": Figure(0.001, "", "measured"), "record_cpu_s": Figure(0.001, "", "measured"), "gateway_cpu_s": Figure(0.005, "", "measured"),
    "segment_peak_mb": Figure(100, "", "measured"), "utterance_s": Figure(4.0, "", "measured"), "speech_share": Figure(0.5, "", "measured"),
})  # fmt: skip


def need(demand: Demand, stage: str) -> sizing.StageNeed:
    return next(found for found in size(demand, COSTS).stages if found.stage == stage)


def test_ten_calls_by_hand() -> None:
    ten = Demand(calls=10, video_share=0.5, fps=10, picture_kb=20, sample_rate=8000, replication=1)
    assert need(ten, "segment").cores == pytest.approx(20 * 0.01 + 200 * 0.001)  # 20 channels, ten records a second each
    assert need(ten, "hear").cores == pytest.approx(10 * 0.1 + (2.5 + 40) * 0.001, abs=1e-3)  # 10 s of speech a second, 2.5 utterances, 40 watermarks
    assert need(ten, "look").cores == pytest.approx(50 * 0.02 + 50 * 0.001)
    assert need(ten, "fuse").cores == pytest.approx(2.5 * 0.002 + (2.5 + 40 + 50 + 10) * 0.001, abs=1e-3)
    assert need(ten, "hear").workers == 2 and need(ten, "segment").memory_mb == 100
    assert need(ten, "alert").cores == pytest.approx(2.5 * 0.001 + (2.5 + 10) * 0.001, abs=1e-3)
    whole = size(ten, COSTS)
    assert whole.cores == pytest.approx(sum(stage.cores for stage in whole.stages) + 10 * 0.005, abs=0.002)
    assert whole.kafka_mb_s == pytest.approx((20 * 16_000 + 10 * 32_000 + 50 * 20_000) / 1e6)


@given(calls=st.integers(1, 500), more=st.integers(1, 500), video=st.floats(0, 1))
def test_more_calls_never_need_less(calls: int, more: int, video: float) -> None:
    few, many = (size(Demand(calls=count, video_share=video), COSTS) for count in (calls, calls + more))
    assert many.cores >= few.cores and many.partitions >= few.partitions and many.kafka_disk_gb >= few.kafka_disk_gb
    for one, other in zip(few.stages, many.stages, strict=True):
        assert other.workers >= one.workers
        assert one.cores <= one.workers * Demand(1).utilisation + 1e-3, "no worker is fuller than was asked"
        assert one.workers <= few.partitions


def test_without_pictures_nobody_looks() -> None:
    assert need(Demand(calls=3), "look").workers == 0


def test_what_was_not_measured_is_named_and_counted_as_nothing() -> None:
    costs = msgspec.structs.replace(COSTS, figures={**COSTS.figures, "fuse_cpu_s": Figure(None, ""), "hear_cpu_s": Figure(0.2, "", "preliminary")})
    found = size(Demand(calls=1), costs)
    assert found.not_measured == ("fuse_cpu_s",) and found.preliminary == ("hear_cpu_s",)


def test_every_figure_of_the_file_says_where_it_comes_from() -> None:
    measured = read()
    for name, figure in measured.figures.items():
        assert figure.command.startswith("python -m benchmarks."), name
        assert (figure.value is None) == (figure.status == "missing"), name
        assert figure.machine if figure.status == "measured" else figure.note or figure.status == "missing", name
    assert {f"{stage}_cpu_s" for stage in STAGES} <= set(measured.figures)
    assert set(sizing.STAGES) == set(STAGES)


def test_media_times_are_those_of_the_code() -> None:
    from streams.ingest.gateway.assembler import BLOCK_MS
    from streams.stages.segment import RATE, WATERMARK_STEP_MS
    from streams.topology import Options

    assert (sizing.BLOCK_MS, sizing.WATERMARK_MS, sizing.PCM_RATE) == (BLOCK_MS, WATERMARK_STEP_MS, RATE)
    assert sizing.PROGRESS_MS == Options().fuse.progress_ms


def test_the_command_prints_a_table_and_for_machines_one_object() -> None:
    shown = CliRunner().invoke(command, ["--calls", "20"])
    assert shown.exit_code == 0 and "hear" in shown.output and "partitions: at least 8" in shown.output
    found = json.loads(CliRunner().invoke(command, ["--calls", "20", "--json"]).output)
    assert [stage["stage"] for stage in found["stages"]] == list(sizing.STAGES)


@pytest.mark.parametrize("content", ["", "{}", '{"format": 2, "figures": {}}', '{"format": 1, "figures": {"x": {"value": "much", "unit": ""}}}'])
def test_a_wrong_file_is_one_line(content: str, tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text(content)
    with pytest.raises(InputError, match="measurements"):
        read(tmp_path / "m.json")
    with pytest.raises(InputError, match="measurements"):
        read(tmp_path / "none.json")
