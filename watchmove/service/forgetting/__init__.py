"""Removal of works, and of all that was derived from them, from a store."""
