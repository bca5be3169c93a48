"""Observation of runs in progress (status, pace, the Prometheus exporter), and checks of the place where they run."""
