"""What a relay between a voice client and Gemini Live costs: `make bench-relay`."""
