"""The pipeline as a whole: real programs, seeded calls, ten incidents, and what the dashboards make of them."""
