"""Masks of local videos and frames: their files, and their quality where the truth is known."""
