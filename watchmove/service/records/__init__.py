"""The records in the store: their schema, their places, and how they are read and committed."""
