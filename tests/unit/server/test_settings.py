"""Settings: a wrong one is named in one line."""

import os
from pathlib import Path

import pytest

from voicespan_server.environment import read_environment
from voicespan_server.live import connect_to
from voicespan_server.settings import SettingsError, load_settings


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    for name in ("GEMINI_API_KEY", "GOOGLE_API_KEY", "GOOGLE_CLOUD_PROJECT", "LANGFUSE_PUBLIC_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(str(tmp_path))


def test_without_a_key_the_simulator_answers_and_with_one_gemini(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().chosen_backend == "simulator"
    monkeypatch.setenv("GEMINI_API_KEY", "AIza-test")
    settings = load_settings()
    assert settings.chosen_backend == "gemini"
    assert "AIza" not in repr(settings)


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("VOICESPAN_PORT", "eighty", "VOICESPAN_PORT"),
        ("VOICESPAN_PORT", "70000", "VOICESPAN_PORT"),
        ("VOICESPAN_BACKEND", "openai", "VOICESPAN_BACKEND"),
        ("VOICESPAN_BACKEND", "gemini", "GEMINI_API_KEY"),
        ("VOICESPAN_BACKEND", "vertex", "GOOGLE_CLOUD_PROJECT"),
        ("VOICESPAN_HELLO_TIMEOUT_S", "0", "VOICESPAN_HELLO_TIMEOUT_S"),
        ("LANGFUSE_PUBLIC_KEY", "pk-lf-1", "LANGFUSE_SECRET_KEY"),
        ("VOICESPAN_TRACE_SCOPE", "call", "VOICESPAN_TRACE_SCOPE"),
        ("VOICESPAN_PRICES", "cheap", "VOICESPAN_PRICES"),
        ("VOICESPAN_PRICES", '{"gemini-3.8-live": {"audio": 1}}', "the buckets are input_text"),
        ("VOICESPAN_PRICES", '{"gemini-3.8-live": {"input_audio": -1}}', "below zero"),
        ("VOICESPAN_PRICES", '{"gemini-3.8-live": {"input_audio": NaN}}', "finite"),
        ("VOICESPAN_IDLE_TIMEOUT_S", "inf", "finite"),
        ("VOICESPAN_STALL_AFTER_S", "1e300", "VOICESPAN_STALL_AFTER_S"),
        ("VOICESPAN_STORE_MAX_DAYS", "1e300", "VOICESPAN_STORE_MAX_DAYS"),
        ("VOICESPAN_MODEL", " ", "VOICESPAN_MODEL"),
        ("VOICESPAN_SIMULATOR_URL", "127.0.0.1:8443", "is no URL such as"),
        ("LANGFUSE_BASE_URL", "cloud.langfuse.com", "LANGFUSE_BASE_URL: is no URL such as"),
        ("GEMINI_API_KEY", "AIza\N{ZERO WIDTH SPACE}canary", "GEMINI_API_KEY: is no key"),
    ],
)
def test_a_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch, variable: str, value: str, told: str) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "canary" not in str(caught.value)


def test_an_empty_variable_is_an_unset_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOICESPAN_MODEL", "")
    monkeypatch.setenv("GEMINI_API_KEY", "")
    settings = load_settings()
    assert settings.model == "gemini-3.8-live"
    assert settings.chosen_backend == "simulator"


@pytest.mark.parametrize(
    ("given", "spared"),
    [
        ({}, "127.0.0.1,localhost,::1"),
        ({"NO_PROXY": "intern.example, localhost"}, "intern.example,localhost,127.0.0.1,::1"),
        ({"no_proxy": "a.example", "NO_PROXY": "b.example"}, "a.example,127.0.0.1,localhost,::1"),
    ],
)
def test_this_machine_is_reached_without_a_proxy(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], spared: str
) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, given.get(name, ""))
    read_environment()
    assert os.environ["no_proxy"] == spared
    read_environment()
    assert os.environ["no_proxy"] == spared


def test_a_user_without_a_home_has_a_store_where_docker_would_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    assert str(load_settings().store_path) == "/.local/share/voicespan/voicespan.db"


def test_an_address_of_ipv6_stands_in_brackets() -> None:
    assert load_settings(host="::1", port=8000).address == "http://[::1]:8000"


