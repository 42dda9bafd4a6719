"""The way to the model: one google-genai client for the Developer API, Vertex or the simulator, and its Live setup."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from google import genai
from google.genai import types

from voicespan import Model, prices_of
from voicespan import conventions as c
from voicespan.cost import bare_name, override_of
from voicespan_server.authorities import authorities, simulators_authority
from voicespan_server.protocol import TurnTaking
from voicespan_server.settings import Settings
from voicespan_server.tools import declarations
from voicespan_server.upstream_leg import UpstreamLeg

# Gemini's pongs were measured at 8 to 30 s, so pings keep proxies from reaping the connection, and nobody waits for the
# pong: a stall is found by what is due, a dead connection by the silence of all (`dead_after_s`). Audio messages may
# pass websockets' default of 1 MiB, and a bounded receive queue would stop the socket's own housekeeping. A close that
# is not answered is over within a second.
SOCKET_OPTIONS: dict[str, Any] = {
    "ping_interval": 20,
    "ping_timeout": None,
    "max_queue": None,
    "max_size": 16 << 20,
    "compression": None,
    "create_connection": UpstreamLeg,
    "close_timeout": 0.8,
}
SIMULATOR_KEY = "simulator"
MANUAL = types.RealtimeInputConfig(automatic_activity_detection=types.AutomaticActivityDetection(disabled=True))


@dataclass(frozen=True, slots=True)
class Upstream:
    """A backend: the client that reaches it and who it is."""

    client: genai.Client
    backend: str
    model: Model
    chat_model: Model


def connect_to(settings: Settings) -> Upstream:
    """The client for the chosen backend. Reaches nothing yet.

    Raises:
        SettingsError: the simulator was chosen but nobody says where it is, or its certificate cannot be read.
    """
    backend = settings.chosen_backend
    client = genai.Client(**_client_arguments(settings))
    vertex = backend == "vertex" or (backend == "simulator" and settings.simulator_dialect == "vertex")
    options = client._api_client._http_options
    address = urlsplit(options.base_url or "")
    today = datetime.now(UTC).date()

    def model(name: str) -> Model:
        return Model(
            bare_name(name),
            c.PROVIDER_VERTEX if vertex else c.PROVIDER_GEMINI,
            address.hostname,
            address.port or 443,
            override_of(settings.prices, bare_name(name)) or prices_of(name, today),
        )

    return Upstream(client, backend, model(settings.model), model(settings.chat_model))


def _client_arguments(settings: Settings) -> dict[str, Any]:
    backend = settings.chosen_backend
    key = settings.gemini_api_key.get_secret_value() if settings.gemini_api_key else None
    if backend == "simulator":
        trust = simulators_authority(settings)
        return {
            "api_key": SIMULATOR_KEY,
            "vertexai": settings.simulator_dialect == "vertex",
            "http_options": types.HttpOptions(
                base_url=settings.simulator_url,
                api_version=settings.api_version or _default_version(settings.simulator_dialect),
                async_client_args={**SOCKET_OPTIONS, "ssl": trust, "verify": trust},
            ),
        }
    version = settings.api_version or _default_version(backend)
    options = types.HttpOptions(api_version=version, async_client_args=dict(SOCKET_OPTIONS))
    if backend == "gemini":
        trust = authorities()
        options.async_client_args = {**SOCKET_OPTIONS, "ssl": trust, "verify": trust}
        # Said outright: GOOGLE_GENAI_USE_VERTEXAI in the environment would turn it into the other one.
        return {"vertexai": False, "api_key": key, "http_options": options}
    if settings.google_cloud_project:
        return {
            "vertexai": True,
            "project": settings.google_cloud_project,
            "location": settings.google_cloud_location,
            "http_options": options,
        }
    return {"vertexai": True, "api_key": key, "http_options": options}


def _default_version(backend: str) -> str:
    """Stated, for the SDK's own default is v1, where the Live API's preview features are not."""
    return "v1beta1" if backend == "vertex" else "v1beta"


def live_config(settings: Settings, handle: str | None, turns: TurnTaking = "auto") -> types.LiveConnectConfig:
    """The setup of a Live session; with a handle it continues an earlier one.

    `turns` is "manual" where the client says when its user speaks, instead of the service's detector.
    """
    speech = None
    if settings.voice:
        speech = types.SpeechConfig(
            voice_config=types.VoiceConfig(prebuilt_voice_config=types.PrebuiltVoiceConfig(voice_name=settings.voice))
        )
    headers = {}
    if settings.chosen_backend == "simulator":
        headers = {"x-simulator-scenario": settings.simulator_scenario}
    return types.LiveConnectConfig(
        response_modalities=[types.Modality.AUDIO],
        system_instruction=settings.instructions,
        speech_config=speech,
        tools=[declarations()],
        input_audio_transcription=types.AudioTranscriptionConfig(),
        output_audio_transcription=types.AudioTranscriptionConfig(),
        session_resumption=types.SessionResumptionConfig(handle=handle),
        realtime_input_config=None if turns == "auto" else MANUAL,
        http_options=types.HttpOptions(headers=headers) if headers else None,
    )
