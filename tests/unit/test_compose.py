"""docker-compose.yml and what it mounts, as far as they can be checked without a Docker engine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
TEXT = (REPOSITORY / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
BUILDER = yaml.safe_load((REPOSITORY / "deploy/collector/builder.yaml").read_text())
PINNED = re.compile(r"^[a-z0-9./-]+:v?\d[\w.-]*\d[\w.-]*$|^[a-z0-9./-]+:RELEASE\.[\dTZ-]+$")
LANGFUSE = {"langfuse-web", "langfuse-gate", "langfuse-worker", "postgres", "clickhouse", "minio", "redis"}


def environment(service: str) -> dict[str, str | None]:
    """Of a service; None where the variable is passed on only if set."""
    given = SERVICES[service].get("environment", {})
    if isinstance(given, dict):
        return given
    pairs = (entry.partition("=") for entry in given)
    return {name: value if sign else None for name, sign, value in pairs}


def test_the_stack_is_complete_and_langfuse_is_a_choice() -> None:
    assert {name for name, service in SERVICES.items() if "langfuse" in service.get("profiles", [])} == LANGFUSE
    always = {"app", "otel-collector", "jaeger", "prometheus", "loki", "grafana"}
    assert always <= {name for name, service in SERVICES.items() if "profiles" not in service}


@pytest.mark.parametrize("name", SERVICES)
def test_images_are_pinned(name: str) -> None:
    assert PINNED.match(SERVICES[name]["image"])


@pytest.mark.parametrize("image", ["redis:7", "redis:latest", "redis", "redis:${TAG}"])
def test_what_is_not_pinned_is_seen(image: str) -> None:
    assert not PINNED.match(image)


def test_the_dockerfile_is_pinned_locked_and_not_root() -> None:
    dockerfile = (REPOSITORY / SERVICES["app"]["build"]["dockerfile"]).read_text()
    (base,) = re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)
    assert PINNED.match(base)
    assert "--require-hashes -r requirements.lock" in dockerfile
    assert re.search(r"^USER [1-9]\d+$", dockerfile, re.MULTILINE)
    ignored = (REPOSITORY / ".dockerignore").read_text().split()
    copied = [path for line in re.findall(r"^COPY (.+) \S+$", dockerfile, re.MULTILINE) for path in line.split()]
    assert len(copied) >= 7
    for path in copied:
        assert (REPOSITORY / path).exists(), path
        assert f"!{path}" in ignored, path


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_published_on_loopback_only(name: str) -> None:
    assert [port for port in SERVICES[name].get("ports", []) if not str(port).startswith("127.0.0.1:")] == []


def test_no_port_is_published_twice() -> None:
    published = [port.rsplit(":", 1)[0] for service in SERVICES.values() for port in service.get("ports", [])]
    assert sorted(published) == sorted(set(published))


@pytest.mark.parametrize("name", SERVICES)
def test_what_is_mounted_exists(name: str) -> None:
    for mount in SERVICES[name].get("volumes", []):
        source = mount.split(":")[0]
        if source.startswith("."):
            assert (REPOSITORY / source).exists(), source
        else:
            assert source in COMPOSE["volumes"]


def test_every_volume_is_used() -> None:
    used = {mount.split(":")[0] for service in SERVICES.values() for mount in service.get("volumes", [])}
    assert set(COMPOSE["volumes"]) <= used


@pytest.mark.parametrize("name", SERVICES)
def test_dependencies_exist_can_be_met_and_start_with_it(name: str) -> None:
    wanted = SERVICES[name].get("depends_on", {})
    for other in wanted:
        assert other in SERVICES
        if isinstance(wanted, dict) and wanted[other]["condition"] == "service_healthy":
            assert "healthcheck" in SERVICES[other], other
        # A service of a profile is not there for one that always starts.
        assert set(SERVICES[other].get("profiles", [])) <= set(SERVICES[name].get("profiles", []))


def test_the_collector_is_the_one_that_the_tests_run() -> None:
    assert SERVICES["otel-collector"]["image"].rsplit(":", 1)[1] == BUILDER["dist"]["version"]
    assert "./otel-collector.yaml:/etc/otelcol-contrib/config.yaml:ro" in SERVICES["otel-collector"]["volumes"]


def test_the_collector_is_told_nothing_that_it_does_not_read() -> None:
    read = set(re.findall(r"\$\{env:([A-Z_]+)", (REPOSITORY / "otel-collector.yaml").read_text()))
    assert set(environment("otel-collector")) - read == {"GOMEMLIMIT"}


def test_the_app_is_told_nothing_that_it_does_not_read() -> None:
    # The page is held to the code by a test of its own.
    read = set(re.findall(r"`([A-Z][A-Z_]+)`", (REPOSITORY / "docs/settings.md").read_text()))
    assert set(environment("app")) - read == set()


@pytest.mark.parametrize("name", SERVICES)
def test_what_runs_on_has_a_bound_on_its_memory(name: str) -> None:
    assert ("mem_limit" in SERVICES[name]) == ("restart" in SERVICES[name])


@pytest.mark.parametrize("name", SERVICES)
def test_no_default_is_emptied(name: str) -> None:
    assert [key for key, value in environment(name).items() if value is not None and value.endswith(":-}")] == []


def test_env_example_explains_what_compose_reads() -> None:
    asked = set(re.findall(r"\$\{([A-Z_]+)", TEXT))
    asked |= {key for name in SERVICES for key, value in environment(name).items() if value is None}
    explained = set(re.findall(r"^#?([A-Z_]+)=", (REPOSITORY / ".env.example").read_text(), re.MULTILINE))
    assert asked - explained == set()
    assert explained - asked == set()


def test_a_secret_has_no_default_that_could_be_taken_for_a_real_one() -> None:
    defaults = re.findall(r"\$\{([A-Z_]*(?:SECRET|SALT|PASSWORD|KEY)[A-Z_]*):-([^}]*)\}", TEXT)
    harmless = {"admin", "0" * 64}
    assert defaults
    assert [(key, value) for key, value in defaults if "dev-only" not in value and value not in harmless] == []


def test_langfuse_is_initialised_with_the_keys_that_the_collector_uses() -> None:
    web = environment("langfuse-web")
    assert str(web["LANGFUSE_INIT_PROJECT_PUBLIC_KEY"]).startswith("${LANGFUSE_PUBLIC_KEY:-")
    assert str(web["LANGFUSE_INIT_PROJECT_SECRET_KEY"]).startswith("${LANGFUSE_SECRET_KEY:-")
    assert environment("langfuse-worker") == web
    assert re.fullmatch(r"\$\{LANGFUSE_ENCRYPTION_KEY:-[0-9a-f]{64}\}", str(web["ENCRYPTION_KEY"]))
    major, minor, _ = SERVICES["langfuse-web"]["image"].rsplit(":", 1)[1].split(".")
    assert (int(major), int(minor)) >= (4, 59)  # what version 5 of the Langfuse SDK needs
    assert SERVICES["langfuse-worker"]["image"].endswith(f":{major}.{minor}.0")


def test_prometheus_takes_otlp_and_loads_its_rules() -> None:
    flags = SERVICES["prometheus"]["command"]
    assert "--web.enable-otlp-receiver" in flags
    [features] = [flag.partition("=")[2].split(",") for flag in flags if flag.startswith("--enable-feature=")]
    # Without the second, a histogram that begins with a measurement has not grown.
    assert features == ["exemplar-storage", "created-timestamp-zero-ingestion"]
    config = yaml.safe_load((REPOSITORY / "deploy/prometheus/prometheus.yml").read_text())
    for path in config["rule_files"]:
        rules = yaml.safe_load((REPOSITORY / "deploy/prometheus" / Path(path).name).read_text())
        names = [rule["alert"] for group in rules["groups"] for rule in group["rules"]]
        assert len(names) == len(set(names)) > 0
    (target,) = config["scrape_configs"][0]["static_configs"][0]["targets"]
    assert target == "otel-collector:8888"


def test_what_is_shipped_is_what_the_tests_run() -> None:
    built = {
        "jaeger": ("deploy/jaeger/module/go.mod", r"jaegertracing/jaeger v1\.(\d+)\.0$", {"76": "2.13.0"}),
        "prometheus": ("deploy/prometheus/module/go.mod", r"prometheus/prometheus v0\.3(\d+)\.0$", {"16": "v3.16.0"}),
    }
    for service, (file, module, releases) in built.items():
        [minor] = re.findall(module, (REPOSITORY / file).read_text(), re.MULTILINE)
        assert SERVICES[service]["image"].rsplit(":", 1)[1] == releases[minor]


def test_jaeger_keeps_calls_and_no_traces_of_its_own_searches() -> None:
    config = yaml.safe_load((REPOSITORY / "deploy/jaeger/jaeger.yaml").read_text())
    kept = config["extensions"]["jaeger_storage"]["backends"]["memory"]["memory"]["max_traces"]
    assert SERVICES["jaeger"]["mem_limit"] == "2g"
    assert kept * 60 * 5_000 < 2 * 2**30  # spans of a call of five minutes, bytes of a span
    assert config["extensions"]["jaeger_query"]["enable_tracing"] is False


def test_grafanas_sources_are_services_of_the_stack() -> None:
    folder = REPOSITORY / "deploy/grafana/provisioning/datasources"
    sources = [s for file in folder.glob("*.yaml") for s in yaml.safe_load(file.read_text())["datasources"]]
    assert {source["type"] for source in sources} == {"prometheus", "jaeger", "loki"}
    uids = {source["uid"] for source in sources}
    for source in sources:
        assert source["url"].removeprefix("http://").split(":")[0] in SERVICES
        data = source["jsonData"]
        links = [*data.get("exemplarTraceIdDestinations", []), *data.get("derivedFields", [])]
        links += [data["tracesToLogsV2"]] if "tracesToLogsV2" in data else []
        for link in links:
            assert link.get("datasourceUid", "jaeger") in uids
