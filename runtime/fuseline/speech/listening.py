"""What a model makes of a stretch of sound whose text is known up to some token: for speech that is still going on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import Float32
from ..errors import InputError
from ..folders.tensors import INPUT_FEATURES, SPEECH
from ..generation.config import GenerationConfig
from ..generation.options import SAMPLING
from .budget import Budget
from .context import Context
from .options import SpeechOptions
from .vocabulary import Vocabulary
from .window import LOOP, compression_ratio, next_tokens

if TYPE_CHECKING:
    from ..graphs.contract import Encoded
    from ..graphs.running import CancelToken
    from ..model import Model

_RATE = 16_000
_TOKENS_A_SECOND, _TOKENS_MORE = 8, 12  # nobody speaks faster: what goes on beyond is no text of the sound
_SILENCE = 0.6  # the probability above which nobody speaks, where nobody says which
_SURE = 3 * _RATE  # samples from which a language that was heard is kept
_MOST = 30 * _RATE  # samples of a clip, where the model does not say


class WhisperListener:
    """Hears with a Whisper model, without timestamps. language: its code, once it is known. See live.Listener."""

    def __init__(self, model: Model, options: SpeechOptions) -> None:
        """Raises InputError for options that this model cannot follow."""
        self._model, self._options, self._vocabulary = model, options, Vocabulary.of(model)
        self._vocabulary.check(options.language, options.task)
        self._config = _plain(model, options)
        self.longest = model.inputs.features.samples  # type: ignore[union-attr]  # so it is, of Whisper
        self._context: Context | None = None
        self._settled = not self._vocabulary.listens(options.language, options.task)
        self.language: str | None = None
        if self._settled:
            self._know(None)

    def hear(self, samples: Float32, begun: Sequence[int], cancel: CancelToken | None) -> list[int]:
        """See live.Listener."""
        budget = Budget(None, cancel)
        with budget.limit():
            encoded = self._model.encode(self._model.inputs([samples]))
        if not self._settled:
            self._know(self._heard(encoded, budget))
            self._settled = len(samples) >= _SURE
        context = self._context
        assert context is not None  # since _know
        if not begun and self._silent(encoded, context, budget):
            return []
        return _continued(
            self._model, self._config, encoded, (*context.prompt, *begun), len(begun), len(samples), cancel
        )

    def text(self, tokens: Sequence[int]) -> str:
        """See live.Listener."""
        kept = [token for token in tokens if token < self._vocabulary.first_special]
        return self._model.decode([kept])[0] if kept else ""

    def _know(self, heard: int | None) -> None:
        options = self._options
        begin = self._vocabulary.begin(options.language, options.task, heard, False)
        self.language = self._vocabulary.language_of(begin)
        self._context = Context(self._model, self._vocabulary, begin, options)

    def _heard(self, encoded: Encoded, budget: Budget) -> int:
        logprobs = next_tokens(self._model, encoded, (self._vocabulary.start,), budget)
        tokens = sorted(self._vocabulary.languages.values())
        return tokens[int(logprobs[tokens].argmax())]

    def _silent(self, encoded: Encoded, context: Context, budget: Budget) -> bool:
        """Whether the model finds that nobody speaks, although the detector has heard a voice."""
        token, threshold = self._vocabulary.no_speech, self._options.no_speech_threshold
        if token is None or not self._options.drop_silence:
            return False
        probability = float(np.exp(next_tokens(self._model, encoded, context.until_start, budget)[token]))
        return probability > (_SILENCE if threshold is None else threshold)


class PlainListener:
    """Hears with a model that knows one language and no timestamps, such as Moonshine. See live.Listener."""

    language: str | None = None

    def __init__(self, model: Model, options: SpeechOptions) -> None:
        self._model, self._config = model, _plain(model, options)
        source = model.folder.source
        self.longest = _MOST if source.longest is None else source.longest * (source.samples_a_position or 1)
        self._begin = tuple(int(token) for token in model.generation_config.prompt(1)[0])

    def hear(self, samples: Float32, begun: Sequence[int], cancel: CancelToken | None) -> list[int]:
        """See live.Listener."""
        with Budget(None, cancel).limit():
            encoded = self._model.encode(self._model.inputs([samples]))
        return _continued(self._model, self._config, encoded, (*self._begin, *begun), len(begun), len(samples), cancel)

    def text(self, tokens: Sequence[int]) -> str:
        """See live.Listener."""
        return self._model.decode([list(tokens)])[0] if tokens else ""


def listener_of(model: Model, options: SpeechOptions) -> WhisperListener | PlainListener:
    """What hears with this model. Raises InputError for one that reads no speech, and for an option that it or a stream
    does not know."""
    if model.folder.source.reads != SPEECH:
        raise InputError(
            f"{model.folder.path}: this model reads no speech; give one that does, as fuseline get makes it"
        )
    if options.words:
        raise InputError("words have no times while speech is going on; leave return_timestamps out")
    return (WhisperListener if INPUT_FEATURES in model.folder.source.inputs else PlainListener)(model, options)


def _plain(model: Model, options: SpeechOptions) -> GenerationConfig:
    """The options of every hypothesis: nothing is drawn, since two in a row are compared."""
    asked: dict[str, Any] = {"num_return_sequences": 1} | dict(options.generation)
    plain = {name: getattr(GenerationConfig, name) for name in SAMPLING}
    return model.generation_config.override(**asked | plain, do_sample=False)


def _continued(
    model: Model,
    config: GenerationConfig,
    encoded: Encoded,
    prompt: Sequence[int],
    begun: int,
    samples: int,
    cancel: CancelToken | None,
) -> list[int]:
    """The tokens after the prompt, the last `begun` of which are text; none where they only repeat themselves."""
    room = model.folder.decoder.max_positions - len(prompt) - 1
    most = min(room, _TOKENS_MORE + _TOKENS_A_SECOND * samples // _RATE - begun)
    if most < 1:
        return []
    fields: dict[str, Any] = {"max_new_tokens": most}
    if begun:  # the end may come at once now
        fields["begin_suppress_tokens"] = None
    made = model.generate(
        encoded, np.array([prompt], np.int64), generation_config=config.override(**fields), cancel=cancel
    )
    tokens: list[int] = made.sequences[0, len(prompt) :].tolist()
    tokens = tokens[: next((at for at, token in enumerate(tokens) if token in config.ends), len(tokens))]
    loops = bool(tokens) and compression_ratio(tokens, model.folder.decoder.vocab_size) > LOOP
    return [] if loops else tokens
