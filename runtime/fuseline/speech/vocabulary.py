"""What the files of a Whisper folder say of its tokens: languages, tasks, timestamps, and what a text begins with.

The source is generation_config.json as openai's checkpoints have it. Where a file is older, or was made by a tool that
left something out, the tokenizer's own tokens of these names stand in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import FolderError, InputError, written
from ..generation.timestamps import Timestamps
from .languages import NAMES, code_of

if TYPE_CHECKING:
    from ..model import Model

TASKS = ("transcribe", "translate")
AUTO = "auto"  # the language that is heard
TIMESTAMP = 0.02  # seconds from one timestamp token to the next: an encoder position
_MULTILINGUAL = 51_865  # tokens that the smallest vocabulary with several languages has (openai's own criterion)


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of a Whisper model that are no text."""

    start: int
    """the token that every text begins with"""
    first_special: int
    """the end token: this one and all above it are no text"""
    size: int
    multilingual: bool
    languages: Mapping[str, int]
    """tokens by code; none of a model that knows English only"""
    tasks: Mapping[str, int]
    no_timestamps: int | None
    """the token that says that no timestamps follow; the timestamps come after it, "nobody speaks" before it"""
    previous: int | None
    """the token that what was said before begins with"""
    latest_first: int | None
    """how many timestamps the first may be after 0.00 s, None for any"""
    language: str | None
    """what the model's files ask for, as a call gives it"""
    task: str | None
    forced: tuple[int | None, ...]
    """tokens after the start token where neither language nor task is given, None for the language that is heard"""
    alignment_heads: tuple[tuple[int, int], ...]
    """layers and heads whose attention follows the sound"""

    @classmethod
    def of(cls, model: Model) -> Vocabulary:
        """What the model's folder says. Raises FolderError for what is no token, InputError without a start token."""
        folder, token = model.folder, model.tokenizer.token_to_id
        files = _Files(folder.generation_config, folder.config, str(folder.path), folder.decoder.vocab_size)
        size = folder.decoder.vocab_size
        multilingual = files.flag("is_multilingual", size >= _MULTILINGUAL)
        languages = {name.removeprefix("<|").removesuffix("|>"): id for name, id in files.tokens("lang_to_id").items()}
        no_timestamps = files.token("no_timestamps_token_id")
        previous = files.token("prev_sot_token_id")
        ends = model.generation_config.ends
        return cls(
            start=int(model.generation_config.prompt(1)[0, 0]),
            first_special=min(ends) if ends else size,
            size=size,
            multilingual=multilingual,
            languages=(languages or _named(token, NAMES)) if multilingual else {},
            tasks=(files.tokens("task_to_id") or _named(token, TASKS)) if multilingual else {},
            no_timestamps=token("<|notimestamps|>") if no_timestamps is None else no_timestamps,
            previous=token("<|startofprev|>") if previous is None else previous,
            latest_first=files.whole("max_initial_timestamp_index"),
            language=files.text("language"),
            task=files.text("task"),
            forced=files.forced(),
            alignment_heads=files.heads(folder.decoder.layers, folder.decoder.heads),
        )

    @property
    def first_timestamp(self) -> int:
        """The token of 0.00 s; one that never comes where there are no timestamps, as in transformers."""
        return self.size + 1 if self.no_timestamps is None else self.no_timestamps + 1

    @property
    def no_speech(self) -> int | None:
        """The token that says that nobody speaks."""
        return None if self.no_timestamps is None else self.no_timestamps - 1

    def timestamps(self, latest: float | None) -> Timestamps:
        """The rules of timestamps. latest: seconds of the first; None for what the model's files say.

        Raises InputError for a model without timestamps.
        """
        if self.no_timestamps is None:
            raise InputError(
                "this model has no timestamps: neither generation_config.json (no_timestamps_token_id) nor tokenizer."
                "json (<|notimestamps|>) names their tokens; leave return_timestamps out, and give at most 30 s"
            )
        return Timestamps(self.first_timestamp, self.latest_first if latest is None else round(latest / TIMESTAMP))

    def listens(self, language: str | None, task: str | None) -> bool:
        """Whether the language is to be heard, for a call with these options (see `begin`)."""
        language, task = self._asked(language, task)
        if language == AUTO:
            return True
        forced = () if task is not None else self.forced
        return language is None and bool(self.languages) and (not forced or forced[0] is None)

    def begin(self, language: str | None, task: str | None, heard: int | None, timestamps: bool) -> tuple[int, ...]:
        """What a text begins with: the start token, those of language and task, and the one for no timestamps.

        language: a name, code or token, "auto" for the one that is heard, None for what the model's files say or else
        the one that is heard; task: None for what they say. heard: the token of the language that was heard, where one
        was. As transformers' `_retrieve_init_tokens`, where a model whose files name no task gets none unless the call
        gives a language. Raises InputError for a language or a task that the model does not know.
        """
        language, task = self._asked(language, task)
        begin: list[int | None] = [self.start]
        if task is None and language in (None, AUTO):
            begin += self.forced
        token = heard if language in (None, AUTO) else self.languages[code_of(str(language), self.languages)]
        if token is not None:
            begin[1:2] = [token]
        if task is not None:
            begin.append(self.tasks[task])
        elif language is not None and self.tasks and not set(begin) & set(self.tasks.values()):
            begin.append(self.tasks["transcribe"])
        if timestamps and begin[-1] == self.no_timestamps:
            begin.pop()
        elif not timestamps and begin[-1] != self.no_timestamps:
            begin.append(self.no_timestamps)
        return tuple(each for each in begin if each is not None)

    def language_of(self, begin: Sequence[int]) -> str | None:
        """The code of the language that a text begins with, None of a model that knows one only."""
        found = [code for code, token in self.languages.items() if token in begin[1:2]]
        return found[0] if found else None

    def check(self, language: str | None, task: str | None) -> None:
        """Raise InputError for a language or a task that a call cannot ask this model for."""
        if not self.multilingual:
            for name, value in (("language", language), ("task", task)):
                if value not in (None, AUTO):
                    raise InputError(
                        f"{name}={written(value)} was given to a model that knows English only and transcribes it; "
                        f"leave {name} out, or use a multilingual model"
                    )
            return
        if language not in (None, AUTO):
            code_of(str(language), self.languages)
        if language == AUTO and not self.languages:
            raise InputError("this model's files name no languages, so none can be heard; leave language out")
        if task is not None and task not in self.tasks:
            known = " or ".join(self.tasks) or "none"
            raise InputError(f"task={written(task)} is none of this model's; give {known}, or leave it out")

    def _asked(self, language: str | None, task: str | None) -> tuple[str | None, str | None]:
        """The language and the task that count: those of the call, or else of the files."""
        if not self.multilingual:
            return None, None
        return self.language if language is None else language, self.task if task is None else task


