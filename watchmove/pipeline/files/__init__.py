"""Files on a local disk: written whole or not at all, and weights as safetensors."""
