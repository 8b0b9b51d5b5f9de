"""Settings of the connection to a broker: what is refused, and that no password stands in them."""

from __future__ import annotations

import ssl
from pathlib import Path

import click
import pytest

from extractors.errors import InputError
from streams.cli import COMMANDS, cli
from streams.runtimes.kafka_config import WorkerConfig
from streams.runtimes.kafka_security import Security, load

USER = 'security_protocol = "SASL_PLAINTEXT"\nsasl_mechanism = "PLAIN"\nsasl_plain_username = "alice"\n'


def settings(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "kafka.toml"
    file.write_text(text)
    return file


def test_without_a_file_the_broker_is_spoken_to_in_plain_text() -> None:
    assert Security().client() == {} and Security().credentials() is None
    assert WorkerConfig().security == Security()


def test_an_empty_file_changes_nothing(tmp_path: Path) -> None:
    assert load(settings(tmp_path, "")) == Security()


def test_a_password_comes_from_a_file_beside_the_settings(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("hunter 2\n")
    security = load(settings(tmp_path, USER + 'sasl_plain_password_file = "password"'))
    assert security.client()["sasl_plain_password"] == "hunter 2"
    assert security.credentials().password == "hunter 2"
    assert "hunter" not in repr(security)


def test_a_password_comes_from_the_environment_and_is_read_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_PASSWORD", "first")
    security = load(settings(tmp_path, USER + 'sasl_plain_password_env = "KAFKA_PASSWORD"'))
    monkeypatch.setenv("KAFKA_PASSWORD", "second")
    assert security.client()["sasl_plain_password"] == "second"


def test_tls_without_a_named_authority_trusts_the_system_and_checks_names(tmp_path: Path) -> None:
    context = load(settings(tmp_path, 'security_protocol = "SSL"')).client()["ssl_context"]
    assert context.verify_mode is ssl.CERT_REQUIRED and context.check_hostname


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("security.protocol = 'SSL'", "unknown key `security`"),
        ("sasl_mechanisms = 'PLAIN'", "did you mean `sasl_mechanism`?"),
        ("sasl_plain_password = 'x'", "a password stands in a file or in the environment"),
        ("security_protocol = 'TLS'", "Invalid enum value 'TLS'"),
        ("security_protocol = ", "not TOML"),
        ("security_protocol = 'SASL_SSL'", "needs a user"),
        (USER, "named twice or not at all"),
        (USER + "sasl_plain_password_file = 'a'\nsasl_plain_password_env = 'B'", "named twice or not at all"),
        (USER + "sasl_plain_password_file = 'nowhere'", "No such file"),
        (USER + "sasl_plain_password_env = 'NOT_SET_HERE'", "environment variable NOT_SET_HERE"),
        ("sasl_plain_username = 'alice'", "takes no user"),
        ("ssl_cafile = 'ca.pem'", "uses no certificate"),
        ("security_protocol = 'SSL'\nssl_cafile = 'nowhere.pem'", "a certificate cannot be used: No such file"),
        ("security_protocol = 'SSL'\nssl_keyfile = 'client.key'", "a key without its certificate"),
    ],
)
def test_settings_that_cannot_work_are_refused_with_the_cure(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InputError) as refused:
        load(settings(tmp_path, text))
    assert said in str(refused.value) and "\n" not in str(refused.value)


def test_a_file_that_is_no_certificate_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("not a certificate")
    with pytest.raises(InputError, match="a certificate cannot be used"):
        load(settings(tmp_path, "security_protocol = 'SSL'\nssl_cafile = 'ca.pem'"))


def test_every_command_that_talks_to_a_broker_takes_the_settings() -> None:
    group = click.Context(cli)
    commands = {name: cli.get_command(group, name) for name in COMMANDS}
    options = {name: {param.name for param in command.params} for name, command in commands.items() if command}
    talking = {name for name, names in options.items() if "bootstrap" in names}
    assert {"worker", "gateway", "topics", "dashboard"} <= talking == {name for name, names in options.items() if "kafka_config" in names}
