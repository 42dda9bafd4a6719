"""OpenTelemetry-native observability for real-time voice AI.

The core needs `opentelemetry-api` alone; without an SDK it does nothing, at no cost. What is listed here is the
public API; the SDK side (store, sender, providers) is `voicespan.sdk.pipeline.configure`.
"""

from voicespan.attributes import Model
from voicespan.content import Capture, capture_from_environment
from voicespan.cost import prices_of
from voicespan.events import Close, Event, ToolOutcome
from voicespan.gemini import GeminiTranslator
from voicespan.gemini_json import GeminiJson
from voicespan.identity import Identity
from voicespan.lifecycle import Lifecycle
from voicespan.live_settings import LiveSettings, settings_from_environment
from voicespan.metrics import Metrics
from voicespan.session import VoiceSession
from voicespan.session_context import session_context
from voicespan.shape import TraceShape
from voicespan.start import Providers, in_tool, start_session
from voicespan.usage import Usage

__all__ = [
    "Capture",
    "Close",
    "Event",
    "GeminiJson",
    "GeminiTranslator",
    "Identity",
    "Lifecycle",
    "LiveSettings",
    "Metrics",
    "Model",
    "Providers",
    "ToolOutcome",
    "TraceShape",
    "Usage",
    "VoiceSession",
    "capture_from_environment",
    "in_tool",
    "prices_of",
    "session_context",
    "settings_from_environment",
    "start_session",
]
