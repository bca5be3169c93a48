"""Confidence intervals over seeds, and the forecast over dataset sizes."""
