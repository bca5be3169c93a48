"""What all steps share: signals, exit codes, logs, metrics, progress, tables and scratch space."""
