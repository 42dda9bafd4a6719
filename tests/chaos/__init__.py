"""Kills and outages under load, and whether anything was lost by them. `make chaos` runs all of it."""
