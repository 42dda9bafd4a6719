"""`python -m voicespan_simulator`."""

from voicespan_simulator.command import main

if __name__ == "__main__":
    main()
