"""A broker that asks for TLS and a password: the whole way of a call through it, and what is said when something is wrong."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from extractors.errors import InputError
from streams.cli import COMMANDS, cli
from streams.commands.topics import topics
from streams.ingest.send import send
from streams.records import TOPICS
from streams.runtimes.kafka_security import load
from tests.integration import brokers
from tests.integration.harness import RATE, ROOT, Bench
from tests.integration.test_leaving import listening

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

PASSWORD = "a pass"
USERS = {"SCRAM-SHA-256": "carol", "SCRAM-SHA-512": "dave"}
PLAIN = 'org.apache.kafka.common.security.plain.PlainLoginModule required username="x" password="x" user_alice="{password}";'
SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
SETTINGS = """
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
listener.name.sasl_plaintext.plain.sasl.jaas.config={plain}
listener.name.sasl_plaintext.scram-sha-256.sasl.jaas.config={scram}
listener.name.sasl_plaintext.scram-sha-512.sasl.jaas.config={scram}
listener.name.sasl_ssl.plain.sasl.jaas.config={plain}
listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config={scram}
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config={scram}
ssl.keystore.type=PEM
ssl.keystore.location={folder}/server.pem
ssl.truststore.type=PEM
ssl.truststore.location={folder}/ca.pem
listener.name.ssl.ssl.client.auth=required
"""


@dataclass
class Guarded:
    """A broker with a listener of every kind; `open` is the one that asks for nothing, through which a test looks at it."""

    open: brokers.Broker
    ports: dict[str, int]
    folder: Path

    def at(self, protocol: str) -> str:
        return f"127.0.0.1:{self.ports[protocol]}"

    def settings(self, name: str, text: str) -> Path:
        file = self.folder / f"{name}.toml"
        file.write_text(text)
        return file


def certificates(folder: Path) -> None:
    """An authority, and certificates of a server and of a client that it signed, all for an hour or so."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=60)

    for authority in ("ca", "other"):
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{authority}.key", "-out", f"{authority}.pem", "-days", "1", "-subj", f"/CN={authority}")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    for name in ("server", "client"):
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "1", "-extfile", "names", "-out", f"{name}.crt")
    (folder / "server.pem").write_text((folder / "server.key").read_text() + (folder / "server.crt").read_text())


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl on this machine")
    folder = tmp_path_factory.mktemp("guarded")
    certificates(folder)
    (folder / "password").write_text(PASSWORD + "\n")
    ports = {protocol: brokers.free_port() for protocol in ("SASL_PLAINTEXT", "SASL_SSL", "SSL")}
    settings = SETTINGS.format(plain=PLAIN.format(password=PASSWORD), scram=SCRAM, folder=folder)
    scram = [f"{mechanism}=[name={user},password={PASSWORD}]" for mechanism, user in USERS.items()]
    try:
        context = brokers.kafka(folder, settings, listeners=ports, scram=scram)
        running = context.__enter__()
    except brokers.Unavailable as reason:
        pytest.skip(str(reason))
    try:
        yield Guarded(running, ports, folder)
    finally:
        context.__exit__(None, None, None)


def user(protocol: str, mechanism: str, name: str, more: str = 'sasl_plain_password_file = "password"\n') -> str:
    return f'security_protocol = "{protocol}"\nsasl_mechanism = "{mechanism}"\nsasl_plain_username = "{name}"\n{more}'


WAYS = {
    "plain": ("SASL_PLAINTEXT", user("SASL_PLAINTEXT", "PLAIN", "alice")),
    "scram-256": ("SASL_PLAINTEXT", user("SASL_PLAINTEXT", "SCRAM-SHA-256", "carol")),
    "scram-512 and TLS": ("SASL_SSL", user("SASL_SSL", "SCRAM-SHA-512", "dave") + 'ssl_cafile = "ca.pem"\n'),
    "client certificate": ("SSL", 'security_protocol = "SSL"\nssl_cafile = "ca.pem"\nssl_certfile = "client.crt"\nssl_keyfile = "client.key"\n'),
}


@pytest.mark.parametrize("way", WAYS)
def test_topics_are_created_through_every_kind_of_listener(guarded: Guarded, way: str) -> None:
    protocol, text = WAYS[way]
    arguments = ["--bootstrap", guarded.at(protocol), "--kafka-config", str(guarded.settings("way", text)), "--namespace", f"{way.split()[0]}.", "--partitions", "1"]
    done = CliRunner().invoke(topics, arguments, catch_exceptions=False)
    assert done.exit_code == 0 and len(done.output.splitlines()) >= len(TOPICS)


