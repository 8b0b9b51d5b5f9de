"""Options of every command that talks to a Kafka broker."""

from __future__ import annotations

from pathlib import Path

import click

from streams.runtimes.kafka_security import OPTION, Security, load


def _security(_: click.Context, __: click.Parameter, file: Path | None) -> Security:
    return load(file) if file else Security()


bootstrap_option = click.option("--bootstrap", metavar="HOST:PORT[,…]", help="Kafka bootstrap servers.")
namespace_option = click.option("--namespace", default="", help="Stands in front of every topic and group name.")
kafka_config_option = click.option(
    OPTION, type=click.Path(path_type=Path, dir_okay=False), callback=_security,
    help="How the broker is reached, in TOML: security_protocol, certificates, SASL user and where its password is (default: plain text).",
)
"""Gives the command `kafka_config`: a `Security`, already checked."""
