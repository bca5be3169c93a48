"""Runs what has a path on a GPU, compares it with the CPU, and prints a table: `python -m tests.bench.gpu_check`."""
