"""From pairs of frames to dense optical flow, by DIS, a variational method or RAFT."""
