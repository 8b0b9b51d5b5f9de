"""TLS and SASL: one description of how to reach a broker, for every client of the product.

The settings have the names that Python's Kafka clients give them and stand in a TOML file (`--kafka-config FILE`):

    security_protocol = "SASL_SSL"                    # PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL
    ssl_cafile = "ca.pem"                             # whom to trust; without it the system's authorities
    ssl_certfile = "client.pem"                       # client certificate, where the broker asks for one
    ssl_keyfile = "client.key"
    sasl_mechanism = "SCRAM-SHA-512"                  # PLAIN, SCRAM-SHA-256, SCRAM-SHA-512
    sasl_plain_username = "affectstream"
    sasl_plain_password_file = "password"             # or sasl_plain_password_env = "KAFKA_PASSWORD"

Files are looked for beside the TOML file. A password stands in a file or in the environment, never in the settings, and
is read when a connection is made.
"""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import os
import ssl
import time
import tomllib
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

from extractors.errors import InputError

OPTION = "--kafka-config"
SILENCE_S = 6.0
"""A broker that says nothing for so long is taken for gone by a process that wants to end."""
MEANING = {
    "security_protocol": "PLAINTEXT (default), SSL, SASL_PLAINTEXT or SASL_SSL: what the listener of the broker speaks",
    "ssl_cafile": "PEM file of the authorities to trust; without it those of the system",
    "ssl_certfile": "PEM file of the client's certificate, where the broker asks for one",
    "ssl_keyfile": "PEM file of its key, not encrypted, where it is not in the same file",
    "sasl_mechanism": "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512",
    "sasl_plain_username": "the user, for every mechanism",
    "sasl_plain_password_env": "environment variable that holds the password, or",
    "sasl_plain_password_file": "file that holds it",
}
_FILES = ("ssl_cafile", "ssl_certfile", "ssl_keyfile", "sasl_plain_password_file")


