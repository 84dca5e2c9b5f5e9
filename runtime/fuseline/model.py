"""A model ready to run: arrays in, tokens out, and what makes the arrays and reads the tokens.

Dimensions: `B` inputs of a call, `T` tokens, `S` encoder positions, `E` width of the decoder, `V` vocabulary.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt

from .arrays import as_array
from .errors import InputError, written
from .generation.config import GenerationConfig
from .generation.result import Generation
from .graphs.contract import Decoder, Encoded
from .graphs.encoder import with_mask
from .graphs.ended import EndedDecoder
from .graphs.guidance import Guidance, guided
from .graphs.running import CancelToken, Limit, RunEnded
from .graphs.sources import Encoders, batch_of
from .inputs.open import TextInputs
from .migrating.copied_calls import (
    ENCODE,
    Reads,
    generating,
    named_inputs,
    settle,
)
from .opened import Opened
from .outputs.pieces import text_of_token
from .outputs.streaming import Event, events
from .search import Search
from .search.scoring import Score, padded_labels, score

Given = npt.ArrayLike | Mapping[str, Any] | Encoded


class Model(Opened):
    """An encoder and a decoder with what goes before and after them. Safe to share between threads.

    folder: the Folder it was made of; generation_config: its defaults; inputs: from photos or texts to what the encoder
    reads, see fuseline.inputs.contract; tokenizer: a tokenizers.Tokenizer; config: config.json; device: where it is, by
    name, or by part where encoder and decoder are apart; threads: as they were asked for. A model that reads photos has
    image_processor, from photos to pixel_values, and feature_extractor, the same by its old name. None of them changes,
    so a copy is the model itself. Pickled, a model is its folder's path, variant, device, threads and options, and is
    opened anew; the captioner that ships is that of the installation where it is opened.
    """

    def generate(
        self,
        inputs: Given | None = None,
        /,
        decoder_input_ids: npt.ArrayLike | None = None,
        *,
        generation_config: object = None,
        source_weights: Mapping[str, Any] | None = None,
        guidance: Guidance | None = None,
        cancel: CancelToken | None = None,
        partial: bool = False,
        **fields: Any,
    ) -> Generation:
        """The most probable text for every input, as tokens.

        inputs: an array, pixel_values float32[B, 3, height, width] or input_ids int64[B, S]; or a mapping by these
        names, as `inputs` makes it ({"input_ids": ..., "attention_mask": ...}); or what `encode` made of either, which
        several calls may share. Each may be given by its own name instead: generate(pixel_values=...). Texts are padded
        on the right; without attention_mask pad tokens are not looked at, as in transformers. decoder_input_ids:
        int64[B, T], what the texts begin with; as in transformers the start token goes before it if no row begins with
        it already (Donut's prompts stay as they are: they name a task). A model without sources takes these alone, as
        they are, and without them begins one text with its start token. generation_config: options between the model's
        own and fields, see GenerationConfig.over. source_weights: of a model with several sources, how much each
        counts, by source (see fuseline.graphs.sources and docs/fusion.md); its inputs are a mapping by source.
        guidance: of such a model, how much more than by itself a source counts, by source: {"hint": g} has the text of
        g log p(with) + (1 - g) log p(without), at twice the cost a step (see fuseline.graphs.guidance). fields: those
        of GenerationConfig, and other keywords of transformers' generate; max_time is the deadline, of the search and
        before it of the encoder. cancel: a threading.Event or anything else with is_set(), looked at before every step,
        and from another thread during one that takes long. A step, or the encoder's run, that is over its time is ended
        at the graph's next node, and what was there before it is the result. partial: whether a call that is cancelled,
        or interrupted by Ctrl-C, returns the best sequences so far. Raises InputError for an option or an array that
        cannot be used; without partial, Cancelled, KeyboardInterrupt.
        """
        asked = self._asked(inputs, decoder_input_ids, generation_config, fields)
        search = self._search(*asked, source_weights, guidance, cancel, partial)
        while search.step():
            pass
        generation = search.generation()
        self._graphs.files.check()
        return generation

    def stream(
        self,
        inputs: Given | None = None,
        /,
        decoder_input_ids: npt.ArrayLike | None = None,
        *,
        generation_config: object = None,
        source_weights: Mapping[str, Any] | None = None,
        guidance: Guidance | None = None,
        cancel: CancelToken | None = None,
        partial: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
        **fields: Any,
    ) -> Iterator[Event]:
        """The same, watched: events as tokens become certain, the last of them with the Generation.

        With beams a token is certain once all hypotheses that may still win have it. clean_up_tokenization_spaces: of
        the events' texts, as in `decode`. The encoder has run when this returns; closing the iterator, or dropping it,
        gives up the rest. Raises as generate does, and InputError for num_return_sequences other than 1.
        """
        if generation_config is None:
            fields.setdefault("num_return_sequences", 1)
        asked = self._asked(inputs, decoder_input_ids, generation_config, fields)
        if asked[2].num_return_sequences != 1:
            raise InputError("a stream follows one sequence an input, so num_return_sequences must be 1 or left out")
        search = self._search(*asked, source_weights, guidance, cancel, partial)

        def text(tokens: Sequence[int]) -> str:
            return self._tokens.decode(tokens, clean_up_tokenization_spaces=clean_up_tokenization_spaces)

        return self._while_unchanged(events(search, text))

    def _while_unchanged(self, told: Iterator[Event]) -> Iterator[Event]:
        for event in told:
            if event.generation is not None:
                self._graphs.files.check()
            yield event

    def _asked(
        self, inputs: Any, decoder_input_ids: Any, generation_config: object, fields: dict[str, Any]
    ) -> tuple[Any, Any, GenerationConfig]:
        """What a call gives, in fuseline's own terms: inputs, decoder_input_ids and all options."""
        self._refuse_closed()
        self._refuse_apart(fields)
        inputs, decoder_input_ids, options = generating(self._reads, inputs, decoder_input_ids, fields)
        config = self._configured(generation_config).override(**options)
        config.check_source(self.folder.reads_text_alone)
        return inputs, decoder_input_ids, config

    def _refuse_apart(self, given: Mapping[str, Any]) -> None:
        """Raises InputError for inputs of several sources that are given as keywords."""
        sources = self.folder.sources
        if self.folder.fusion is None:
            return
        names = {*sources, *(name for source in sources.values() for name in source.inputs)}
        if apart := sorted(names.intersection(given)):
            first = next(iter(sources))
            right = f'give inputs as one mapping by source, {{"{first}": ...}}'
            raise InputError(f"{apart[0]}: this model has several sources; {right}, with {', '.join(sources)}")

    @cached_property
    def _reads(self) -> Reads:
        # Of several sources each call names its own.
        names = self.folder.source.inputs if len(self.folder.sources) == 1 else ()
        return Reads(names, self.folder.config.get("model_type"), needed=bool(self.folder.sources))

    def _search(
        self,
        inputs: Given | None,
        decoder_input_ids: npt.ArrayLike | None,
        config: GenerationConfig,
        source_weights: Mapping[str, Any] | None,
        guidance: Guidance | None,
        cancel: CancelToken | None,
        partial: bool,
    ) -> Search:
        """A search for these inputs, the encoder done."""
        began = perf_counter()
        if inputs is None:  # of a model without sources: as many as there are beginnings
            ids = as_array(decoder_input_ids)
            inputs = len(ids) or None if ids.ndim else None
        decoder, encoded = self._encoded(inputs, config, source_weights, cancel)
        if guidance is not None and config.output_sequences_confidences:
            raise InputError("output_sequences_confidences is of what the model says by itself; leave guidance out")
        if guidance is not None and not isinstance(decoder, EndedDecoder):
            decoder, encoded = self._guided(encoded, guidance)
        encoder_ms = (perf_counter() - began) * 1000
        return Search(
            decoder,
            encoded,
            self._prompt(decoder_input_ids, encoded.batch, config),
            config,
            max_positions=self.folder.decoder.max_positions,
            sizes=self.folder.decoder,
            encoder_ms=encoder_ms,
            text_of=self._text_of_token,
            cancel=cancel,
            partial=partial,
            variant=self.variant,
            inputs=encoded.tokens,
            confidence=self.folder.confidence,
        )

    def _configured(self, given: object) -> GenerationConfig:
        """The model's options with a call's generation_config over them.

        Where the model's were written by transformers before 4.50, only its token ids stand beside one that is given:
        so says transformers' generate.
        """
        if given is None:
            return self.generation_config
        written_by = str(self.folder.generation_config.get("transformers_version", ""))
        version = re.match(r"(\d{1,6})\.(\d{1,6})", written_by)
        older = version is not None and (int(version[1]), int(version[2])) < (4, 50)
        return self.generation_config.over(given, model_defaults=not older)

    def _encoded(
        self,
        inputs: Given | None,
        config: GenerationConfig,
        source_weights: Mapping[str, Any] | None,
        cancel: CancelToken | None,
    ) -> tuple[Decoder, Encoded]:
        """What the decoder reads of the inputs; where the encoder was ended, a decoder that ends at its first step."""
        if isinstance(inputs, Encoded):
            named = isinstance(inputs.values, Mapping)
            if not named or not all(hasattr(value, "data_type") for value in inputs.values.values()):
                raise InputError("an Encoded must be what encode has returned")
            return self.decoder, _weighted(inputs, source_weights)
        arrays = self._checked(inputs, config, source_weights)
        if config.max_time is None and cancel is None:
            return self.decoder, self._run_encoder(arrays)
        try:
            with Limit(config.max_time, cancel):
                return self.decoder, self._run_encoder(arrays)
        except RunEnded as ended:
            return EndedDecoder(ended), Encoded(batch_of(arrays), {})

    def _guided(self, encoded: Encoded, guidance: Guidance) -> tuple[Decoder, Encoded]:
        """What is stepped where some sources are to count more than by themselves. Raises InputError."""
        return guided(self.decoder, self._graphs.encoder, encoded, guidance)

    def _checked(self, inputs: object, config: GenerationConfig, source_weights: Mapping[str, Any] | None) -> Any:
        """The inputs as the encoders read them. Raises InputError."""
        encoder = self._graphs.encoder
        if isinstance(encoder, Encoders):
            return encoder.checked(inputs, source_weights)
        if source_weights is not None:
            has = "one" if self.folder.sources else "none"
            raise InputError(f"source_weights are for models with several sources, and this one has {has}")
        if self.folder.reads_text_alone and config.pad_token_id not in (None, *config.ends):
            inputs = with_mask(inputs, self.folder.source, config.pad_token_id)
        return encoder.checked(inputs)

    def _run_encoder(self, checked: Any) -> Encoded:
        self._graphs.files.check()
        return self._graphs.encoder.encode(checked)

    def score(
        self,
        inputs: Given | None = None,
        /,
        text: str | Sequence[str] = "",
        *,
        tgt_lang: str | None = None,
        source_weights: Mapping[str, Any] | None = None,
        guidance: Guidance | None = None,
        **named: Any,
    ) -> Score:
        """How probable given texts are: the cross-entropy of each token, and of the end token after the last.

        inputs: as in `generate`, also by their own names; text: one an input, or as many for each, those of an input
        together. tgt_lang: the language that they are in, of a model with languages. Where texts made of texts begin
        with a token that is forced, that of the language or the model's own, it is the first of the labels, as
        transformers' tokenizers write them.
        The mean over the tokens is the cross-entropy of transformers' logits against the same labels. (Its
        own `loss` in 4.57 shifts the labels of captioners twice.) Raises InputError.
        """
        texts = [text] if isinstance(text, str) else text
        listed = isinstance(texts, list | tuple | np.ndarray) and getattr(texts, "ndim", 1) == 1
        if not listed or not all(isinstance(each, str) for each in texts):
            raise InputError(f"text must be a text or a list of texts, not {written(text)}")
        forced = self._forced(tgt_lang)
        tokens = [[*forced, *self._tokens.encode(each, f"text {number}")] for number, each in enumerate(texts, start=1)]
        encoded = self.encode(inputs, source_weights=source_weights, **named)
        if not len(texts) or len(texts) % encoded.batch:
            raise InputError(
                f"there must be as many texts for each of the {encoded.batch} inputs, not {len(texts)} in all"
            )
        config = self.generation_config
        labels = padded_labels(tokens, next(iter(config.ends), None), self.folder.decoder)
        decoder = self.decoder
        if guidance is not None:
            decoder, encoded = self._guided(encoded, guidance)
        found = score(decoder, encoded, labels, int(config.prompt(1)[0, 0]))
        self._graphs.files.check()
        return found

    def _forced(self, tgt_lang: str | None) -> list[int]:
        """The token that texts made of texts begin with, if any. Raises InputError for a language that is not known."""
        if not isinstance(self.inputs, TextInputs):
            if tgt_lang is not None:
                raise InputError("this model reads photos and has no languages; leave tgt_lang out")
            return []
        if tgt_lang is not None:
            return [self.inputs.tokenizer.language_token(tgt_lang)]
        forced = self.generation_config.forced_bos_token_id
        return [] if forced is None else [forced]

    def encode(
        self, inputs: Given | None = None, /, *, source_weights: Mapping[str, Any] | None = None, **named: Any
    ) -> Encoded:
        """Run the encoder: inputs as in `generate` -> cross-attention K/V of all layers, float32[B, S, E] each.

        source_weights: as in `generate`; a call that is given an Encoded goes by its weights.

        In a folder of another tool: the encoder's last hidden state, float32[B, S, E] or float16.
        """
        self._refuse_closed()
        inputs, others = named_inputs(self._reads, inputs, named)
        if others:
            settle(ENCODE, others, self._reads.names)
        if isinstance(inputs, Encoded):
            return _weighted(inputs, source_weights)
        return self._run_encoder(self._checked(inputs, self.generation_config, source_weights))

    def encode_text(self, text: str, name: str = "text") -> list[int]:
        """The tokens of a text, without those that only mark its beginning and end.

        name: of the text, for the message. Raises InputError where it cannot be encoded.
        """
        return self._tokens.encode(text, name)

    def decode(
        self,
        sequences: npt.ArrayLike,
        skip_special_tokens: bool = True,
        clean_up_tokenization_spaces: bool | None = None,
    ) -> list[str]:
        """The text of every sequence, int64[N, T].

        clean_up_tokenization_spaces: whether spaces before punctuation go; None for what the model's tokenizer says.

        -1, which stands after the end where there is no pad token, has no text, nor has a token that only a vocabulary
        padded to a round size has. Raises InputError for other arrays, and tokens that there are not.
        """
        ids = as_array(sequences)
        if ids.ndim != 2 or not np.issubdtype(ids.dtype, np.integer):
            raise InputError(f"sequences must be whole numbers of shape [N, T], not {ids.dtype} of {list(ids.shape)}")
        rows = ([each for each in row if each != -1] for row in ids.tolist())
        return [self._tokens.decode(row, skip_special_tokens, clean_up_tokenization_spaces) for row in rows]

    @cached_property
    def _text_of_token(self) -> Callable[[int], str]:
        return text_of_token(self._tokens)

    def _prompt(self, given: npt.ArrayLike | None, batch: int, config: GenerationConfig) -> npt.NDArray[np.int64]:
        """What the decoder starts from, int64[B, T]."""
        if given is None:
            return config.prompt(batch)
        ids = as_array(given)
        if ids.ndim != 2 or len(ids) != batch or ids.shape[1] < 1 or not np.issubdtype(ids.dtype, np.integer):
            found = f"{ids.dtype} of shape {list(ids.shape)}"
            raise InputError(f"decoder_input_ids must be whole numbers of shape [{batch}, T], not {found}")
        vocab_size = self.folder.decoder.vocab_size
        if ids.min() < 0 or ids.max() >= vocab_size:
            raise InputError(f"decoder_input_ids must be from 0 to {vocab_size - 1}, not {ids.min()} to {ids.max()}")
        ids = ids.astype(np.int64)
        if not self.folder.sources and config.pad_token_id not in (None, *config.ends) and config.pad_token_id in ids:
            raise InputError(
                f"decoder_input_ids have the pad token, {config.pad_token_id}, and prompts are not padded; "
                "call generate for each length"
            )
        if not self.folder.sources or begins_by_itself(self.folder.config):
            return ids
        start = config.prompt(batch)
        return ids if (ids[:, :1] == start).any() else np.concatenate([start, ids], axis=1)


def _weighted(encoded: Encoded, source_weights: Mapping[str, Any] | None) -> Encoded:
    """What was encoded, which has its weights. Raises InputError for others."""
    if source_weights is not None:
        raise InputError("source_weights are part of what is encoded; give them to encode")
    return encoded


def begins_by_itself(config: Mapping[str, Any]) -> bool:
    """Whether a prompt gets no start token, which transformers asks the model_type, of the encoder too."""
    if config.get("model_type") == "whisper":
        return True
    encoder = config.get("encoder")
    return isinstance(encoder, Mapping) and "donut" in str(encoder.get("model_type")).lower()
