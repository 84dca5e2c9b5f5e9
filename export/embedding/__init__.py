"""embed(): a model as ONNX files in which the search is a part of the graphs, for hosts without Python.

`start` and `step`, between which a host loops, and one graph that does everything in a call. All three share one file
of weights. What the search does is said in fuseline.search; here it is said again in standard operators, and tests hold
the two together.
"""

from .write import EmbedReport, embed

__all__ = ["EmbedReport", "embed"]
