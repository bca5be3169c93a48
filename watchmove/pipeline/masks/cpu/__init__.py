"""Motion segmentation on a CPU, frame by frame; `device` holds its twin under the same file names."""
