"""Hostile clients, a hostile model and hostile HTTP, against real servers."""
