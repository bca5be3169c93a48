"""From a video file to decoded frames, and from frames to shots."""
