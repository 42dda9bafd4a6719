"""The OTEL_EXPORTER_OTLP_* variables mean to our sender what they mean to the SDK's exporter."""

from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.util.re import parse_env_headers

from voicespan.sdk.endpoint import Endpoint, EndpointError, endpoint_from_environment

BASE = "OTEL_EXPORTER_OTLP_"


@pytest.mark.parametrize(
    "environ",
    [
        {BASE + "ENDPOINT": "http://collector:4318"},
        {BASE + "ENDPOINT": "http://collector:4318/"},
        {BASE + "ENDPOINT": "https://collector/base"},
        {BASE + "TRACES_ENDPOINT": "http://collector:4318/custom"},
        {BASE + "ENDPOINT": "http://other:4318", BASE + "TRACES_ENDPOINT": "http://collector:4318/v1/traces"},
        {BASE + "ENDPOINT": "http://c:4318", BASE + "HEADERS": "authorization=Basic%20abc,x-tenant=a"},
        {BASE + "ENDPOINT": "http://c:4318", BASE + "HEADERS": "a=b", BASE + "TRACES_HEADERS": "c=d"},
        {BASE + "ENDPOINT": "http://c:4318", BASE + "TIMEOUT": "3"},
        {BASE + "ENDPOINT": "http://c:4318", BASE + "TIMEOUT": "3", BASE + "TRACES_TIMEOUT": "7"},
    ],
)
def test_as_the_sdks_exporter_reads_them(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    ours = endpoint_from_environment(environ)
    theirs = OTLPSpanExporter()
    assert ours is not None
    assert ours.url == theirs._endpoint
    client = theirs._client
    assert ours.timeout_s == client._timeout
    assert {k: client._headers.get(k) for k in ours.headers} == dict(ours.headers)
    theirs.shutdown()


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {BASE + "ENDPOINT": ""},
        {BASE + "ENDPOINT": "http://c:4318", "OTEL_TRACES_EXPORTER": "none"},
        {BASE + "ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "true"},
    ],
)
def test_nothing_is_sent_where_nobody_asked(environ: dict[str, str]) -> None:
    assert endpoint_from_environment(environ) is None


def test_grpc() -> None:
    found = endpoint_from_environment({BASE + "ENDPOINT": "http://collector:4317", BASE + "PROTOCOL": "grpc"})
    assert found == Endpoint("collector:4317", "grpc", insecure=True)
    found = endpoint_from_environment({BASE + "ENDPOINT": "https://collector:4317", BASE + "PROTOCOL": "grpc"})
    assert found == Endpoint("collector:4317", "grpc")
    bare = {BASE + "ENDPOINT": "collector:4317", BASE + "PROTOCOL": "grpc", BASE + "INSECURE": "true"}
    assert endpoint_from_environment(bare) == Endpoint("collector:4317", "grpc", insecure=True)


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({BASE + "ENDPOINT": "ftp://x"}, BASE + "ENDPOINT"),
        ({BASE + "ENDPOINT": "nonsense"}, BASE + "ENDPOINT"),
        ({BASE + "TRACES_ENDPOINT": "http://"}, BASE + "TRACES_ENDPOINT"),
        ({BASE + "ENDPOINT": "http://c:4318", BASE + "PROTOCOL": "http/json"}, BASE + "PROTOCOL"),
        ({BASE + "ENDPOINT": "http://c:4318", BASE + "TIMEOUT": "soon"}, BASE + "TIMEOUT"),
        ({BASE + "ENDPOINT": "http://c:4318", BASE + "TRACES_TIMEOUT": "0"}, BASE + "TRACES_TIMEOUT"),
        ({BASE + "ENDPOINT": "http://c:4318", BASE + "COMPRESSION": "zstd"}, BASE + "COMPRESSION"),
        ({BASE + "ENDPOINT": "http://c:4318", "OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER"),
        ({BASE + "ENDPOINT": "http://c:4318", BASE + "TIMEOUT": "inf"}, BASE + "TIMEOUT"),
        ({BASE + "ENDPOINT": "https://c:4318", BASE + "CERTIFICATE": "/no/such.pem"}, BASE + "CERTIFICATE"),
        ({BASE + "ENDPOINT": "https://c:4318", BASE + "CLIENT_KEY": "/"}, BASE + "CLIENT_KEY"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(environ: dict[str, str], named: str) -> None:
    with pytest.raises(EndpointError, match=named):
        endpoint_from_environment(environ)


@pytest.mark.parametrize(
    "endpoint",
    ["ftp://user:hunter2@c", "http://user:hunter2@c:port", "https://user:hunter2@[::1", "http://user:hunter2@c:0"],
)
def test_a_url_that_is_none_is_shown_without_its_password(endpoint: str) -> None:
    with pytest.raises(EndpointError) as raised:
        endpoint_from_environment({BASE + "ENDPOINT": endpoint})
    assert "hunter2" not in str(raised.value)
    assert "not an http or https URL" in str(raised.value)


@pytest.mark.parametrize(
    "headers",
    ["Authorization: Bearer canary", "a=b,canary", "=canary", "x=can;ary", 'x="canary"', "x=can\\ary", "x=canäry"],
)
def test_headers_that_cannot_be_read_are_named_and_not_told(headers: str, caplog: pytest.LogCaptureFixture) -> None:
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h", "OTEL_EXPORTER_OTLP_HEADERS": headers}
    with pytest.raises(EndpointError) as raised:
        endpoint_from_environment(environ)
    assert str(raised.value).startswith("OTEL_EXPORTER_OTLP_HEADERS is no list such as")
    assert "can" not in str(raised.value).removeprefix("OTEL_EXPORTER_OTLP_HEADERS") + caplog.text


@given(st.text(st.sampled_from('ab=, \t\n;:"\\%é'), max_size=20))
def test_what_opentelemetry_would_log_of_headers_is_refused_and_nothing_else(headers: str) -> None:
    with pytest.MonkeyPatch.context() as patched:
        logged = Mock()
        patched.setattr("opentelemetry.util.re._logger", logged)
        parse_env_headers(headers.strip(), liberal=True)
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h", "OTEL_EXPORTER_OTLP_HEADERS": headers}
    try:
        endpoint_from_environment(environ)
    except EndpointError:
        assert logged.warning.called
    else:
        assert not logged.warning.called
