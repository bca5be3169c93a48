"""The drawn world: the embedded default input, of which every pixel's truth is known."""

from pipeline.drawn_video import DrawnVideo, moving_square

__all__ = ["DrawnVideo", "moving_square"]
