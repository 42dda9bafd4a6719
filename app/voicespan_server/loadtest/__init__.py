"""Paced callers against any server of `voice.v1`: how many it carries, and how it sounds when it carries them."""

from voicespan_server.loadtest.figures import Level, Report, Summary
from voicespan_server.loadtest.ramp import Plan, run

__all__ = ["Level", "Plan", "Report", "Summary", "run"]
