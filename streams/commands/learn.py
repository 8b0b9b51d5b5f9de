"""`affectstream train` and `affectstream evaluate`: recipes and metrics through one harness."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from extractors.errors import InputError

TASKS = ("transcription", "speech-emotion", "text-emotion", "expression")


@click.command()
@click.argument("recipe")
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder with the corpora the recipe names.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="Where the weights (safetensors) go; the report goes beside them.",
)
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Seed of everything random; equal seeds give equal weights."
)
def train(recipe: str, data: Path, out: Path, seed: int) -> None:
    """Train the head RECIPE from corpora on this machine. `affectstream train list` names the recipes."""
    from fusion.training.recipes import RECIPES

    if recipe == "list":
        for name, function in sorted(RECIPES.items()):
            click.echo(f"{name:28} {(function.__doc__ or '').strip().splitlines()[0]}")
        return
    if recipe not in RECIPES:
        raise InputError(
            f"no recipe is called {recipe}", where="train", cure=f"use one of {', '.join(sorted(RECIPES))}"
        )
    report = RECIPES[recipe](data=data, out=out, seed=seed)
    report.render(Console())
    click.echo(report.to_json())


@click.command()
@click.argument("task", type=click.Choice(TASKS))
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), help="Folder of a corpus in its own layout.")
@click.option(
    "--manifest",
    type=click.Path(path_type=Path, dir_okay=False),
    help="CSV with a header; paths in it are relative to it.",
)
@click.option("--split", help="Only rows of this split.")
@click.option("--profile", default="bundled", show_default=True, help="Model profile.")
@click.option(
    "--json",
    "json_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write the JSON report to this file.",
)
@click.option("--limit", type=int, help="Only the first N rows.")
def evaluate(
    task: str,
    data: Path | None,
    manifest: Path | None,
    split: str | None,
    profile: str,
    json_file: Path | None,
    limit: int | None,
) -> None:
    """Measure TASK on labelled data: a table, groups, 95 % intervals, calibration; the last line is one JSON object."""
    from fusion.evaluation.tasks import evaluate as run

    if (data is None) == (manifest is None):
        raise InputError(
            "evaluate needs one source of data", where="evaluate", cure="give either --data DIR or --manifest FILE.csv"
        )
    report = run(task, data=data, manifest=manifest, split=split, profile=profile, limit=limit)
    report.render(Console())
    text = report.to_json()
    if json_file:
        json_file.write_text(text + "\n", "utf-8")
    click.echo(text)
