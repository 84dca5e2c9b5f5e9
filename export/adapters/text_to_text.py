"""Models of transformers that read texts and write texts."""

from __future__ import annotations

from .registry import Task
from .whole_model import WholeModel


class TextToText(WholeModel):
    """What is particular is an encoder of texts, a decoder, and a registered subclass of one line."""

    task: Task = "text2text-generation"
