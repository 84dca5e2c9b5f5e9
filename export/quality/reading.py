"""How a measurement lets a model read photos, texts and speech: in which languages, with which words before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fuseline.errors import InputError, shown
from fuseline.generation.config import PIPELINE_NEW_TOKENS, GenerationConfig
from fuseline.generation.options import CHECKS
from fuseline.graphs.contract import Encoded
from fuseline.inputs.audio import Sound, open_sound
from fuseline.inputs.images import open_photo, read_photo
from fuseline.inputs.open import PhotoInputs, SpeechInputs, TextInputs
from fuseline.model import Model

from .hearing import check_language, new_tokens, prompt_of, said_of, samples_of

Given = Path | str | Mapping[str, Path | str]  # a photo, a text or a clip; of several sources by source
Inputs = Mapping[str, Any]  # what an encoder reads, by its names: [B, ...] each; of several sources by source


@dataclass(frozen=True)
class Reading:
    """src_lang, tgt_lang: the languages of what is read and of what is said, as the model calls them; of one without
    tokens for languages, such as T5, they name the task of its config.json, translation_XX_to_YY; of speech src_lang
    is the one that is spoken. prefix: what texts begin with (default: that of the task). truncation: whether a text
    that is too long is cut, else it is refused."""

    src_lang: str | None = None
    tgt_lang: str | None = None
    prefix: str | None = None
    truncation: bool = False

    def check(self, model: Model, *, of_data: bool = True) -> None:
        """Raises InputError for languages that the model does not know, and for any of this that it has no use for.

        of_data: whether texts with references are read, for which a model with languages must be told which.
        """
        if model.folder.fusion is not None:
            if replace(self, truncation=False) != Reading():
                raise InputError("this model reads several sources, without languages and prefixes; leave them out")
            if self.truncation and not any(source.reads_text for source in model.folder.sources.values()):
                raise InputError("this model reads no texts, which alone could be cut; leave truncation out")
            return
        if isinstance(model.inputs, SpeechInputs):
            if replace(self, src_lang=None) != Reading():
                raise InputError("this model hears speech, of which only the language that is spoken can be given")
            check_language(model, self.src_lang)
            return
        if not isinstance(model.inputs, TextInputs):
            if self != Reading():
                raise InputError("this model reads photos, which have no languages and are not cut; leave these out")
            return
        languages = model.inputs.tokenizer.languages
        if (self.src_lang is None) != (self.tgt_lang is None):
            raise InputError("the language of the texts and that of what is said go together: give both, or none")
        if self.src_lang is not None and self.tgt_lang is not None and languages:
            for language in (self.src_lang, self.tgt_lang):
                model.inputs.tokenizer.language_token(language)
        self._task(model)
        config = model.generation_config
        says = {config.forced_bos_token_id, config.decoder_start_token_id}
        if of_data and languages and self.tgt_lang is None and says.isdisjoint(languages.values()):
            known = ", ".join(sorted(languages))
            raise InputError(f"this model must be told from which language into which it translates; it knows {known}")

    def inputs(self, model: Model, given: Sequence[Any]) -> Inputs:
        """Of photos by their paths, of texts, or of clips by their paths or samples; of several sources of mappings of
        these by source, with None for what an input is without. Raises InputError."""
        if model.folder.fusion is None:
            return self._of_source(model, model.folder.source.name, given)
        return {name: self._of_several(model, name, given) for name in model.folder.sources}

    def _of_several(self, model: Model, name: str, given: Sequence[Mapping[str, Any]]) -> Any:
        """Of one of several sources."""
        there = [each[name] for each in given if name in each]
        try:
            made = self._of_source(model, name, there) if there else {}
        except InputError as error:
            raise InputError(f"{name}: {error}") from error
        if len(there) == len(given):
            return made
        rows = iter(range(len(there)))
        places = [next(rows) if name in each else None for each in given]
        return [None if row is None else {key: value[row] for key, value in made.items()} for row in places]

    def _of_source(self, model: Model, name: str, given: Sequence[Any]) -> Inputs:
        make = model.inputs_of(name)
        if isinstance(make, SpeechInputs):
            return make([samples_of(model, each, name) for each in given])
        if isinstance(make, PhotoInputs):
            return make([read_photo(open_photo(each), make.least) for each in given])
        prefix = self._task(model).get("prefix") or "" if self.prefix is None else self.prefix
        source = self.src_lang if make.tokenizer.languages else None
        return make([f"{prefix}{text}" for text in given], src_lang=source, truncation=self.truncation)

    def opened(self, model: Model, given: Given) -> Inputs | Sound:
        """One photo, text or clip, or one input of several sources, of which `said` may be asked of several models.
        Raises InputError."""
        if isinstance(model.inputs, SpeechInputs) and not isinstance(given, Mapping):
            return open_sound(given)
        return self.inputs(model, [given])

    def said(self, model: Model, opened: Inputs | Sound, config: GenerationConfig) -> str:
        """What the model says of it; of a clip all that is said, however long it is. Raises InputError."""
        if isinstance(opened, Sound):
            return said_of(model, opened, self.src_lang, config.num_beams)
        generation = model.generate(opened, generation_config=config)
        return model.decode(generation.sequences[:1])[0].strip()

    def prompt(self, model: Model, encoded: Encoded) -> npt.NDArray[np.int64] | None:
        """What the decoder starts from, int64[B, T], where that is more than the model's start token."""
        if not isinstance(model.inputs, SpeechInputs) or model.folder.fusion is not None:
            return None
        return prompt_of(model, encoded, self.src_lang)

    def config(self, model: Model) -> GenerationConfig:
        """How texts are made: the model's options, those of the task, and the language that is said. Where none of them
        sets a length, texts made of texts, or of speech among several sources, have as many tokens as in pipelines. Of
        speech alone: the beginning of a text."""
        if isinstance(model.inputs, PhotoInputs):
            return model.generation_config
        if model.folder.fusion is not None:
            return model.generation_config.with_default_length(PIPELINE_NEW_TOKENS)
        if isinstance(model.inputs, SpeechInputs):
            return model.generation_config.override(max_new_tokens=new_tokens(model))
        options = {name: value for name, value in self._task(model).items() if name in CHECKS}
        if self.tgt_lang is not None and model.inputs.tokenizer.languages:
            options["forced_bos_token_id"] = model.inputs.tokenizer.language_token(self.tgt_lang)
        return model.generation_config.with_default_length(PIPELINE_NEW_TOKENS).override(**options)

    @property
    def conditions(self) -> dict[str, Any]:
        """As results say it, without what is the model's own."""
        given = {
            "from": self.src_lang,
            "to": self.tgt_lang,
            "prefix": self.prefix,
            "truncated": self.truncation or None,
        }
        return {name: value for name, value in given.items() if value is not None}

    def _task(self, model: Model) -> Mapping[str, Any]:
        """What config.json says of the task that the languages name, of a model without tokens for them."""
        if self.src_lang is None or not isinstance(model.inputs, TextInputs) or model.inputs.tokenizer.languages:
            return {}
        tasks, name = model.folder.config.get("task_specific_params"), f"translation_{self.src_lang}_to_{self.tgt_lang}"
        known = sorted(each for each in tasks if each.startswith("translation_")) if isinstance(tasks, Mapping) else []
        found = tasks.get(name) if isinstance(tasks, Mapping) else None
        if not isinstance(found, Mapping):
            has = f"its tasks are {', '.join(known)}" if known else "leave them out"
            raise InputError(f"this model has no tokens for languages and no task {shown(name)}; {has}")
        return found
