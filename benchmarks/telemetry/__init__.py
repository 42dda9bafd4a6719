"""What instrumentation costs a program that talks to Gemini Live."""
