"""One video's way through the pipeline as a page without scripts, with pictures and an MP4 beside it."""
