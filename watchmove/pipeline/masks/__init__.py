"""From the frames of one shot to soft masks of what moves in them."""
