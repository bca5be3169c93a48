"""Tar shards of frames with masks, and the order in which training reads them."""
