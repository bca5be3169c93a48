"""The science: arrays and local files in, arrays and local files out. Knows no bucket, cluster, metric or command line."""
