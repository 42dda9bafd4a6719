"""The file `.env`, apart from the settings: every command reads it, and few need those."""

from __future__ import annotations

import os

from dotenv import dotenv_values


def read_dotenv() -> None:
    """Put the variables of `.env` in the working directory into the environment, where they are unset or empty there.

    Not only our own: OpenTelemetry and Langfuse read theirs from the environment.
    """
    for name, value in dotenv_values(".env").items():
        if value and not os.environ.get(name):
            os.environ[name] = value
