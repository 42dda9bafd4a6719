"""`GET /v1/config`: the settings as this process has them, without secrets."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, Field, JsonValue, SecretStr

from voicespan.redaction import without_password
from voicespan_server import __version__
from voicespan_server.rest.common import DEFINED, GUARD, GUARDED, TheServer
from voicespan_server.settings import Settings

router = APIRouter(tags=["operations"], dependencies=GUARD, responses=GUARDED | DEFINED)

MASK = "********"


class Config(BaseModel):
    """The effective settings."""

    version: str
    backend: str = Field(description="What `auto` came to")
    open: bool = Field(description="Whether no API key is asked for")
    key_ids: list[str] = Field(description="The ids of the API keys; their secrets are nowhere to be read")
    settings: dict[str, JsonValue] = Field(description="By name, without the prefix VOICESPAN_; secrets are masked")


@router.get("/v1/config")
async def get_config(server: TheServer) -> Config:
    """The effective configuration."""
    return Config(
        version=__version__,
        backend=server.upstream.backend,
        open=server.door.open,
        key_ids=sorted(server.door.keys.ids),
        settings=shown(server.settings),
    )


def shown(settings: Settings) -> dict[str, JsonValue]:
    """The settings as they may be shown: a secret is set or not, and a URL has no password."""
    plain: dict[str, JsonValue] = settings.model_dump(mode="json")
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, SecretStr):
            plain[name] = MASK
        elif isinstance(value, str) and "://" in value:
            plain[name] = without_password(value)
    return plain
