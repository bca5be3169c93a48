"""The settings model, its presets and its reference table."""
