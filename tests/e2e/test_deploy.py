"""What is deployed, in the eyes of the tools that would deploy it. No Docker engine and no cluster is needed."""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from support.built import BUILT, binary
from support.collector import REPOSITORY

KUBERNETES = REPOSITORY / "deploy/kubernetes"
ALWAYS = {"app", "otel-collector", "collector-queue", "jaeger", "prometheus", "loki", "grafana"}


@pytest.fixture(scope="session")
def compose() -> Path:
    return binary("build-deploy-tools", *BUILT, "compose")


@pytest.fixture(scope="session")
def kustomize() -> Path:
    return binary("build-deploy-tools", *BUILT, "kustomize")


def services(compose: Path, *arguments: str) -> dict[str, Any]:
    """The stack as docker compose understands it; nothing that it warns of is let through."""
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}  # none of our variables
    command = [compose, "-f", "docker-compose.yml", *arguments, "config", "--format", "json"]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return dict(json.loads(done.stdout)["services"])


def test_docker_compose_takes_the_stack(compose: Path) -> None:
    assert set(services(compose)) == ALWAYS


def test_docker_compose_takes_langfuse_with_it(compose: Path) -> None:
    found = services(compose, "--profile", "langfuse")
    assert set(found) > ALWAYS
    assert "langfuse-web" in found


def test_docker_compose_refuses_what_is_wrong(compose: Path, tmp_path: Path) -> None:
    broken = tmp_path / "docker-compose.yml"
    broken.write_text("services: {app: {image: x, port: ['1:1']}}")
    done = subprocess.run([compose, "-f", broken, "config"], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "port" in done.stderr


def made(kustomize: Path, folder: Path) -> list[dict[str, Any]]:
    """What kustomize makes of a folder, each of it of Kubernetes' schema."""
    # The collector's configuration is the repository's own file, which lies above the folder.
    command = [kustomize, "build", "--load-restrictor", "LoadRestrictionsNone", folder]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    resources = list(yaml.safe_load_all(done.stdout))
    for resource in resources:
        kubernetes_validate.validate(resource, kubernetes_validate.latest_version(), strict=True)
    return resources


def test_what_kustomize_makes_is_of_kubernetes_schema(kustomize: Path) -> None:
    resources = made(kustomize, KUBERNETES)
    [config] = [r for r in resources if r["kind"] == "ConfigMap"]
    assert config["data"]["otel-collector.yaml"] == (REPOSITORY / "otel-collector.yaml").read_text()
    [gateway] = [r for r in resources if r["kind"] == "StatefulSet"]
    [mounted] = [v for v in gateway["spec"]["template"]["spec"]["volumes"] if v["name"] == "config"]
    # By the hash in its name: another configuration is another pod.
    assert mounted["configMap"]["name"] == config["metadata"]["name"]


def test_with_agents_the_servers_send_to_their_nodes_own(kustomize: Path) -> None:
    without, resources = made(kustomize, KUBERNETES), made(kustomize, REPOSITORY / "deploy/kubernetes-agents")
    assert len(resources) == len(without) + 3  # the agent, its service, its configuration
    [server] = [r for r in resources if r["kind"] == "Deployment"]
    [container] = server["spec"]["template"]["spec"]["containers"]
    told = {entry["name"]: entry.get("value") for entry in container["env"]}
    assert told["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://otel-agent:4318"
    [before] = [r for r in without if r["kind"] == "Deployment"]
    [before_container] = before["spec"]["template"]["spec"]["containers"]
    assert set(told) == {entry["name"] for entry in before_container["env"]}


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    hadolint = Path(sysconfig.get_path("scripts")) / "hadolint"
    if not hadolint.exists():
        pytest.skip("hadolint is only to be had for Linux on x86-64")
    done = subprocess.run(
        [hadolint, "deploy/app/Dockerfile"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")
