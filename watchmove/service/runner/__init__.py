"""What all steps share: signals, exit codes, logs, metrics, progress and scratch space."""
