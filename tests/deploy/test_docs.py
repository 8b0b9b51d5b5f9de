"""Documents: generated parts are up to date, links lead somewhere, and commands in them are commands."""

from __future__ import annotations

import importlib.util
import re
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
import pytest

from streams.egress.field_docs import FIELD_DOCS

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(file for file in (ROOT / "docs").glob("*.md"))
MINE = [ROOT / "docs" / f"{name}.md" for name in ("guide", "fusion", "operations", "privacy", "sizing")]
by_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
Accept = Callable[[list[str], Mapping[str, str]], click.Context]


@pytest.fixture(scope="module")
def generate() -> Any:
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@by_page
def test_generated_parts_say_what_the_code_says(page: Path, generate: Any) -> None:
    assert page.read_text("utf-8") == generate.current(page), "run `python docs/generate.py`"


def test_the_event_reference_names_every_field(generate: Any) -> None:
    text = generate.events()
    assert all(f"| `{field}` |" in text for fields in FIELD_DOCS.values() for field in fields)


@by_page
def test_links_lead_to_documents_that_exist(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", MINE, ids=lambda page: page.stem)
def test_files_that_are_named_exist(page: Path) -> None:
    for name in re.findall(r"`((?:deploy|docs|fusion|streams|extractors|benchmarks|tests|samples)/[\w./-]+)`", page.read_text("utf-8")):
        assert (ROOT / name).exists(), name
    written = re.sub(r"<!-- generated: .*?<!-- end -->", "", page.read_text("utf-8"), flags=re.DOTALL)
    for name in re.findall(r"python -m benchmarks\.(\w+)", written):
        assert (ROOT / "benchmarks" / f"{name}.py").is_file(), name


def commands(page: Path) -> list[str]:
    blocks = re.findall(r"```console\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.removeprefix(".venv/bin/").startswith("affectstream ")]


@pytest.mark.parametrize("line", sorted({line for page in MINE for line in commands(page)}))
def test_commands_that_are_shown_are_accepted(line: str, accept: Accept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = [word for word in shlex.split(line)[1:] if word != "…"]
    (tmp_path / "results" / "call").mkdir(parents=True)
    for name in ("call.wav", "rules.yaml", "kafka.toml"):
        (tmp_path / name).write_text("")
    if words == ["replay", "--policy", "my-policy.toml"]:
        words += ["call.wav", "--out", "results"]
    accept(words, {})


@pytest.mark.parametrize("page", MINE, ids=lambda page: page.stem)
def test_options_that_are_named_exist(page: Path, accept: Accept) -> None:
    from streams.cli import COMMANDS, cli

    group = click.Context(cli)
    known = {"--help", "--build", "--alter", "--add-config", "--entity-type", "--entity-name", "--write", "--data"}  # of other programs
    for name in COMMANDS:
        command = cli.get_command(group, name)
        assert command is not None
        known |= {option for param in command.params for option in (*param.opts, *param.secondary_opts)}
    written = re.sub(r"<!-- generated: .*?<!-- end -->", "", page.read_text("utf-8"), flags=re.DOTALL)
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", written)) <= known