def test_nor_is_it_of_a_value_that_is_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("VOICESPAN_STORE=off\nVOICESPAN_VOICE=Kore\n")
    for name, value in {
        "BACKEND": " simulator ",
        "MAX_SESSIONS": " auto ",
        "TRACE_SCOPE": " turn",
        "BUDGET_SIMULATED": " true ",
        "DAY_BUDGET_USD": " ",
        "PRICES": " ",
        "STORE": " ",
    }.items():
        monkeypatch.setenv(f"VOICESPAN_{name}", value)
    monkeypatch.setenv("VOICESPAN_VOICE", "")
    read_environment()
    found = load_settings()
    assert (found.backend, found.max_sessions, found.trace_scope) == ("simulator", "auto", "turn")
    assert (found.budget_simulated, found.day_budget_usd, found.prices) == (True, None, {})
    assert (found.store, found.voice) == ("off", "Kore")


def test_space_around_a_value_is_none_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "AIza-test\n")
    monkeypatch.setenv("VOICESPAN_HOST", "127.0.0.1 ")
    settings = load_settings()
    assert settings.gemini_api_key
    assert settings.gemini_api_key.get_secret_value() == "AIza-test"
    assert settings.host == "127.0.0.1"


def test_a_path_may_begin_at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setenv("VOICESPAN_STORE_PATH", "~/calls.db")
    assert str(load_settings().store_path) == "/home/somebody/calls.db"


def test_a_dot_env_file_is_read_behind_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOICESPAN_VOICE", "")
    monkeypatch.setenv("VOICESPAN_MODEL", "gemini-3.1-flash-live-preview")
    Path(".env").write_text("VOICESPAN_VOICE=Kore\nVOICESPAN_MODEL=another\n")
    read_environment()
    assert load_settings().voice == "Kore"
    assert load_settings().model == "gemini-3.1-flash-live-preview"


def test_a_dot_env_file_that_is_no_utf_8_is_named() -> None:
    Path(".env").write_text("VOICESPAN_VOICE=Kore\n", encoding="utf-16")  # as PowerShell's > writes it
    with pytest.raises(SettingsError, match=r"/\.env cannot be read: it is no text in UTF-8"):
        read_environment()


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "many", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT='many' must be a whole number"),
        ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "-1", "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT='-1' must be a whole number"),
        ("OTEL_SPAN_EVENT_COUNT_LIMIT", "unset", "OTEL_SPAN_EVENT_COUNT_LIMIT='unset' must be a whole number"),
        ("OTEL_PROPAGATORS", "tracecontext, b5", "there is no 'b5' here, but baggage, none, tracecontext"),
        ("OTEL_PROPAGATORS", "tracecontext,", "there is no '' here"),
    ],
)
def test_what_opentelemetry_could_not_be_imported_with_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=told):
        read_environment()


def test_a_simulator_that_nobody_started_is_asked_for() -> None:
    with pytest.raises(SettingsError, match="VOICESPAN_SIMULATOR_URL"):
        connect_to(load_settings())


@pytest.mark.parametrize("path", ["no-such.pem", "empty.pem"])
def test_a_simulators_certificate_that_cannot_be_read_is_named(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    Path("empty.pem").touch()
    monkeypatch.setenv("VOICESPAN_SIMULATOR_URL", "https://127.0.0.1:9")
    monkeypatch.setenv("VOICESPAN_SIMULATOR_CA_FILE", path)
    with pytest.raises(SettingsError, match=f"VOICESPAN_SIMULATOR_CA_FILE='{path}' cannot be read"):
        connect_to(load_settings())


@pytest.mark.parametrize(
    ("environ", "provider", "host"),
    [
        ({"GEMINI_API_KEY": "k"}, "gcp.gemini", "generativelanguage.googleapis.com"),
        ({"GEMINI_API_KEY": "k", "VOICESPAN_BACKEND": "vertex"}, "gcp.vertex_ai", "aiplatform.googleapis.com"),
    ],
)
def test_the_model_knows_who_serves_it(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], provider: str, host: str
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    model = connect_to(load_settings()).model
    assert (model.name, model.provider, model.server_port) == ("gemini-3.8-live", provider, 443)
    assert str(model.server_address).endswith(host)
    assert model.prices is not None


def test_own_prices_go_before_the_list_and_name_their_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "AIza-test")
    monkeypatch.setenv("VOICESPAN_PRICES", '{"gemini-3.8-live": {"input_audio": 2.5}}')
    upstream = connect_to(load_settings())
    assert upstream.model.prices is not None
    assert dict(upstream.model.prices.per_million) == {"input_audio": 2.5}
    assert upstream.model.prices.source == "settings"
    assert len(upstream.model.prices.version) == 12
    assert upstream.chat_model.prices is not None
    assert upstream.chat_model.prices.source == "genai-prices"
