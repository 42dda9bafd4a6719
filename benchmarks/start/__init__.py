"""How soon the command answers and the server is ready."""
