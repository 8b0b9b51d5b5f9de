"""`affectstream shifts`: over a folder of results, in a table and as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from streams.cli import cli
from streams.egress.jsonl import JsonlWriter
from tests.fusion.test_precedence import call


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    for seed in range(4):
        with JsonlWriter(folder / f"call-{seed}" / "events.jsonl") as writer:
            for event in call(seed, cut_before_shift=0.8, cut_elsewhere=0.2):
                writer.write(event)
    return folder


def test_it_says_what_stands_before_turns_more_often_and_that_it_need_not_be_the_cause(results: Path) -> None:
    done = CliRunner().invoke(cli, ["shifts", str(results)], env={"COLUMNS": "160"})
    assert done.exit_code == 0, done.output
    line = next(row for row in done.output.splitlines() if "interruption" in row)
    assert "more often" in line and " of " in line and "need not be the cause" in done.output


def test_as_json_with_one_tone_and_another_window(results: Path) -> None:
    done = CliRunner().invoke(cli, ["shifts", str(results), "--into", "negative", "--window", "20", "--json"])
    told = json.loads(done.output)
    assert told["into"] == "negative" and told["window_ms"] == 20_000 and told["conversations"] == 4
    assert {k["kind"] for k in told["kinds"]} >= {"interruption", "silence", "loudness"}


def test_a_folder_without_results_is_named_with_its_cure(tmp_path: Path) -> None:
    from extractors.errors import InputError

    done = CliRunner().invoke(cli, ["shifts", str(tmp_path)])
    assert isinstance(done.exception, InputError) and "--out folder" in str(done.exception)
