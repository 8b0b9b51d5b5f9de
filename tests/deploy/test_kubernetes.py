"""Kubernetes manifests: published schemas, real commands, and what the parts must agree on."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from jsonschema import Draft7Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT7

from streams.runtimes.kafka_config import WorkerConfig, group
from streams.sizing import Demand, read, size
from streams.topology import STAGES

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "kubernetes"
VERSION = "1.33"
FILES = {file: list(yaml.safe_load_all(file.read_text("utf-8"))) for file in sorted(FOLDER.glob("*/*.yaml"))}
BASE = [manifest for file, manifests in FILES.items() if file.parent.name == "base" for manifest in manifests if manifest["kind"] != "Kustomization"]
Accept = Callable[[list[str], Mapping[str, str]], click.Context]


def of(kind: str) -> dict[str, dict[str, Any]]:
    return {manifest["metadata"]["name"]: manifest for manifest in BASE if manifest["kind"] == kind}


PODS = {name: manifest["spec"]["template"] for kind in ("Deployment", "Job") for name, manifest in of(kind).items()}


@pytest.fixture(scope="module")
def schemas(wheel: Callable[[str], zipfile.ZipFile]) -> Callable[[str], Any]:
    archive = wheel("kubernetes-validate==1.37.0")
    folder = f"kubernetes_validate/kubernetes-json-schema/v{VERSION}.0-local-strict"
    return lambda name: json.loads(archive.read(f"{folder}/{name}"))


@pytest.mark.parametrize("manifest", [m for m in BASE if m["kind"] != "ScaledObject"], ids=lambda m: f"{m['kind']}-{m['metadata']['name']}")
def test_the_published_schema_accepts_it(manifest: dict[str, Any], schemas: Callable[[str], Any]) -> None:
    place = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", manifest["apiVersion"])
    schema = schemas(f"{manifest['kind'].lower()}-{place}.json")
    definitions = Resource.from_contents(schemas("_definitions.json"), default_specification=DRAFT7)
    validator = Draft7Validator(schema, registry=Registry().with_resource("_definitions.json", definitions))
    assert [f"{error.json_path}: {error.message}" for error in validator.iter_errors(manifest)] == []


def test_the_published_schema_of_the_autoscaler_accepts_the_scaled_objects(node_package: Callable[[str], Path]) -> None:
    place = node_package("@kubernetes-models/keda@2.0.0")
    (place / "check.mjs").write_text("""
