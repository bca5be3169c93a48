"""From pairs of frames to dense optical flow, by one of several methods."""
