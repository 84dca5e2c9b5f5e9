"""How a measurement lets a model read photos and texts: in which languages, and whether what is too long is cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from fuseline.errors import InputError
from fuseline.inputs.images import load_image
from fuseline.inputs.open import PhotoInputs
from fuseline.model import Model

Inputs = Mapping[str, npt.NDArray[Any]]  # what an encoder reads, by its names: [B, ...] each


@dataclass(frozen=True)
class Reading:
    """src_lang, tgt_lang: the languages of what is read and of what is said, as the model calls them; None for its own.
    truncation: whether a text that is too long is cut, else it is refused."""

    src_lang: str | None = None
    tgt_lang: str | None = None
    truncation: bool = False

    def check(self, model: Model) -> None:
        """Raises InputError for languages that the model does not know, and for any of this where it reads photos."""
        if isinstance(model.inputs, PhotoInputs):
            if self != Reading():
                raise InputError("this model reads photos, which have no languages and are not cut; leave these out")
            return
        for language in (self.src_lang, self.tgt_lang):
            if language is not None:
                model.inputs.tokenizer.language_token(language)

    def inputs(self, model: Model, given: Sequence[Path | str]) -> Inputs:
        """Of photos by their paths, or of texts. Raises InputError."""
        if isinstance(model.inputs, PhotoInputs):
            return model.inputs([load_image(each) for each in given])
        return model.inputs(list(given), src_lang=self.src_lang, truncation=self.truncation)

    def fields(self, model: Model) -> dict[str, Any]:
        """What generate is told of the language that texts are said in."""
        if self.tgt_lang is None or isinstance(model.inputs, PhotoInputs):
            return {}
        return {"forced_bos_token_id": model.inputs.tokenizer.language_token(self.tgt_lang)}

    @property
    def conditions(self) -> dict[str, Any]:
        """As results say it, without what is the model's own."""
        languages = {"from": self.src_lang, "to": self.tgt_lang}
        said = {name: language for name, language in languages.items() if language is not None}
        return {**said, **({"truncated": True} if self.truncation else {})}


def count_of(inputs: Inputs) -> int:
    """How many inputs these are: B."""
    return len(next(iter(inputs.values())))
