"""A shard of videos to committed frames: fetching, worker processes, and the device process."""
