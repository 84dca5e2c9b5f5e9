"""What a variant costs in quality: data sets, scores, intervals, and the gate that a new variant must pass."""

from .evaluate import Evaluation, Scored, evaluate

__all__ = ["Evaluation", "Scored", "evaluate"]
