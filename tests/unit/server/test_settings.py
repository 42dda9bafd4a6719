"""Settings: a wrong one is named in one line."""

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
    ],
)
def test_a_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch, variable: str, value: str, told: str) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_empty_variable_is_an_unset_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOICESPAN_MODEL", "")
    monkeypatch.setenv("GEMINI_API_KEY", "")
    settings = load_settings()
    assert settings.model == "gemini-3.8-live"
    assert settings.chosen_backend == "simulator"


def test_a_dot_env_file_is_read_behind_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    from pathlib import Path

    monkeypatch.setenv("VOICESPAN_VOICE", "")
    monkeypatch.setenv("VOICESPAN_MODEL", "gemini-3.1-flash-live-preview")
    Path(".env").write_text("VOICESPAN_VOICE=Kore\nVOICESPAN_MODEL=another\n")
    read_environment()
    assert load_settings().voice == "Kore"
    assert load_settings().model == "gemini-3.1-flash-live-preview"


def test_a_simulator_that_nobody_started_is_asked_for() -> None:
    with pytest.raises(SettingsError, match="VOICESPAN_SIMULATOR_URL"):
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
