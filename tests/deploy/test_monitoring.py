"""Prometheus and Grafana: every metric is one that something really gives."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from streams.ingest.gateway.registry import Gateway
from streams.records import TOPICS
from streams.runtimes.kafka_config import WorkerConfig, group
from streams.runtimes.kafka_metrics import Telemetry
from streams.topology import TOPOLOGY

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
EXPORTER = {"kafka_consumergroup_lag", "kafka_consumergroup_current_offset", "kafka_topic_partition_current_offset", "kafka_brokers"}
"""Names that danielqsj/kafka-exporter documents."""
BOARD: dict[str, Any] = json.loads((DEPLOY / "grafana" / "dashboards" / "affectstream.json").read_text("utf-8"))
RULES = [rule for part in yaml.safe_load((DEPLOY / "prometheus" / "rules.yml").read_text("utf-8"))["groups"] for rule in part["rules"]]
EXPRESSIONS = [target["expr"] for panel in BOARD["panels"] for target in panel["targets"]] + [rule["expr"] for rule in RULES]
FUNCTIONS = {"sum", "by", "rate", "increase", "and", "up", "s", "m"}


def gateway_metrics() -> set[str]:
    """What /metrics can give: the gauges of an idle gateway, and every counter that its source counts."""
    gauges = {name for name in Gateway(None).status()}  # type: ignore[arg-type]
    source = "".join(file.read_text("utf-8") for file in (ROOT / "streams" / "ingest" / "gateway").glob("*.py"))
    return {f"affectstream_gateway_{name}" for name in gauges | set(re.findall(r'counters\["([a-z_]+)"\] \+=', source))}


def worker_metrics() -> set[str]:
    """What the page of a worker has from its first moment."""
    return set(re.findall(r"# TYPE (\w+)", Telemetry(tuple(spec.name for spec in TOPOLOGY)).metrics()))


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_metric_exists(expression: str) -> None:
    plain = re.sub(r"\{[^}]*\}|\[[^\]]*\]|by \([^)]*\)", "", expression)
    names = set(re.findall(r"[a-z_]{2,}", plain)) - FUNCTIONS
    assert names <= gateway_metrics() | worker_metrics() | EXPORTER, names
    assert names or "up{" in expression


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_consumer_group_and_topic_exists(expression: str) -> None:
    groups, topics = {group(spec, WorkerConfig()) for spec in TOPOLOGY}, {topic.name for topic in TOPICS}
    for operator, pattern in re.findall(r'consumergroup(=~?)"([^"]+)"', expression):
        assert any(re.fullmatch(pattern, name) if operator == "=~" else pattern == name for name in groups)
    for pattern in re.findall(r'topic=~?"([^"]+)"', expression):
        assert set(pattern.split("|")) <= topics


def _targets(job: dict[str, Any]) -> list[str]:
    named = [f"{name}:{found['port']}" for found in job.get("dns_sd_configs", ()) for name in found["names"]]
    return named + [target for static in job.get("static_configs", ()) for target in static["targets"]]


def test_every_worker_is_scraped_on_the_port_that_it_is_told_to_open() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))["services"]
    workers = {name: service["environment"] for name, service in services.items() if service.get("command", [""])[0] == "worker"}
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text("utf-8"))
    (job,) = [job for job in config["scrape_configs"] if job["job_name"] == "workers"]
    assert set(_targets(job)) == {f"{name}:{variables['AFFECTSTREAM_WORKER_METRICS_PORT']}" for name, variables in workers.items()}


def test_what_is_scraped_is_what_compose_runs() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))["services"]
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text("utf-8"))
    jobs = {job["job_name"]: _targets(job) for job in config["scrape_configs"]}
    assert {target.split(":")[0] for targets in jobs.values() for target in targets} <= set(services)
    assert set(re.findall(r'job="(\w+)"', " ".join(EXPRESSIONS))) <= set(jobs)
    assert all((DEPLOY / "prometheus" / name).is_file() for name in config["rule_files"])


def test_rules_say_what_to_do() -> None:
    assert len({rule["alert"] for rule in RULES}) == len(RULES)
    assert all(len(rule["annotations"]["summary"]) > 20 for rule in RULES)


def test_grafana_finds_its_source_and_its_board() -> None:
    source = yaml.safe_load((DEPLOY / "grafana" / "provisioning" / "datasources" / "prometheus.yml").read_text("utf-8"))["datasources"][0]
    provider = yaml.safe_load((DEPLOY / "grafana" / "provisioning" / "dashboards" / "affectstream.yml").read_text("utf-8"))["providers"][0]
    mounts = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))["services"]["grafana"]["volumes"]
    assert f"./grafana/dashboards:{provider['options']['path']}:ro" in mounts
    assert {panel["datasource"]["uid"] for panel in BOARD["panels"]} == {source["uid"]}
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])


def test_panels_do_not_lie_on_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & taken and place["x"] + place["w"] <= 24, panel["title"]
        taken |= cells
