"""`python -m voicespan_simulator`."""

from voicespan_simulator.cli import main

if __name__ == "__main__":
    main()
