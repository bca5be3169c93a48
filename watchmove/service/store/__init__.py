"""One small interface over a folder and a bucket, and its implementations."""
