"""Pipelines of transformers, by its names: one file for what reads photos, one for what reads texts."""

from .open import TASKS, pipeline

__all__ = ["TASKS", "pipeline"]
