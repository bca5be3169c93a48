"""The records in the store: their schemas, their keys, and how they are read and committed."""
