"""Motion segmentation in torch, a whole shot in batches; `cpu` has the same stages under the same file names."""
