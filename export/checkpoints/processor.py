"""A checkpoint's image processor, from whichever of its files, and the preprocessor_config.json that is made of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fuseline.errors import ExportError
from fuseline.folders.processor_file import PLAIN, PROCESSOR_FILES, plain_config
from fuseline.inputs.images import ImageProcessor

from .checkpoint import Checkpoint


@dataclass(frozen=True)
class Processor:
    """How a checkpoint's photos are prepared. config: the plain file itself, or what is to be in it."""

    config: Path | Mapping[str, Any]
    prepare: ImageProcessor

    def text(self) -> bytes:
        """What the file is to hold."""
        if isinstance(self.config, Path):
            return self.config.read_bytes()
        return json.dumps(self.config, indent=2).encode() + b"\n"


def read_processor(checkpoint: Checkpoint, source: str | Path) -> Processor:
    """Raises ExportError if the checkpoint has none, FolderError for one that the runtime does not know."""
    files = {name: found for name in PROCESSOR_FILES if (found := checkpoint.json(name)) is not None}
    if not files:
        names = " or ".join(PROCESSOR_FILES)
        raise ExportError(f"{source} has no {names}, so how photos are to be prepared is not known")
    name, config = plain_config(files, checkpoint.config, checkpoint.path)
    prepare = ImageProcessor.from_config(config, str(checkpoint.path / name))
    file = checkpoint.file(PLAIN)
    return Processor(file if file is not None and config == files.get(PLAIN) else config, prepare)
