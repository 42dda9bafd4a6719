"""The Grafana dashboards as code. `scripts/build-dashboards` writes their JSON."""
