"""Statistics of results: confidence intervals over seeds, and the forecast over dataset sizes."""
