"""Fast R-CNN on a pretrained trunk: proposals, training and testing."""
