"""PASCAL VOC: annotations, result files, matching and average precision."""
