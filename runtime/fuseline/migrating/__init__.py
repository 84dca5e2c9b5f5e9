"""Calls as they were written for transformers and optimum."""
