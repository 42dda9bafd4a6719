"""The command `voicespan-simulator`, also where the extra it needs is not installed."""


def main() -> None:
    """Entry point."""
    try:
        from voicespan_simulator.cli import main as run  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise SystemExit(
            f"voicespan-simulator needs {error.name}, which is not installed: pip install 'voicespan[simulator]'"
        ) from None
    run()