class Security(Struct, frozen=True, forbid_unknown_fields=True):
    """How a client proves who it is and what it trusts. The default is a broker that asks for nothing."""

    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    ssl_cafile: str | None = None
    ssl_certfile: str | None = None
    ssl_keyfile: str | None = None
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    sasl_plain_username: str | None = None
    sasl_plain_password_env: str | None = None
    sasl_plain_password_file: str | None = None

    @property
    def tls(self) -> bool:
        return self.security_protocol in ("SSL", "SASL_SSL")

    @property
    def sasl(self) -> bool:
        return self.security_protocol in ("SASL_PLAINTEXT", "SASL_SSL")

    def client(self) -> dict[str, Any]:
        """Keyword arguments of every aiokafka client. Raises `InputError` where a file or the password is not there."""
        if self.security_protocol == "PLAINTEXT":
            return {}
        settings: dict[str, Any] = {"security_protocol": self.security_protocol}
        if self.tls:
            settings["ssl_context"] = self._context()
        if self.sasl:
            settings |= {"sasl_mechanism": self.sasl_mechanism, "sasl_plain_username": self.sasl_plain_username, "sasl_plain_password": self._password()}
        return settings

    def credentials(self) -> Any:
        """The same as `broker_credentials` of a Faust application; None for a broker that asks for nothing."""
        from faust.auth import SASLCredentials, SSLCredentials

        if self.sasl:
            return SASLCredentials(
                username=self.sasl_plain_username, password=self._password(), mechanism=self.sasl_mechanism,
                ssl_context=self._context() if self.tls else None,
            )
        return SSLCredentials(self._context()) if self.tls else None

    def check(self, where: str) -> None:
        """Raises `InputError` where the settings contradict each other or something that they need is missing."""
        if self.sasl and not (self.sasl_mechanism and self.sasl_plain_username):
            raise InputError(f"{self.security_protocol} needs a user", where=where, cure="set sasl_mechanism and sasl_plain_username")
        if self.sasl and bool(self.sasl_plain_password_env) == bool(self.sasl_plain_password_file):
            raise InputError("the password is named twice or not at all", where=where, cure="set one of sasl_plain_password_env, sasl_plain_password_file")
        if not self.sasl and (self.sasl_mechanism or self.sasl_plain_username):
            raise InputError(f"security_protocol is {self.security_protocol}, which takes no user", where=where, cure='set security_protocol = "SASL_SSL"')
        if not self.tls and (self.ssl_cafile or self.ssl_certfile):
            raise InputError(f"security_protocol is {self.security_protocol}, which uses no certificate", where=where, cure="set SSL or SASL_SSL")
        if self.ssl_keyfile and not self.ssl_certfile:
            raise InputError("a key without its certificate", where=where, cure="set ssl_certfile")
        self.client()

    def _password(self) -> str:
        if self.sasl_plain_password_env:
            value = os.environ.get(self.sasl_plain_password_env)
            if not value:
                raise InputError("the password of the broker is not set", where=f"environment variable {self.sasl_plain_password_env}", cure="set it")
            return value
        path = Path(self.sasl_plain_password_file or "")
        try:
            return path.read_text("utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            what = getattr(error, "strerror", None) or "not UTF-8"
            raise InputError("the password of the broker cannot be read", where=f"{path}: {what}", cure="check sasl_plain_password_file") from error

    def _context(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=self.ssl_cafile)
            if self.ssl_certfile:
                # A key that is encrypted would be asked for on the terminal; a service has none.
                context.load_cert_chain(self.ssl_certfile, self.ssl_keyfile, password=_no_passphrase)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            where = ", ".join(file for file in (self.ssl_cafile, self.ssl_certfile, self.ssl_keyfile) if file)
            raise InputError(f"a certificate cannot be used: {_first_line(error)}", where=where, cure="give unencrypted PEM files") from error
        return context


def _no_passphrase() -> str:
    raise ValueError("the key is encrypted")


def load(file: Path) -> Security:
    """The checked settings in `file`. Raises `InputError`."""
    try:
        found = tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise InputError("the Kafka settings cannot be read", where=f"{file}: {error.strerror}", cure=f"check {OPTION}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError("the Kafka settings are not TOML", where=f"{file}: {error}", cure='for example: security_protocol = "SSL"') from error
    known = Security.__struct_fields__
    for name in found:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            cure = f"did you mean `{near[0]}`?" if near else f"known are {', '.join(known)}"
            if "password" in name:
                cure = "a password stands in a file or in the environment: sasl_plain_password_file, sasl_plain_password_env"
            raise InputError(f"unknown key `{name}`", where=str(file), cure=cure)
    for name in _FILES:
        if isinstance(found.get(name), str):
            found[name] = str(file.parent / Path(found[name]).expanduser())
    try:
        security = msgspec.convert(found, Security)
    except msgspec.ValidationError as error:
        raise InputError("the Kafka settings cannot be used", where=f"{file}: {error}", cure="see docs/operations.md") from error
    security.check(str(file))
    return security


async def reach(bootstrap: str, security: Security, patience: float = 30.0) -> None:
    """Returns when a broker answers; asks again for `patience` seconds, then raises `InputError`."""
    until = time.monotonic() + patience
    while (reason := await answer(bootstrap, security)) is not None:
        if time.monotonic() > until:
            raise InputError("no Kafka broker answers", where=reason, cure="start it, or correct --bootstrap")
        await asyncio.sleep(1.0)


async def silence(bootstrap: str, security: Security, seconds: float = SILENCE_S) -> None:
    """Returns when no broker has answered for `seconds`: for a process that ends and has something to say goodbye to."""
    heard = time.monotonic()
    while time.monotonic() - heard < seconds:
        with contextlib.suppress(InputError):
            if await answer(bootstrap, security, 2.0) is None:
                heard = time.monotonic()
        await asyncio.sleep(1.0)


async def answer(bootstrap: str, security: Security, timeout_s: float = 5.0) -> str | None:
    """Ask the brokers of `bootstrap` once, without a retry: None when one of them answers, else why none does.

    Raises `InputError` for what waiting does not mend: a wrong password, a certificate that is not trusted.
    """
    reason = "no address"
    for host, port in _addresses(bootstrap):
        try:
            async with asyncio.timeout(timeout_s):
                reason_here = await _ask(host, port, security)
        except TimeoutError:
            reason_here = "no answer"
        if reason_here is None:
            return None
        reason = f"{host}:{port}: {reason_here}"
    return reason


def _addresses(bootstrap: str) -> list[tuple[str, int]]:
    from aiokafka.conn import collect_hosts

    try:
        return [(host, port) for host, port, _ in collect_hosts(bootstrap)]
    except ValueError as error:
        raise InputError("this is no broker address", where=bootstrap, cure="give HOST:PORT, several with commas between") from error


async def _ask(host: str, port: int, security: Security) -> str | None:
    from aiokafka import errors
    from aiokafka.conn import create_conn
    from aiokafka.protocol.metadata import MetadataRequest

    where = f"{host}:{port}"
    connection: Any = None
    try:
        connection = await create_conn(host, port, **security.client())
        await connection.send(MetadataRequest([]))
    except ssl.SSLCertVerificationError as error:
        raise InputError(f"the broker's certificate is refused: {error.verify_message}", where=where, cure="check ssl_cafile, and the name in --bootstrap") from error
    except (errors.UnsupportedSaslMechanismError, errors.IllegalSaslStateError) as error:
        raise InputError(f"the broker does not take {security.sasl_mechanism}", where=where, cure="set the sasl_mechanism of its listener") from error
    except (errors.SaslAuthenticationFailed, errors.AuthenticationFailedError) as error:
        cure = "check sasl_plain_username, and the password in its file or variable"
        raise InputError(f"the broker refuses the user {security.sasl_plain_username}", where=where, cure=cure) from error
    except ValueError as error:  # aiokafka's check of what a SCRAM broker proves
        raise InputError(f"the broker does not know the password: {error}", where=where, cure="check the address and the password") from error
    except errors.KafkaConnectionError:
        return f"the connection is closed; where TLS, a certificate or a password is asked for, name it with {OPTION}"
    except (OSError, errors.KafkaError) as error:
        return _first_line(error)
    finally:
        if connection is not None:
            connection.close()
    return None


def _first_line(error: BaseException) -> str:
    if isinstance(error, ConnectionError) and error.errno:
        return os.strerror(error.errno)
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return text.splitlines()[0]
