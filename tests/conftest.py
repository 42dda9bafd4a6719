"""Telemetry's own errors fail the tests instead of being swallowed."""

import os

from hypothesis import settings

os.environ["VOICESPAN_RAISE"] = "1"

# How long an example takes says how busy the machine is.
settings.register_profile("voicespan", deadline=None)
settings.load_profile("voicespan")
