"""The drawn world: synthetic videos, and images for detection, with exact ground truth."""
