"""The drawn world: synthetic videos and detection images with exact ground truth."""
