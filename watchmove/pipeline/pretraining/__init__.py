"""From a dataset of frames to a trained backbone."""