def recording(place: Path) -> Path:
    """Three seconds of noise with two pauses of true silence: three words for the stages of the tests."""
    random = np.random.default_rng(3)
    samples = random.integers(-2000, 2000, 3 * RATE, dtype=np.int16)
    samples[RATE : RATE + 4000] = samples[2 * RATE : 2 * RATE + 4000] = 0
    file = place / "noise.wav"
    with wave.open(str(file), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes(samples.tobytes())
    return file


@pytest.mark.parametrize("way", ["scram-512 and TLS", "client certificate"])
async def test_a_call_goes_through_gateway_and_worker(guarded: Guarded, way: str, tmp_path: Path) -> None:
    protocol, text = WAYS[way]
    settings = guarded.settings("call", text)
    bench = Bench(guarded.open, tmp_path)
    try:
        bench.start_worker(bootstrap=guarded.at(protocol), security=load(settings))
        port, log = brokers.free_port(), tmp_path / "gateway.log"
        command = [sys.executable, "-m", "streams.cli", "gateway", "--bootstrap", guarded.at(protocol), "--kafka-config", str(settings),
                   "--namespace", bench.namespace, "--port", str(port)]
        with log.open("wb") as sink:
            gateway = subprocess.Popen(command, cwd=ROOT, stdout=sink, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True)
        bench.workers.append(gateway)
        await listening(port, gateway, log)
        report = await send(recording(tmp_path), f"ws://127.0.0.1:{port}/v1/ingest", speed=0.0, session="call")
        assert report.completed == 1, (report, log.read_text())
        await bench.wait_closed(["call"], 60)
        assert len((await bench.events())["call"]) == 3
    finally:
        bench.stop()
    assert [process.returncode for process in bench.workers] == [0, 0], bench.logs()


def refusal(command: str, bootstrap: str, settings: Path | None, *more: str) -> str:
    """The one line that `command` ends with."""
    group = cli.get_command(None, command)  # type: ignore[arg-type]
    assert group is not None and command in COMMANDS
    arguments = ["--bootstrap", bootstrap, *(["--kafka-config", str(settings)] if settings else []), *more]
    done = CliRunner().invoke(group, arguments)
    assert isinstance(done.exception, InputError), (done.output, done.exception)
    return str(done.exception)


MORE = {
    "topics": [], "worker": ["--stages", "fuse"], "gateway": ["--port", "0"], "dashboard": ["--port", "0"],
}


@pytest.mark.parametrize("command", MORE)
def test_a_wrong_password_is_one_line_with_the_cure(guarded: Guarded, command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WRONG", "not the password")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    for mechanism, name in (("PLAIN", "alice"), ("SCRAM-SHA-256", "carol")):
        text = user("SASL_PLAINTEXT", mechanism, name, 'sasl_plain_password_env = "WRONG"\n')
        line = refusal(command, guarded.at("SASL_PLAINTEXT"), guarded.settings("wrong", text), *MORE[command])
        assert line == f"the broker refuses the user {name} ({guarded.at('SASL_PLAINTEXT')}): check sasl_plain_username, and the password in its file or variable"


def test_the_exit_status_of_a_wrong_password_is_two(guarded: Guarded, tmp_path: Path) -> None:
    text = user("SASL_PLAINTEXT", "PLAIN", "alice", 'sasl_plain_password_env = "WRONG"\n')
    command = [sys.executable, "-m", "streams.cli", "worker", "--stages", "fuse", "--bootstrap", guarded.at("SASL_PLAINTEXT"),
               "--kafka-config", str(guarded.settings("status", text)), "--state-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "WRONG": "no"}, capture_output=True, text=True, timeout=90, check=False)
    lines = [line for line in done.stderr.splitlines() if "in the clear" not in line]
    assert done.returncode == 2 and len(lines) == 1 and lines[0].startswith("affectstream: the broker refuses the user alice"), done.stderr


def test_a_certificate_of_another_authority_is_refused(guarded: Guarded) -> None:
    settings = guarded.settings("other", 'security_protocol = "SSL"\nssl_cafile = "other.pem"\n')
    assert "the broker's certificate is refused: " in refusal("topics", guarded.at("SSL"), settings)


@pytest.mark.parametrize("protocol", ["SASL_PLAINTEXT", "SASL_SSL", "SSL"])
def test_a_client_that_names_nothing_is_told_what_may_be_asked_for(guarded: Guarded, protocol: str) -> None:
    line = refusal("topics", guarded.at(protocol), None)
    assert line.startswith("no Kafka broker answers (") and "--kafka-config" in line


def test_a_mechanism_that_the_broker_does_not_take_is_named(guarded: Guarded) -> None:
    text = user("SASL_PLAINTEXT", "PLAIN", "alice")
    line = refusal("topics", guarded.open.bootstrap, guarded.settings("open", text))
    assert "the broker does not take PLAIN" in line or "--kafka-config" in line


async def test_the_reader_of_events_takes_the_same_settings(guarded: Guarded) -> None:
    from streams.runtimes.kafka_client import EventReader

    protocol, text = WAYS["scram-512 and TLS"]
    security = load(guarded.settings("reader", text))
    reader = EventReader(guarded.at(protocol), namespace="reader.", **security.client())
    with pytest.raises(TimeoutError):  # it waits for events: the connection was accepted
        async with asyncio.timeout(3):
            async for _ in reader:
                pass
