"""Tar shards of frames with masks, the table of their frames, and the order in which training reads them."""
