"""Models of transformers that read speech and write texts."""

from __future__ import annotations

from .registry import Task
from .whole_model import WholeModel


class SpeechToText(WholeModel):
    """What is particular is an encoder of speech, a decoder, and a registered subclass of one line."""

    task: Task = "automatic-speech-recognition"
