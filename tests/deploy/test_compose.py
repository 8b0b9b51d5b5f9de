"""compose.yaml: what it starts is what the command line accepts, and the published schema finds nothing wrong."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from jsonschema import Draft7Validator

from streams.topology import STAGES

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if str(service["image"]).startswith("affectstream:")]
Accept = Callable[[list[str], Mapping[str, str]], click.Context]


def test_the_published_schema_accepts_it(wheel: Callable[[str], zipfile.ZipFile]) -> None:
    schema = json.loads(wheel("docker-compose==1.29.2").read("compose/config/compose_spec.json"))
    problems = [f"{'.'.join(map(str, error.absolute_path))}: {error.message}" for error in Draft7Validator(schema).iter_errors(COMPOSE)]
    assert problems == []


@pytest.mark.parametrize("name", OURS)
def test_the_command_line_accepts_what_a_service_runs(name: str, accept: Accept) -> None:
    service = SERVICES[name]
    context = accept(service["command"], service.get("environment", {}))
    assert context.params.get("bootstrap") == "kafka:9092"


def test_every_stage_has_a_worker_and_all_agree_on_the_partitions(accept: Accept) -> None:
    stages, partitions = set(), set()
    for name in OURS:
        context = accept(SERVICES[name]["command"], SERVICES[name]["environment"])
        if context.info_name == "worker":
            stages |= set(context.params["stages"].split(","))
        if "partitions" in context.params:
            partitions.add(context.params["partitions"])
    assert stages == set(STAGES)
    assert len(partitions) == 1


def test_nothing_listens_beyond_loopback() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert ports and all(port.startswith("127.0.0.1:") for port in ports)


def test_published_ports_are_ports_that_the_service_listens_on() -> None:
    for name in OURS:
        for port in SERVICES[name].get("ports", ()):
            assert port.rpartition(":")[2] in SERVICES[name]["command"], f"{name} does not listen on {port}"


def test_the_dashboard_does_not_start_without_a_token() -> None:
    assert SERVICES["dashboard"]["environment"]["AFFECTSTREAM_DASHBOARD_TOKEN"].startswith("${DASHBOARD_TOKEN:?")


def test_every_image_has_a_version() -> None:
    for name, service in SERVICES.items():
        assert re.fullmatch(r"[^:]+:(?!latest$)[\w.-]+", service["image"]), f"{name}: {service['image']}"


def test_the_broker_is_the_version_that_the_tests_run_against() -> None:
    pom = (ROOT / "tests" / "kafka" / "pom.xml").read_text("utf-8")
    found = re.search(r"<artifactId>kafka_2\.13</artifactId>\s*<version>([\d.]+)</version>", pom)
    assert found and SERVICES["kafka"]["image"] == f"apache/kafka:{found[1]}"


def test_files_and_volumes_exist() -> None:
    declared = set(COMPOSE["volumes"])
    for service in SERVICES.values():
        for mount in service.get("volumes", ()):
            source = mount.split(":")[0]
            assert (ROOT / "deploy" / source).exists() if source.startswith(".") else source in declared
        if "build" in service:
            assert (ROOT / service["build"]["dockerfile"]).is_file()


def test_our_containers_hold_no_rights() -> None:
    for name in OURS:
        service = SERVICES[name]
        assert service["read_only"] and service["cap_drop"] == ["ALL"] and "no-new-privileges:true" in service["security_opt"]


def test_the_settings_of_the_gateway_are_settings_that_it_knows() -> None:
    from streams.commands.live import _settings

    settings = _settings(ROOT / "deploy" / "gateway.toml")
    assert settings.audit_log.startswith("/state/"), "the only folder that the container may write to"
    assert settings.token is None and not settings.vendors, "no secret and no statement about notice is made for the operator"
