"""What the exporter serves: complete readings of the records of a store, and the metrics that they give."""
