"""Decoding and encoding of video files, and the division of a stream of frames into shots and windows."""
