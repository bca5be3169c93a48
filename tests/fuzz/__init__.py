"""Fuzzing: damaged and unexpected inputs of every reader of untrusted data, made from seeds."""
