"""Files on a local disk: written complete or not at all, weights as safetensors, limits for reading untrusted ones."""
