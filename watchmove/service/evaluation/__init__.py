"""Inputs of evaluation from the store (detection set, proposals and trunks), and classification by layer."""
