"""The command line: `affectstream COMMAND`.

Exit status: 0 done, 1 an unexpected failure, 2 the user's input (one line: what, where, cure), 130 interrupted with
valid partial output. Settings: flags > environment (`AFFECTSTREAM_COMMAND_OPTION`) > `affectstream.toml` > defaults.
"""

from __future__ import annotations

import difflib
import importlib
import os
import sys
import tomllib
import traceback
from pathlib import Path
from typing import Any

import click

from extractors.errors import AffectstreamError, InputError

COMMANDS = {
    "replay": "streams.commands.replay",
    "models": "streams.commands.models",
    "schema": "streams.commands.describe",
    "policy": "streams.commands.describe",
    "doctor": "streams.commands.doctor",
    "train": "streams.commands.learn",
    "evaluate": "streams.commands.learn",
    "worker": "streams.commands.live",
    "gateway": "streams.commands.live",
    "send": "streams.commands.live",
    "asyncapi": "streams.commands.live",
    "dashboard": "streams.commands.serve",
    "alerts": "streams.commands.serve",
    "shifts": "streams.commands.shifts",
    "topics": "streams.commands.topics",
    "sizing": "streams.commands.sizing",
}
"""Command -> module that defines it under the same name; loaded when it is called, so that `--help` is quick."""


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(COMMANDS[cmd_name]), cmd_name)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], COMMANDS, 1)
            ctx.fail(
                f"no command is called {args[0]}"
                + (f": did you mean {near[0]}?" if near else f": use one of {', '.join(COMMANDS)}")
            )
        return super().resolve_command(ctx, args)


def _configured(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    """Read `--config` (or ./affectstream.toml) into the defaults of the commands; unknown keys are refused by name."""
    file = value or (Path("affectstream.toml") if Path("affectstream.toml").is_file() else None)
    if file is None:
        return None
    ctx.default_map = sections(file)
    return file


def sections(file: Path) -> dict[str, dict[str, Any]]:
    """The checked settings of a configuration file, by command. Raises `InputError` with the nearest known name."""
    try:
        found = tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise InputError("configuration cannot be read", where=f"{file}: {error.strerror}", cure="check --config") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(
            "configuration is not TOML", where=f"{file}: {error}", cure="sections are commands: [replay] fps = 5"
        ) from error
    return {name: _section(name, entries, file) for name, entries in found.items()}


def _section(name: str, entries: Any, file: Path) -> dict[str, Any]:
    if name not in COMMANDS or not isinstance(entries, dict):
        near = difflib.get_close_matches(name, COMMANDS, 1)
        raise InputError(
            f"unknown section [{name}]",
            where=str(file),
            cure=f"did you mean [{near[0]}]?" if near else "sections are command names",
        )
    command = getattr(importlib.import_module(COMMANDS[name]), name)
    known = {param.name or "": param for param in command.params}
    values = {}
    for key, value in entries.items():
        field = key.replace("-", "_")
        if field not in known:
            near = difflib.get_close_matches(field, known, 1)
            raise InputError(
                f"unknown key `{key}` in [{name}]",
                where=str(file),
                cure=f"did you mean `{near[0]}`?" if near else f"see `affectstream {name} --help`",
            )
        values[field] = value
    return values


@click.command(
    cls=_Commands,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "auto_envvar_prefix": "AFFECTSTREAM",
        "max_content_width": 110,
    },
)
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    callback=_configured,
    is_eager=True,
    expose_value=False,
    help="Settings in TOML, one section per command (default: ./affectstream.toml where there is one).",
)
@click.option("--debug", is_flag=True, help="Show the traceback of an unexpected failure.")
@click.version_option(package_name="affectstream", prog_name="affectstream")
@click.pass_context
def cli(ctx: click.Context, debug: bool) -> None:
    """Streaming speech-and-video emotion analytics: media in, timestamped emotion events with evidence out.

    Labels describe expression as perceived, not what a person feels.
    """
    ctx.obj = {"debug": debug}


def main(args: list[str] | None = None) -> None:
    """Run the command line and exit with its status."""
    arguments = sys.argv[1:] if args is None else args
    try:
        status = cli.main(arguments, prog_name="affectstream", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except AffectstreamError as error:
        click.echo(f"affectstream: {error}", err=True)
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        click.echo("affectstream: interrupted", err=True)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:  # the last line of defence: one line for the user, the traceback on request
        if "--debug" in arguments:
            traceback.print_exc()
        click.echo(
            f"affectstream: unexpected failure: {type(error).__name__}: {error} (run with --debug for the traceback)",
            err=True,
        )
        sys.exit(1)
    sys.exit(status if isinstance(status, int) else 0)


if __name__ == "__main__":
    main()
