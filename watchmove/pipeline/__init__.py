"""The science: arrays and local files in, arrays and local files out; no bucket, cluster, metric or command line."""
