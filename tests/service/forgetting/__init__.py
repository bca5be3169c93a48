"""Tests of the room forgetting."""
