"""What pretraining reads from the store and writes to it."""
