"""Measurements of what the package claims; not part of the package."""
