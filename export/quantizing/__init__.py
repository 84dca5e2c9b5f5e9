"""Smaller variants of a folder, with their price."""
