"""From a video to the frames that are kept, with their masks, and to the reasons for discarding the others."""
