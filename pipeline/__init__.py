"""The science: arrays and local files in and out. Knows no bucket, cluster, metric or command line."""
