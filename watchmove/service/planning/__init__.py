"""Which videos a run extracts, and in which shards."""
