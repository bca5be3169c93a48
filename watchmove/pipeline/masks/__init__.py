"""From the frames of one shot to soft masks of its moving objects, on the CPU or in torch."""
