"""Shifts and alerts of a recording as files: the same in JSON Lines, Parquet, the summary and the report."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from fusion.preceding import conversation_figures
from fusion.shifts import Antecedent, EmotionShift, LastWords, Phase
from streams.cli import cli
from streams.egress.shift_files import _PHASE, _PRECEDED, _WORDS, lines, table_schema, write_table
from tests.streams.egress.scenario import support_call

SHIFTS = conversation_figures(support_call(), 600_000).shifts
CLIP = Path(__file__).parents[3] / "samples" / "composed_clip.mp4"


def test_the_table_and_the_lines_say_the_same(tmp_path: Path) -> None:
    told = [json.loads(line) for line in lines(SHIFTS, "call-1").splitlines()]
    rows = pq.read_table(write_table(SHIFTS, "call-1", tmp_path / "shifts.parquet")).to_pylist()
    assert len(told) == len(rows) == len(SHIFTS) > 3
    for line, row, shift in zip(told, rows, SHIFTS, strict=True):
        assert line["session"] == row["session"] == "call-1" and row["preceded_by"] == line["preceded_by"]
        assert row["last_words"] == line["last_words"] and row["before_label"] == line["before"]["label"] and row["after_valence"] == line["after"]["valence"]
        assert msgspec.convert({k: v for k, v in line.items() if k != "session"}, EmotionShift) == shift


def test_no_field_of_a_shift_is_missing_in_the_table() -> None:
    flat = {f"{side}_{name}" for side in ("before", "after") for name in Phase.__struct_fields__}
    assert set(table_schema().names) == ({"session"} | set(EmotionShift.__struct_fields__) | flat) - {"before", "after"}
    assert [name for name, _, _ in _PHASE] == list(Phase.__struct_fields__)
    assert {f.name for f in _PRECEDED.value_type} == set(Antecedent.__struct_fields__) and {f.name for f in _WORDS.value_type} == set(LastWords.__struct_fields__)


def test_a_recording_without_a_shift_gives_files_without_rows(tmp_path: Path) -> None:
    assert lines([], "x") == b"" and pq.read_table(write_table([], "x", tmp_path / "shifts.parquet")).num_rows == 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real replay with rules."""
    out = tmp_path_factory.mktemp("out")
    rules = out / "rules.yaml"
    rules.write_text("rules:\n  - name: delighted\n    when: {label: happiness, above: 0.5}\n  - name: furious\n    when: {label: anger, above: 0.95}\n")
    asked = ["replay", str(CLIP), "--channels", "mix=customer,video=customer", "--fps", "5", "--rules", str(rules), "--out", str(out), "--json"]
    done = CliRunner().invoke(cli, asked)
    assert done.exit_code == 0, done.output
    again = CliRunner().invoke(cli, [*asked, "--resume"])
    assert '"skipped": true' in again.output, "the same rules: nothing to do"
    rules.write_text("rules:\n  - name: sad\n    when: {label: sadness, above: 0.5}\n")
    again = CliRunner().invoke(cli, [*asked, "--resume"])
    assert '"skipped": true' not in again.output, "other rules: judged again"
    return out / "composed_clip"


def test_a_replay_with_rules_writes_alerts_and_shifts_and_draws_both(folder: Path) -> None:
    summary = json.loads((folder / "summary.json").read_text())
    alerts = [json.loads(line) for line in (folder / "alerts.jsonl").read_text().splitlines()]
    assert summary["alerts"] == len(alerts) == 1 and alerts[0]["rule"] == "sad" and alerts[0]["evidence"][0]["event"]
    shifts = [json.loads(line) for line in (folder / "shifts.jsonl").read_text().splitlines()]
    assert [{**s, "session": None} for s in shifts] == [{"session": None, **s} for s in summary["metrics"]["shifts"]]
    assert shifts[0]["after"]["label"] == "happiness" and shifts[0]["last_words"]
    page = (folder / "report.html").read_text()
    assert 'class="alertflag warning' in page and shifts[0]["text"] in page
