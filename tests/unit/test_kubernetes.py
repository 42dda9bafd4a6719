"""deploy/kubernetes, as far as it can be checked without a cluster."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from voicespan import conventions
from voicespan_server.access.keys import ApiKeys

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = REPOSITORY / "deploy/kubernetes"
KUSTOMIZATION: dict[str, Any] = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
AGENTS_FOLDER = REPOSITORY / "deploy/kubernetes-agents"
AGENTS: dict[str, Any] = yaml.safe_load((AGENTS_FOLDER / "kustomization.yaml").read_text())
RESOURCES: list[dict[str, Any]] = [
    document
    for file in (*(FOLDER / name for name in KUSTOMIZATION["resources"]), AGENTS_FOLDER / "agent.yaml")
    for document in yaml.safe_load_all(file.read_text())
]
COMPOSE: dict[str, Any] = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())["services"]
WORKLOADS = {each["metadata"]["name"]: each["spec"] for each in RESOURCES if "template" in each["spec"]}


def container(workload: str) -> dict[str, Any]:
    [found] = WORKLOADS[workload]["template"]["spec"]["containers"]
    return dict(found)


def environment(workload: str) -> dict[str, str | None]:
    return {entry["name"]: entry.get("value") for entry in container(workload)["env"]}


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda each: f"{each['kind']} {each['metadata']['name']}")
def test_a_resource_is_of_kubernetes_schema(resource: dict[str, Any]) -> None:
    kubernetes_validate.validate(resource, kubernetes_validate.latest_version(), strict=True)


def test_images_are_those_of_the_stack() -> None:
    assert container("voicespan")["image"] == COMPOSE["app"]["image"]
    for collector in ("otel-gateway", "otel-agent"):
        assert container(collector)["image"] == COMPOSE["otel-collector"]["image"]


def test_the_gateway_runs_the_repositorys_own_configuration() -> None:
    [config] = KUSTOMIZATION["configMapGenerator"]
    files = [(FOLDER / path).resolve() for path in config["files"]]
    assert files == [REPOSITORY / "otel-collector.yaml", REPOSITORY / "deploy/collector/gateway.yaml"]
    assert container("otel-gateway")["args"] == [f"--config=/etc/otelcol/{file.name}" for file in files]
    [mounted] = [v for v in WORKLOADS["otel-gateway"]["template"]["spec"]["volumes"] if v["name"] == "config"]
    assert mounted["configMap"]["name"] == config["name"]


@pytest.mark.parametrize(
    ("workload", "config"),
    [("otel-gateway", "otel-collector.yaml"), ("otel-agent", "deploy/collector/agent.yaml")],
)
def test_a_collector_is_told_nothing_that_it_does_not_read(workload: str, config: str) -> None:
    read = set(re.findall(r"\$\{env:([A-Z_]+)", (REPOSITORY / config).read_text()))
    assert set(environment(workload)) - read == {"GOMEMLIMIT"}
    assert [name for name, value in environment(workload).items() if value == ""] == []


def test_an_agent_runs_the_repositorys_own_configuration_and_sends_to_every_gateway() -> None:
    [config] = AGENTS["configMapGenerator"]
    assert [(AGENTS_FOLDER / path).resolve() for path in config["files"]] == [
        REPOSITORY / "deploy/collector/agent.yaml"
    ]
    assert AGENTS["resources"] == ["../kubernetes", "agent.yaml"]
    [gateway] = [each for each in RESOURCES if each["metadata"]["name"] == "otel-gateway-each"]
    assert gateway["spec"]["clusterIP"] == "None"
    assert environment("otel-agent")["OTELCOL_GATEWAY"] == "dns:///otel-gateway-each:4317"


def test_servers_are_as_many_as_calls_in_progress_ask_for() -> None:
    [scaler] = [each["spec"] for each in RESOURCES if each["kind"] == "HorizontalPodAutoscaler"]
    assert scaler["scaleTargetRef"]["name"] == "voicespan"
    assert "replicas" not in WORKLOADS["voicespan"]  # each apply would set it back
    [metric] = scaler["metrics"]
    assert metric["external"]["metric"]["name"] == conventions.METRIC_SESSIONS_ACTIVE.replace(".", "_")


def test_calls_may_end_before_the_pod_does() -> None:
    drain_s = int(environment("voicespan")["VOICESPAN_DRAIN_S"] or 0)
    # Counted from the beginning of preStop, in which the balancers learn of it.
    noticed_s = container("voicespan")["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert noticed_s >= 5
    assert WORKLOADS["voicespan"]["template"]["spec"]["terminationGracePeriodSeconds"] >= noticed_s + drain_s + 20


@pytest.mark.parametrize("workload", ["voicespan", "otel-gateway"])
def test_a_drained_node_takes_one_pod_at_a_time(workload: str) -> None:
    labels = WORKLOADS[workload]["selector"]["matchLabels"]
    budgets = [each["spec"] for each in RESOURCES if each["kind"] == "PodDisruptionBudget"]
    assert [b["maxUnavailable"] for b in budgets if b["selector"]["matchLabels"] == labels] == [1]


def test_servers_have_langfuses_keys_as_the_gateway_has() -> None:
    # Scores and feedback do not go through the collector.
    for name in ("LANGFUSE_BASE_URL", "LANGFUSE_PUBLIC_KEY", "LANGFUSE_SECRET_KEY"):
        assert name in environment("voicespan")
    assert environment("voicespan")["LANGFUSE_BASE_URL"] == environment("otel-gateway")["LANGFUSE_BASE_URL"]


def test_a_gateways_disk_holds_the_file_of_each_queue() -> None:
    collector = yaml.safe_load((REPOSITORY / "otel-collector.yaml").read_text())
    gateway = yaml.safe_load((REPOSITORY / "deploy/collector/gateway.yaml").read_text())
    exporters = [*collector["exporters"].values(), *gateway["exporters"].values()]
    files = sum("storage" in (each or {}).get("sending_queue", {}) for each in exporters)
    assert files == 2
    storage = collector["extensions"]["file_storage/queue"]["max_size"]
    [default] = re.findall(r":-(\d+)}", storage)
    [claim] = WORKLOADS["otel-gateway"]["volumeClaimTemplates"]
    assert int(claim["spec"]["resources"]["requests"]["storage"].removesuffix("Gi")) * 2**30 > files * int(default)


def test_a_server_that_others_reach_has_keys() -> None:
    assert '"--host", "0.0.0.0"' in (REPOSITORY / "deploy/app/Dockerfile").read_text()
    assert "VOICESPAN_API_KEYS" in environment("voicespan")
    [keys] = [entry for entry in COMPOSE["app"]["environment"] if entry.startswith("VOICESPAN_API_KEYS=")]
    default = re.search(r":-(.+)}$", keys)
    assert default
    assert len(ApiKeys.parse(default[1])) == 1


@pytest.mark.parametrize("workload", WORKLOADS)
def test_a_pod_is_not_root_and_writes_only_to_its_volumes(workload: str) -> None:
    assert WORKLOADS[workload]["template"]["spec"]["securityContext"]["runAsNonRoot"] is True
    assert container(workload)["securityContext"]["readOnlyRootFilesystem"] is True
    assert "memory" in container(workload)["resources"]["limits"]


def test_services_lead_to_pods_and_to_ports_that_they_have() -> None:
    pods = {
        str(spec["template"]["metadata"]["labels"]): {port["name"] for port in container(name)["ports"]}
        for name, spec in WORKLOADS.items()
    }
    services = [each["spec"] for each in RESOURCES if each["kind"] == "Service"]
    assert len(services) == 4
    for service in services:
        assert {port["targetPort"] for port in service["ports"]} <= pods[str(service["selector"])]
