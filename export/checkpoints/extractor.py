"""A checkpoint's feature extractor: how clips of speech are prepared, as preprocessor_config.json is to hold it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fuseline.errors import ExportError, shown
from fuseline.folders.processor_file import PLAIN

from .checkpoint import Checkpoint

WHISPER_FEATURES, SAMPLES = "WhisperFeatureExtractor", "Wav2Vec2FeatureExtractor"
_PROCESSOR, _SECTION = "processor_config.json", "feature_extractor"  # where transformers 5 writes it


def read_extractor(checkpoint: Checkpoint, source: str | Path) -> Mapping[str, Any]:
    """The configuration of the feature extractor. Raises ExportError where there is none, or one of another class."""
    config = checkpoint.json(PLAIN)
    if config is None:
        found = (checkpoint.json(_PROCESSOR) or {}).get(_SECTION)
        config = found if isinstance(found, dict) else None
    if config is None:
        raise ExportError(f"{source} has no {PLAIN}, so how speech is to be prepared is not known")
    kind = config.get("feature_extractor_type")
    if kind not in (WHISPER_FEATURES, SAMPLES):
        raise ExportError(
            f"{source} prepares speech by {shown(kind)}, which is not known; known are {WHISPER_FEATURES} and {SAMPLES}"
        )
    return config
