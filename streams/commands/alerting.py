"""Where alerts go from a command: webhooks, and on Kafka the topic `alerts`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import click

from streams.alerts.webhooks import WebhookSender
from streams.runtimes.kafka_security import Security

Command = TypeVar("Command", bound=Callable[..., Any])


def webhook_options(command: Command) -> Command:
    """`--webhook`, `--webhook-secret` and `--webhook-secret-file`; `sender_of` takes what they give."""
    for option in (
        click.option("--webhook-secret-file", type=click.Path(path_type=Path, dir_okay=False), help="File with the secret of the signature."),
        click.option("--webhook-secret", help="Secret of the signature (better in the environment, or in --webhook-secret-file)."),
        click.option("--webhook", multiple=True, metavar="URL", help="Send alerts there, signed with the secret (repeatable)."),
    ):
        command = option(command)
    return command


def sender_of(urls: tuple[str, ...], secret: str | None, file: Path | None) -> WebhookSender | None:
    """The sender to the receivers of an operator; None where there are none. Raises `InputError`."""
    from streams.alerts.webhooks import checked, secret_of

    if not urls:
        return None
    known = secret_of(secret, file)
    return WebhookSender([checked(url, known) for url in dict.fromkeys(urls)])


def kafka_parts(
    feed: Any, sender: WebhookSender | None, publisher: Any, bootstrap: str, namespace: str, security: Security, *, shown: bool = True,
) -> list[Coroutine[Any, Any, None]]:
    """What runs beside a server on Kafka: the log into `feed` where that is shown, alerts judged there onto the log, and alerts
    of the log, whoever judged them, to webhooks."""
    from streams.alerts.delivery import AlertDelivery
    from streams.subscriptions.log import LogFeed

    parts = [LogFeed(feed, bootstrap, namespace=namespace, security=security).run()] if shown else []
    if shown and publisher is not None:
        parts.append(publisher.run())
    if sender is not None:
        parts.append(AlertDelivery(sender, bootstrap, namespace=namespace, security=security).run())
    return parts


def told(task: asyncio.Task[None]) -> None:
    """Say in one line that a part has failed (for `Task.add_done_callback`)."""
    if not task.cancelled() and task.exception() is not None:
        click.echo(f"affectstream: the dashboard or its alerts stand still: {task.exception()}", err=True)