import { ScaledObject } from "@kubernetes-models/keda/keda.sh/v1alpha1";
import { readFileSync } from "fs";
const problems = [];
for (const one of JSON.parse(readFileSync(0, "utf8"))) try { new ScaledObject(one).validate(); } catch (e) { problems.push(e.message); }
console.log(JSON.stringify(problems));
""")
    scaled = list(of("ScaledObject").values())
    broken = {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "spec": {}}
    done = subprocess.run(["node", "check.mjs"], cwd=place, input=json.dumps([*scaled, broken]), capture_output=True, text=True, timeout=60, check=True)
    assert len(json.loads(done.stdout)) == 1, "only the broken one is refused"


@pytest.mark.parametrize("name", PODS)
def test_the_command_line_accepts_what_a_pod_runs(name: str, accept: Accept) -> None:
    environment = of("ConfigMap")["affectstream"]["data"]
    for container in PODS[name]["spec"]["containers"]:
        assert container["envFrom"] == [{"configMapRef": {"name": "affectstream"}}]
        assert accept(container["args"], environment).params["bootstrap"] == "kafka-bootstrap.kafka.svc:9092"


def test_the_gpu_overlay_changes_the_hear_workers_alone(accept: Accept) -> None:
    patch = FILES[FOLDER / "gpu" / "hear.yaml"][0]
    container = patch["spec"]["template"]["spec"]["containers"][0]
    assert patch["metadata"]["name"] == "hear" and container["name"] == PODS["hear"]["spec"]["containers"][0]["name"]
    context = accept(container["args"], of("ConfigMap")["affectstream"]["data"])
    assert context.params["stages"] == "hear" and context.params["device"] == "cuda"


def test_every_stage_has_a_deployment_a_scaler_and_a_budget() -> None:
    workers = {name for name, pod in PODS.items() if pod["metadata"]["labels"].get("app.kubernetes.io/component") == "worker"}
    assert workers == set(STAGES) == set(of("ScaledObject"))
    assert {*workers, "gateway"} == set(of("PodDisruptionBudget"))


@pytest.mark.parametrize("stage", STAGES)
def test_a_scaler_watches_the_topics_and_the_consumer_group_of_its_stage(stage: str) -> None:
    spec = of("ScaledObject")[stage]["spec"]
    data = of("ConfigMap")["affectstream"]["data"]
    assert spec["scaleTargetRef"]["name"] == stage
    assert spec["maxReplicaCount"] <= int(data["AFFECTSTREAM_WORKER_PARTITIONS"]), "more workers than partitions have nothing to do"
    assert tuple(trigger["metadata"]["topic"] for trigger in spec["triggers"]) == STAGES[stage].reads
    for trigger in spec["triggers"]:
        assert trigger["metadata"]["consumerGroup"] == group(STAGES[stage], WorkerConfig())
        assert trigger["metadata"]["bootstrapServers"] == data["AFFECTSTREAM_WORKER_BOOTSTRAP"]


def test_scalers_wait_about_as_long_as_the_sizing_says() -> None:
    """Thresholds are rounded by hand: within a factor of three of what is computed for a busy installation."""
    needs = {need.stage: need for need in size(Demand(calls=50, video_share=0.2), read()).stages}
    for stage, manifest in of("ScaledObject").items():
        total = sum(int(trigger["metadata"]["lagThreshold"]) for trigger in manifest["spec"]["triggers"])
        assert needs[stage].lag_threshold / 3 <= total <= needs[stage].lag_threshold * 3, f"{stage}: {total}, computed {needs[stage].lag_threshold}"


def test_the_dashboard_asks_for_its_token() -> None:
    (entry,) = PODS["dashboard"]["spec"]["containers"][0]["env"]
    assert entry["name"] == "AFFECTSTREAM_DASHBOARD_TOKEN" and "secretKeyRef" in entry["valueFrom"]


def test_topics_and_workers_agree() -> None:
    data = of("ConfigMap")["affectstream"]["data"]
    for setting in ("BOOTSTRAP", "PARTITIONS", "REPLICATION"):
        assert data[f"AFFECTSTREAM_TOPICS_{setting}"] == data[f"AFFECTSTREAM_WORKER_{setting}"]


@pytest.mark.parametrize("name", PODS)
def test_a_pod_holds_no_rights_and_asks_for_what_it_needs(name: str) -> None:
    spec = PODS[name]["spec"]
    assert spec["securityContext"]["runAsNonRoot"] and spec["automountServiceAccountToken"] is False
    mounts = {volume["name"] for volume in spec["volumes"]}
    for container in spec["containers"]:
        assert container["securityContext"] == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
        assert all("valueFrom" in entry for entry in container.get("env", ())), "secrets come from Secrets"
        assert {"cpu", "memory"} <= set(container["resources"]["requests"]) and "memory" in container["resources"]["limits"]
        assert {mount["name"] for mount in container["volumeMounts"]} <= mounts


@pytest.mark.parametrize("name", ["gateway", "dashboard"])
def test_what_takes_connections_is_probed_on_the_port_it_listens_on(name: str) -> None:
    container = PODS[name]["spec"]["containers"][0]
    ports = {port["name"]: str(port["containerPort"]) for port in container["ports"]}
    assert container["args"][container["args"].index("--port") + 1] == ports["http"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        check = container[probe].get("httpGet") or container[probe]["tcpSocket"]
        assert check["port"] == "http"
    service = of("Service")[name]["spec"]
    assert service["selector"] == {"app.kubernetes.io/name": name} and all(port["targetPort"] in ports for port in service["ports"])


@pytest.mark.parametrize("name", STAGES)
def test_a_worker_is_probed_and_read_on_the_port_that_it_is_told_to_open(name: str) -> None:
    data, pod = of("ConfigMap")["affectstream"]["data"], PODS[name]
    container = pod["spec"]["containers"][0]
    (port,) = container["ports"]
    assert str(port["containerPort"]) == data["AFFECTSTREAM_WORKER_METRICS_PORT"] == pod["metadata"]["annotations"]["prometheus.io/port"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"] == {"path": "/healthz", "port": port["name"]}
    (rule,) = of("NetworkPolicy")["workers"]["spec"]["ingress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": port["name"]}]


def test_the_health_probe_is_a_route_of_the_gateway() -> None:
    from streams.ingest.gateway.app import routes
    from streams.ingest.gateway.registry import Gateway

    paths = {getattr(route, "path", "") for route in routes(Gateway(None))}  # type: ignore[arg-type]
    container = PODS["gateway"]["spec"]["containers"][0]
    assert {container[probe]["httpGet"]["path"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")} <= paths


def test_by_default_nothing_comes_in_and_nothing_goes_out() -> None:
    policies = of("NetworkPolicy")
    assert policies["nothing"]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for name, policy in policies.items():
        selected = policy["spec"]["podSelector"].get("matchLabels", {}).items()
        assert any(selected <= pod["metadata"]["labels"].items() for pod in PODS.values()), f"{name} selects nobody"
        assert all(rule.get("from") or rule.get("to") for rule in policy["spec"].get("ingress", []) + policy["spec"].get("egress", []))


def added(manifest: dict[str, Any], patch: str) -> dict[str, Any]:
    """`manifest` with the additions of a JSON patch."""
    changed = copy.deepcopy(manifest)
    for step in yaml.safe_load(patch):
        *path, last = step["path"].removeprefix("/").split("/")
        place: Any = changed
        for part in path:
            place = place[int(part)] if isinstance(place, list) else place[part]
        assert step["op"] == "add"
        if isinstance(place, list):
            assert last == "-"
            place.append(step["value"])
        else:
            place[last] = step["value"]
    return changed


def test_the_overlay_for_tls_reaches_every_pod_and_every_trigger(accept: Accept, tmp_path: Path) -> None:
    patches = FILES[FOLDER / "tls" / "kustomization.yaml"][0]["patches"]
    changed: dict[tuple[str, str], dict[str, Any]] = {(m["kind"], m["metadata"]["name"]): m for m in BASE}
    for one in patches:
        target = one["target"]
        for kind, name in changed:
            if re.fullmatch(target["kind"], kind) and target.get("name", name) == name:
                changed[kind, name] = added(changed[kind, name], one["patch"])
    data = changed["ConfigMap", "affectstream"]["data"]
    for (kind, _), manifest in changed.items():
        if kind in ("Deployment", "Job"):
            spec = manifest["spec"]["template"]["spec"]
            (mount,) = [mount for mount in spec["containers"][0]["volumeMounts"] if mount["name"] == "kafka"]
            assert {"name": "kafka", "secret": {"secretName": "affectstream-kafka"}} in spec["volumes"]
            command = spec["containers"][0]["args"][0]
            assert data[f"AFFECTSTREAM_{command.upper()}_KAFKA_CONFIG"] == f"{mount['mountPath']}/kafka.toml"
        if kind == "ScaledObject":
            assert all(trigger["authenticationRef"] == {"name": "kafka"} and trigger["metadata"]["tls"] == "enable" for trigger in manifest["spec"]["triggers"])
    assert changed["NetworkPolicy", "broker"]["spec"]["egress"][1]["ports"] == [{"protocol": "TCP", "port": port} for port in (9092, 9093)]
    (tmp_path / "kafka.toml").write_text("")
    here = {key: str(tmp_path / "kafka.toml") if key.endswith("_KAFKA_CONFIG") else value for key, value in data.items()}
    for name in PODS:
        accept(PODS[name]["spec"]["containers"][0]["args"], here)  # a variable that names no option is refused


def test_the_kustomization_lists_every_file() -> None:
    for folder in ("base", "gpu", "tls"):
        kustomization = FILES[FOLDER / folder / "kustomization.yaml"][0]
        listed = {*kustomization["resources"], *(patch["path"] for patch in kustomization.get("patches", ()) if "path" in patch)}
        files = {file.name for file in (FOLDER / folder).glob("*.yaml")} - {"kustomization.yaml"}
        assert listed - {"../base"} == files
        for image in kustomization.get("images", ()):
            assert image["newTag"] != "latest"
