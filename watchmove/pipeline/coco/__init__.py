"""Masks from COCO's annotations."""
