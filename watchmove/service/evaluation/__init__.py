"""What evaluation reads from the store: detection set, proposals and trunks."""
