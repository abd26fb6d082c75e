"""Adapters merged into their base: as a whole model to keep, and as the voice that an installation starts with."""
