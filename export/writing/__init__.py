"""A folder written whole or not at all."""
