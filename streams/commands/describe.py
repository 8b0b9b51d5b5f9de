"""`affectstream schema` and `affectstream policy`: what the product promises, printed."""

from __future__ import annotations

import json
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table


@click.command()
@click.argument("what", type=click.Choice(["event"]), default="event")
def schema(what: str) -> None:
    """Print the JSON Schema (2020-12) of an emotion event: one line of events.jsonl."""
    from streams.egress.schema import schema as event_schema

    click.echo(json.dumps(event_schema(), indent=2, ensure_ascii=False))


@click.command()
@click.option(
    "--policy",
    "policy_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Policy file (TOML) to check and show; the built-in one otherwise.",
)
@click.option("--live", is_flag=True, help="Show the decisions for live calls, where notice has to be stated.")
def policy(policy_file: Path | None, live: bool) -> None:
    """Show who is analysed for what, and check a policy file.

    \b
    A policy file:
      observables_only = false      # true: measurements without any emotion label
      redact = ["card"]             # card, iban, phone, email, digits: replaced in transcripts
      [roles.customer]
      transcribe = true
      measure = true
      emotion = true
      [exception]                   # only with this may employees be emotion-analysed
      kind = "safety"               # or "medical"
      roles = ["employee"]
      justification = "..."
      operator = "..."
    """
    from streams.policy import ROLES, UNJOINED_FACES, decide, load
    from streams.records import Participant

    rules = load(policy_file)
    table = Table(title=f"Policy: {policy_file or 'built in'}{' (live, no notice stated)' if live else ''}")
    for column in ("role", "transcribed", "measured", "emotion", "reason"):
        table.add_column(column)
    for role in ROLES:
        decision = decide([Participant(role, role)], rules, live=live)
        mine = decision[role]
        emotion = "observables only" if mine.observables_only else "yes" if mine.emotion else "no"
        table.add_row(
            role,
            "yes" if mine.transcribe else "no",
            "yes" if mine.measure else "no",
            emotion,
            mine.exception or mine.reason,
        )
    Console().print(table)
    click.echo(
        f"Faces that belong to nobody declared ({UNJOINED_FACES}) are analysed only where everybody in the session may be."
    )
    click.echo(f"Replaced in transcripts: {', '.join(rules.redact) or 'nothing'}.")
