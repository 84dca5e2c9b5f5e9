"""Encoders: written in the words of graphs/graph.py where they can be, traced by torch where not."""
