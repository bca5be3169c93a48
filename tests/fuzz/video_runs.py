"""Several damaged videos of one format, for a test."""

from pathlib import Path

from tests.fuzz.videos import Find, check_video

SEEDS = range(6)
"""Inputs of each format that the tests try, which takes 2 minutes of one core; `make fuzz` tries others for an hour."""


def check_seeds(name: str, folder: Path) -> None:
    """Check the first inputs of a format. Raises Find, with the command that repeats the input."""
    for seed in SEEDS:
        try:
            check_video(name, seed, folder)
        except Find as find:
            raise Find(f"{name}, seed {seed}: {find}; repeat it with: make fuzz FORMAT={name} SEED={seed}") from find