def _named(token: Callable[[str], int | None], names: Mapping[str, Any] | Sequence[str]) -> dict[str, int]:
    """The tokens <|name|> of a tokenizer that there are, by name."""
    found = {name: token(f"<|{name}|>") for name in names}
    return {name: id for name, id in found.items() if id is not None}


class _Files:
    """generation_config.json and config.json, checked as far as they are read here."""

    def __init__(self, generation: Mapping[str, Any], config: Mapping[str, Any], where: str, size: int) -> None:
        self._generation, self._config, self._where, self._size = generation, config, where, size

    def whole(self, name: str) -> int | None:
        value = self._generation.get(name)
        if value is not None and not _is_whole(value):
            raise self._wrong(name, value, "a whole number of at least 0")
        return None if value is None else int(value)

    def token(self, name: str) -> int | None:
        value = self.whole(name)
        if value is not None and value >= self._size:
            raise self._wrong(name, value, f"a token from 0 to {self._size - 1}")
        return value

    def tokens(self, name: str) -> dict[str, int]:
        found = self._generation.get(name)
        if found is None:
            return {}
        if not isinstance(found, Mapping) or not all(_is_whole(id) and id < self._size for id in found.values()):
            raise self._wrong(name, found, f"an object of tokens from 0 to {self._size - 1}")
        return dict(found)

    def flag(self, name: str, default: bool) -> bool:
        value = self._generation.get(name)
        if value is not None and not isinstance(value, bool):
            raise self._wrong(name, value, "true or false")
        return default if value is None else value

    def text(self, name: str) -> str | None:
        value = self._generation.get(name)
        if value is not None and not isinstance(value, str):
            raise self._wrong(name, value, "a text")
        return value

    def forced(self) -> tuple[int | None, ...]:
        """forced_decoder_ids, pairs of a place and a token, those from place 1 on without a gap."""
        found = self._generation.get("forced_decoder_ids") or self._config.get("forced_decoder_ids") or []
        pairs = isinstance(found, list) and all(isinstance(each, list) and len(each) == 2 for each in found)
        if not pairs or not all(id is None or (_is_whole(id) and id < self._size) for _, id in found):
            raise self._wrong("forced_decoder_ids", found, "pairs of a place and a token")
        if not found or found[0][0] != 1:
            return ()
        if [place for place, _ in found] != list(range(1, len(found) + 1)):
            raise self._wrong("forced_decoder_ids", found, "pairs with the places 1, 2, 3 and so on")
        return tuple(id for _, id in found)

    def heads(self, layers: int, heads: int) -> tuple[tuple[int, int], ...]:
        """alignment_heads, pairs of a layer and a head."""
        found = self._generation.get("alignment_heads") or []
        good = isinstance(found, list) and all(
            isinstance(each, list) and len(each) == 2 and all(_is_whole(place) for place in each) for each in found
        )
        if not good or not all(layer < layers and head < heads for layer, head in found):
            raise self._wrong("alignment_heads", found, f"pairs of a layer below {layers} and a head below {heads}")
        return tuple((layer, head) for layer, head in found)

    def _wrong(self, name: str, value: Any, right: str) -> FolderError:
        return FolderError(f"{self._where}/generation_config.json: {name} is {written(value)} and must be {right}")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
