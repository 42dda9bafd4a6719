"""The voice server: a WebSocket for voices, Gemini Live behind it, two tools, and everything told to Voicespan."""

from importlib.metadata import version

__version__ = version("voicespan")
