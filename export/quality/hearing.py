"""How a measurement lets a model hear speech: what it is given of a clip, what its texts begin with, what it says.

Dimensions: `B` clips, `T` tokens, `N` samples at 16,000 a second.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fuseline.errors import InputError
from fuseline.graphs.contract import Encoded
from fuseline.inputs.audio import LogMel, Sound, open_sound
from fuseline.inputs.open import SpeechInputs
from fuseline.model import Model
from fuseline.speech.languages import code_of
from fuseline.speech.options import SpeechOptions
from fuseline.speech.reading import beginning
from fuseline.speech.transcriber import Transcriber
from fuseline.speech.vocabulary import Vocabulary

Clip = Path | str | npt.NDArray[np.float32]
# Of what is compared token by token: half a minute of speech has some more, but all that follows costs as much again,
# and a clip that is no speech may be answered without an end.
_NEW_TOKENS, _LONGEST_PROMPT = 64, 4


def check_language(model: Model, language: str | None) -> None:
    """Raises InputError for a language that a model of speech cannot be told."""
    vocabulary = _vocabulary(model)
    if vocabulary is not None:
        vocabulary.check(language, None)
    elif language is not None:
        raise InputError("this model knows one language, and cannot be told which is spoken; leave it out")


def is_english(model: Model, language: str | None) -> bool:
    """Whether what a model of speech writes is known to be English. language: the one that is spoken, where given.

    A model that knows one language does not say which, unless it is one of Whisper.
    """
    vocabulary = _vocabulary(model)
    if vocabulary is None:
        return False
    spoken = vocabulary.language if language is None else language
    if not vocabulary.multilingual:
        return True
    return spoken not in (None, "auto") and code_of(str(spoken), vocabulary.languages) == "en"


def new_tokens(model: Model) -> int:
    """How many tokens a clip's text has where texts are compared token by token."""
    return max(1, min(_NEW_TOKENS, model.folder.decoder.max_positions - _LONGEST_PROMPT))


def samples_of(model: Model, given: Clip, name: str) -> npt.NDArray[np.float32]:
    """A clip, float32[N] from its beginning, as much as the model's source of that name reads at once. Raises
    InputError."""
    features, source = _features(model, name), model.folder.sources[name]
    if isinstance(features, LogMel):
        return beginning(open_sound(given), features.samples)
    most = None if source.longest is None else source.longest * (source.samples_a_position or 1)
    return beginning(open_sound(given), most)


def prompt_of(model: Model, encoded: Encoded, language: str | None) -> npt.NDArray[np.int64] | None:
    """What the text of each clip begins with, int64[B, T], without timestamps; None for the model's start token.

    language: the one that is spoken; None for what the model's files say, or else the one that it hears in each clip.
    """
    vocabulary = _vocabulary(model)
    if vocabulary is None:
        return None
    heard: list[int | None] = [None] * encoded.batch
    if vocabulary.listens(language, None):
        state = model.decoder.start(encoded, 1, 1)
        logits = model.decoder.step(state, np.full((encoded.batch, 1), vocabulary.start), None)
        tokens = sorted(vocabulary.languages.values())
        heard = [tokens[best] for best in logits[:, tokens].argmax(axis=1)]
    return np.array([vocabulary.begin(language, None, each, False) for each in heard], np.int64)


def said_of(model: Model, sound: Sound, language: str | None, num_beams: int | None) -> str:
    """What the model says of a sound, however long, at temperature 0. Raises InputError for one it cannot read."""
    asked: dict[str, Any] = {"language": language, "num_beams": num_beams}
    options = SpeechOptions(**{name: value for name, value in asked.items() if value is not None})
    return Transcriber(model).transcription(sound, options).text.strip()


def _features(model: Model, name: str | None = None) -> Any:
    inputs = model.inputs if name is None else model.inputs_of(name)
    assert isinstance(inputs, SpeechInputs)  # of whoever asks
    return inputs.features


def _vocabulary(model: Model) -> Vocabulary | None:
    """That of Whisper; None of a model that reads samples, whose texts begin with its start token alone."""
    return Vocabulary.of(model) if isinstance(_features(model), LogMel) else None
