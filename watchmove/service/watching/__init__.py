"""Observation of runs in progress: status, pace and the Prometheus exporter."""
