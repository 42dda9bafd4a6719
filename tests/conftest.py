"""Telemetry's own errors fail the tests instead of being swallowed."""

import os

os.environ["VOICESPAN_RAISE"] = "1"
