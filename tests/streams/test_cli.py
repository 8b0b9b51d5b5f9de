"""The command line: help, settings and their precedence, one line per error."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


def run(*arguments: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    import os

    command = [sys.executable, "-m", "streams.cli", *arguments]
    root = str(Path(__file__).resolve().parents[2])
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": root, **environment},
        timeout=120,
    )


def test_help_lists_every_command_and_says_what_labels_mean() -> None:
    done = run("--help")
    assert done.returncode == 0 and "replay" in done.stdout and "not what a person feels" in done.stdout


def test_a_mistyped_command_names_the_nearest() -> None:
    done = run("repaly", "x")
    assert done.returncode == 2 and "did you mean replay" in done.stderr


def test_models_speaks_json() -> None:
    rows = json.loads(run("models", "--json").stdout)
    assert {"name", "licence", "commercial", "bytes", "place"} <= set(rows[0])


def test_unknown_settings_are_refused_by_name_with_the_nearest_known_one(tmp_path: Path) -> None:
    (tmp_path / "affectstream.toml").write_text("[replay]\nmodel_profil = 'fast'\n")
    done = run("replay", "x.wav", "--out", "o", cwd=tmp_path)
    assert done.returncode == 2 and "did you mean `model_profile`" in done.stderr and len(done.stderr.splitlines()) == 1
    (tmp_path / "affectstream.toml").write_text("[replai]\nfps = 3\n")
    assert "did you mean [replay]" in run("doctor", cwd=tmp_path).stderr


def test_flags_win_over_environment_over_file(tmp_path: Path) -> None:
    (tmp_path / "affectstream.toml").write_text("[replay]\nfps = 0.1\n")
    assert "fps" in run("replay", "x.wav", "--out", "o", cwd=tmp_path).stderr
    through = run("replay", "x.wav", "--out", "o", cwd=tmp_path, AFFECTSTREAM_REPLAY_FPS="5")
    assert "fps" not in through.stderr and through.returncode == 2
    assert (
        "fps" in run("replay", "x.wav", "--out", "o", "--fps", "0.2", cwd=tmp_path, AFFECTSTREAM_REPLAY_FPS="5").stderr
    )


@pytest.mark.parametrize(
    "flag", [["--speed", "fast"], ["--from", "1:xx"], ["--format", "docx"], ["--channels", "left=custmer"]]
)
def test_bad_flags_end_with_status_2_and_their_cure(tmp_path: Path, flag: list[str]) -> None:
    (tmp_path / "a.wav").write_bytes(b"")
    done = run("replay", "a.wav", "--out", "o", *flag, cwd=tmp_path)
    assert done.returncode == 2 and "Traceback" not in done.stderr


def test_an_unwritable_output_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run("replay", "a.wav", "--out", str(tmp_path / "file" / "deep"), cwd=tmp_path)
    assert done.returncode == 2 and "output folder cannot be written" in done.stderr


def test_schema_and_policy_print(tmp_path: Path) -> None:
    assert json.loads(run("schema").stdout)["$schema"].startswith("https://json-schema.org/draft/2020-12")
    assert "employees are not" in run("policy", COLUMNS="200").stdout
