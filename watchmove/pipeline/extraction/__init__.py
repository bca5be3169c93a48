"""Extraction from one video: the frames that are kept, their masks, and the reasons why other frames are discarded."""
