"""Pipelines of transformers, by its names: one file a task."""

from .image_to_text import TASKS, pipeline

__all__ = ["TASKS", "pipeline"]
