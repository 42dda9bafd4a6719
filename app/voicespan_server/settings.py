"""Settings: environment variables and `.env`. Own ones begin with VOICESPAN_; the standard ones keep their names."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings import SettingsError as UnreadableSetting

from voicespan.shape import TraceScope
from voicespan.usage import INPUT_BUCKETS, OUTPUT_BUCKETS
from voicespan_server.environment import SettingsError

__all__ = ["PREFIX", "Settings", "SettingsError", "load_settings", "variable_of"]

Backend = Literal["auto", "gemini", "vertex", "simulator"]

PREFIX = "VOICESPAN_"
INSTRUCTIONS = (
    "You are a friendly guide to Helsinki who talks to a person on the move. Answer in one or two short sentences. "
    "Use search_nearby to find places and navigate_to_location to start the way to one; say what you found."
)


def default_store_path() -> Path:
    """`voicespan.db` in the user's data directory."""
    try:
        home = Path.home()
    except RuntimeError:
        home = Path("/")  # as Docker has it: a container's user may have no name, and then no home
    data = os.environ.get("XDG_DATA_HOME") or home / ".local" / "share"
    return Path(data) / "voicespan" / "voicespan.db"


class Settings(BaseSettings):
    """Everything that can be set, with its default."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        extra="ignore",
        env_ignore_empty=True,
        str_strip_whitespace=True,
        # JSON, which limits and costs are told in, has no infinity.
        allow_inf_nan=False,
    )

    # the model
    backend: Backend = "auto"
    model: str = Field(default="gemini-3.8-live", min_length=1)
    chat_model: str = Field(default="gemini-3.8-flash", min_length=1)
    api_version: str = ""
    voice: str = ""
    instructions: str = INSTRUCTIONS
    gemini_api_key: SecretStr | None = Field(
        default=None, validation_alias=AliasChoices("GEMINI_API_KEY", "GOOGLE_API_KEY")
    )
    google_cloud_project: str | None = Field(default=None, validation_alias="GOOGLE_CLOUD_PROJECT")
    google_cloud_location: str = Field(default="us-central1", validation_alias="GOOGLE_CLOUD_LOCATION")
    simulator_url: str = ""
    simulator_ca_file: Path | None = None
    simulator_scenario: str = "demo"
    simulator_dialect: Literal["gemini", "vertex"] = "gemini"

    # the socket
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    hello_timeout_s: float = Field(default=5.0, gt=0)
    idle_timeout_s: float = Field(default=60.0, gt=0)
    max_session_s: float = Field(default=1800.0, gt=0)
    # Audio that waits for the model: what is older would only delay the answer.
    max_uplink_ms: int = Field(default=1000, ge=100)
    max_frame_bytes: int = Field(default=32_768, ge=640)
    max_image_bytes: int = Field(default=256 << 10, ge=1024)
    max_images_per_s: int = Field(default=1, ge=1)
    # How long a session waits for a client that was lost; 0 keeps none.
    resume_s: float = Field(default=30.0, ge=0)
    # Against proxies that reap what is silent; browsers answer by themselves. 0 sends none.
    ping_interval_s: float = Field(default=20.0, ge=0)
    drain_s: float = Field(default=0.0, ge=0)

    # who may call, and how much
    api_keys: SecretStr | None = None
    token_secret: SecretStr | None = Field(default=None, min_length=32)
    token_ttl_s: int = Field(default=300, ge=1, le=86_400)
    allowed_origins: str = ""
    trusted_proxies: str = ""
    max_sessions: Literal["auto"] | Annotated[int, Field(ge=0)] = "auto"
    max_sessions_per_key: int = Field(default=0, ge=0)
    new_sessions_per_minute_per_key: int = Field(default=0, ge=0)
    max_sessions_per_address: int = Field(default=100, ge=0)
    new_sessions_per_minute_per_address: int = Field(default=300, ge=0)
    # Times real time: what a client may send in the long run, and how many seconds of it at once.
    max_audio_speed: int = Field(default=4, ge=0)
    audio_burst_s: int = Field(default=10, ge=1)
    max_messages_per_s: int = Field(default=20, ge=0)
    session_budget_usd: float | None = Field(default=None, gt=0)
    key_day_budget_usd: float | None = Field(default=None, gt=0)
    day_budget_usd: float | None = Field(default=None, gt=0)
    budget_simulated: bool = False

    # the connection to the model
    setup_timeout_s: float = Field(default=15.0, gt=0)
    chat_timeout_s: float = Field(default=60.0, gt=0)
    # Without a frame of the service, not even a pong: pings go out every 20 s, and pongs were seen to take 30.
    dead_after_s: float = Field(default=60.0, ge=0)
    # For all attempts in a row to get a lost connection back.
    reconnect_budget_s: float = Field(default=30.0, ge=0)
    on_stall: Literal["reconnect", "tell"] = "reconnect"
    audio_during_tools: Literal["auto", "keep", "hold"] = "auto"

    # the tools' map
    places: Literal["embedded", "google", "osm"] = "embedded"
    google_maps_api_key: SecretStr | None = Field(default=None, validation_alias="GOOGLE_MAPS_API_KEY")
    google_places_url: str = "https://places.googleapis.com"
    google_routes_url: str = "https://routes.googleapis.com"
    photon_url: str = "https://photon.komoot.io"
    osrm_url: str = "https://routing.openstreetmap.de/routed-{profile}"

    # telemetry
    stall_after_s: float = Field(default=10.0, ge=0, le=86_400)
    trace_scope: TraceScope = "session"
    generation_spans: bool = False
    speech_spans: bool = False
    record_audio: Literal["off", "turns"] = "off"
    # US dollars per million tokens by model and usage bucket, in front of the price list that comes along.
    prices: dict[str, dict[str, float]] = Field(default_factory=dict)
    store: Literal["on", "off"] = "on"
    store_path: Path = Field(default_factory=default_store_path)
    store_max_mb: int = Field(default=512, ge=1)
    store_max_days: float = Field(default=30.0, gt=0, le=36_500)
    store_synchronous: Literal["NORMAL", "FULL"] = "NORMAL"
    langfuse_public_key: str | None = Field(default=None, validation_alias="LANGFUSE_PUBLIC_KEY")
    langfuse_secret_key: SecretStr | None = Field(default=None, validation_alias="LANGFUSE_SECRET_KEY")
    langfuse_base_url: str = Field(
        default="https://cloud.langfuse.com", validation_alias=AliasChoices("LANGFUSE_BASE_URL", "LANGFUSE_HOST")
    )
    # Where a browser finds Langfuse, if not where this server does: inside compose it has another name.
    langfuse_browser_url: str = ""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment alone: files are in it by `read_environment`, and to look for them takes as long again."""
        return init_settings, env_settings

    @field_validator(
        "simulator_url",
        "google_places_url",
        "google_routes_url",
        "photon_url",
        "osrm_url",
        "langfuse_base_url",
        "langfuse_browser_url",
    )
    @classmethod
    def _url(cls, url: str) -> str:
        if url and not re.fullmatch(r"https?://[^\s/]\S*", url):
            raise ValueError("is no URL such as https://host.example")
        return url

    @field_validator("gemini_api_key", "google_maps_api_key", "langfuse_secret_key")
    @classmethod
    def _key(cls, key: SecretStr | None) -> SecretStr | None:
        # A header of HTTP takes nothing else, and what is pasted may have what nobody sees.
        if key and not re.fullmatch(r"[!-~]*", key.get_secret_value()):
            raise ValueError("is no key: there are spaces, line breaks or other than ASCII characters in it")
        return key

    @field_validator("store_path")
    @classmethod
    def _home(cls, path: Path) -> Path:
        try:
            return path.expanduser()  # there is no shell before a `.env`
        except RuntimeError as error:
            raise ValueError(str(error)) from None

    @field_validator("prices")
    @classmethod
    def _known_buckets(cls, prices: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
        for model, buckets in prices.items():
            if unknown := buckets.keys() - {*INPUT_BUCKETS, *OUTPUT_BUCKETS}:
                known = ", ".join((*INPUT_BUCKETS, *OUTPUT_BUCKETS))
                raise ValueError(f"{model}: {', '.join(sorted(unknown))}: the buckets are {known}")
            if any(usd < 0 for usd in buckets.values()):
                raise ValueError(f"{model}: a price below zero")
        return prices

    @model_validator(mode="after")
    def _complete(self) -> Settings:
        if self.backend == "gemini" and not self.gemini_api_key:
            raise ValueError("VOICESPAN_BACKEND=gemini needs GEMINI_API_KEY")
        if self.backend == "vertex" and not (self.google_cloud_project or self.gemini_api_key):
            raise ValueError("VOICESPAN_BACKEND=vertex needs GOOGLE_CLOUD_PROJECT, or GEMINI_API_KEY in express mode")
        if self.places == "google" and not self.google_maps_api_key:
            raise ValueError("VOICESPAN_PLACES=google needs GOOGLE_MAPS_API_KEY")
        if bool(self.langfuse_public_key) != bool(self.langfuse_secret_key):
            raise ValueError("LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY go together: set both or neither")
        return self

    @property
    def address(self) -> str:
        """Where the server is, for a browser on this machine."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    @property
    def max_message_bytes(self) -> int:
        """The longest frame of a client: a picture in base64, or the longest text with every character escaped."""
        return max(self.max_frame_bytes, self.max_image_bytes * 4 // 3 + 1024, 128 << 10)

    @property
    def holds_audio_during_tools(self) -> bool:
        """Whether audio waits while a tool runs: 2.5's sessions were ended by audio that came in a blocking call."""
        if self.audio_during_tools == "auto":
            return "2.5" in self.model
        return self.audio_during_tools == "hold"

    @property
    def chosen_backend(self) -> Literal["gemini", "vertex", "simulator"]:
        """`auto` is gemini where there is a key, and the simulator where there is none."""
        if self.backend == "auto":
            return "gemini" if self.gemini_api_key else "simulator"
        return self.backend


def variable_of(name: str) -> str:
    """The environment variable of a setting; of several the first."""
    alias = Settings.model_fields[name].validation_alias
    if alias is None:
        return f"{PREFIX}{name.upper()}"
    return str(alias.choices[0] if isinstance(alias, AliasChoices) else alias)


def load_settings(**overrides: object) -> Settings:
    """Read the environment.

    Raises:
        SettingsError: naming the variable, its value's fault, and nothing secret.
    """
    try:
        return Settings(**overrides)  # type: ignore[arg-type]
    except UnreadableSetting:
        # The only one that is JSON; pydantic's message names no variable.
        raise SettingsError('VOICESPAN_PRICES is not JSON such as {"MODEL": {"input_audio": 3.0}}') from None
    except ValidationError as error:
        raise SettingsError("; ".join(_line(dict(fault)) for fault in error.errors())) from None


def _line(fault: dict[str, object]) -> str:
    location = fault.get("loc")
    name = str(location[0]) if isinstance(location, tuple) and location else ""
    message = str(fault.get("msg", "")).removeprefix("Value error, ")
    if not name:
        return message
    variable = name if name.isupper() else f"VOICESPAN_{name.upper()}"
    return f"{variable}: {message}"
