"""Motion segmentation on a CPU, frame by frame; `device` has the same stages under the same file names."""
