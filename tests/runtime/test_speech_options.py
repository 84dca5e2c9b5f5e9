"""Options of speech: what they accept, and what makes no sense together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fuseline.errors import InputError
from fuseline.speech.options import SpeechOptions


def test_options_of_speech_and_of_generation_are_told_apart() -> None:
    options = SpeechOptions(temperature=[0, 0.2], num_beams=5, length_penalty=0.5, language="en")
    assert options.temperature == (0.0, 0.2)
    assert dict(options.generation) == {"num_beams": 5, "length_penalty": 0.5}
    assert repr(options) == "SpeechOptions(language='en', temperature=(0.0, 0.2), num_beams=5, length_penalty=0.5)"


def test_values_of_transformers_calls_are_taken() -> None:
    assert SpeechOptions(temperature=None, prompt_condition_type=None, use_cache=True) == SpeechOptions()
    assert SpeechOptions(prompt_ids=np.array([1, 2])).prompt_ids == (1, 2)
    assert SpeechOptions(temperature=np.float32(0.5), do_sample=True).temperature == (0.5,)
    assert SpeechOptions(do_sample=False, return_dict_in_generate=True).temperature == (0.0,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"langauge": "en"}, "langauge is no option of speech; did you mean language?"),
        ({"num_beam": 5}, "num_beam is no option of speech; did you mean num_beams?"),
        ({"num_beams": 0}, "num_beams must be a whole number of at least 1"),
        ({"language": ""}, "language must be a text that is not empty"),
        ({"return_timestamps": "words"}, "return_timestamps must be True, False, None or 'word', not 'words'"),
        ({"temperature": -0.1}, "temperature must be a number of at least 0"),
        ({"temperature": []}, "temperature must be a number of at least 0, or a list"),
        ({"temperature": "hot"}, "temperature must be a finite number"),
        ({"prompt_ids": [0.5]}, "prompt_ids must be token ids"),
        ({"prompt_condition_type": "each"}, "must be 'first-segment' or 'all-segments'"),
        ({"prompt_condition_type": "all-segments"}, "needs condition_on_prev_tokens=True"),
        ({"prompt": "a", "prompt_ids": [1]}, "prompt and prompt_ids are the same thing"),
        ({"no_speech_threshold": 0.6}, "no_speech_threshold counts together with logprob_threshold"),
        ({"do_sample": True}, "do_sample=True does not go with the temperature"),
        ({"do_sample": False, "temperature": 1.0}, "do_sample=False does not go with the temperature"),
        ({"max_initial_timestamp": 31}, "max_initial_timestamp must be from 0 to 30 seconds"),
        ({"num_return_sequences": 2}, "num_return_sequences=2 is no option of speech: there is one transcription"),
        ({"output_scores": True}, "output_scores=True is no option of speech"),
        ({"penalty_alpha": 0.6}, "penalty_alpha=0.6 is not supported"),
        ({"drop_loops": 1}, "drop_loops must be True or False"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message.replace("?", r"\?")):
        SpeechOptions(**options)


def test_silence_may_be_judged_alone() -> None:
    assert SpeechOptions(no_speech_threshold=0.6, drop_silence=True).no_speech_threshold == 0.6
