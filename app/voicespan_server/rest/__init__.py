"""The REST API: a router for each of its subjects."""
