"""The certificate authorities that connections to Google trust."""

from __future__ import annotations

import os
import ssl
from functools import cache

import certifi

from voicespan_server.settings import SettingsError


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
