"""What openai-whisper and faster-whisper call the options of a transcription, by what they are here: for hints."""

from __future__ import annotations

from collections.abc import Mapping

_VAD = "drop_silence=True leaves out what is silent, and so does `fuseline transcribe`"

ELSEWHERE: Mapping[str, str] = {
    "beam_size": "num_beams",
    "word_timestamps": 'return_timestamps="word"',
    "without_timestamps": "return_timestamps=False",
    "initial_prompt": "prompt",
    "condition_on_previous_text": "condition_on_prev_tokens",
    "log_prob_threshold": "logprob_threshold",
    "vad_filter": _VAD,
    "vad_parameters": _VAD,
    "fp16": 'variant="fp16" of pipeline',
    "compute_type": 'variant="int8" of pipeline',
    "chunk_length": "chunk_length_s",
    "multilingual": 'language="auto"',
    "verbose": "SpeechRecognition.segments, which gives what is said as it is done",
}
"""A keyword there, what to give here."""


def hint(name: str) -> str:
    """The end of a sentence that refuses a keyword, empty where nobody else has it."""
    return f"; here it is {ELSEWHERE[name]}" if name in ELSEWHERE else ""
