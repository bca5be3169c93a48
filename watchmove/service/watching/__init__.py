"""A run while it goes on: status, pace and the Prometheus exporter."""
