"""Motion segmentation in torch, a whole shot in batches; `cpu` holds its twin under the same file names."""
