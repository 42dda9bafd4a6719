"""The voice server: a WebSocket for voices, Gemini Live behind it, two tools, and everything told to Voicespan."""


def __getattr__(name: str) -> str:
    # Looked up when asked for: the search among installed packages is a fifth of what --help takes.
    if name == "__version__":
        from voicespan.start import VERSION  # noqa: PLC0415 - one distribution, one version

        return VERSION
    raise AttributeError(name)
