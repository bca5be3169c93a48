"""Where the list of videos comes from: a folder or bucket, YFCC100M's metadata, or a list of one's own."""
