"""The certificate authorities that connections to the model trust."""

from __future__ import annotations

import os
import ssl
from functools import cache

import certifi

from voicespan_server.settings import Settings, SettingsError


@cache
def authorities() -> ssl.SSLContext:
    """The SDK's own choice for calls, read once for calls and chat: some 50 ms, in which other threads go on.

    Raises:
        SettingsError: what SSL_CERT_FILE names cannot be read.
    """
    file = os.environ.get("SSL_CERT_FILE") or certifi.where()
    try:
        return ssl.create_default_context(cafile=file, capath=os.environ.get("SSL_CERT_DIR"))
    except OSError as error:  # no such file, or none of certificates
        raise SettingsError(f"SSL_CERT_FILE={file!r} cannot be read: {error.strerror or error}") from error


def simulators_authority(settings: Settings) -> ssl.SSLContext:
    """The one that a simulator makes for itself.

    Raises:
        SettingsError: nobody says where the simulator is, or its certificate cannot be read.
    """
    file = settings.simulator_ca_file
    if not settings.simulator_url or file is None:
        raise SettingsError(
            "VOICESPAN_SIMULATOR_URL and VOICESPAN_SIMULATOR_CA_FILE say where the simulator is: set both, or none "
            "for `voicespan serve`, which starts one"
        )
    try:
        return ssl.create_default_context(cafile=str(file))
    except OSError as error:  # no such file, or none of certificates
        raise SettingsError(
            f"VOICESPAN_SIMULATOR_CA_FILE={str(file)!r} cannot be read: {error.strerror or error}"
        ) from None
