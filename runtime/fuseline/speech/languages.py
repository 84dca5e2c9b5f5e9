"""The languages that Whisper knows, by code and by English name, as its tokens and transformers' calls name them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from ..errors import InputError, written

# Code by name; after the first hundred other names of the same.
CODES: dict[str, str] = {
    "english": "en", "chinese": "zh", "german": "de", "spanish": "es", "russian": "ru", "korean": "ko",
    "french": "fr", "japanese": "ja", "portuguese": "pt", "turkish": "tr", "polish": "pl", "catalan": "ca",
    "dutch": "nl", "arabic": "ar", "swedish": "sv", "italian": "it", "indonesian": "id", "hindi": "hi",
    "finnish": "fi", "vietnamese": "vi", "hebrew": "he", "ukrainian": "uk", "greek": "el", "malay": "ms",
    "czech": "cs", "romanian": "ro", "danish": "da", "hungarian": "hu", "tamil": "ta", "norwegian": "no",
    "thai": "th", "urdu": "ur", "croatian": "hr", "bulgarian": "bg", "lithuanian": "lt", "latin": "la",
    "maori": "mi", "malayalam": "ml", "welsh": "cy", "slovak": "sk", "telugu": "te", "persian": "fa",
    "latvian": "lv", "bengali": "bn", "serbian": "sr", "azerbaijani": "az", "slovenian": "sl", "kannada": "kn",
    "estonian": "et", "macedonian": "mk", "breton": "br", "basque": "eu", "icelandic": "is", "armenian": "hy",
    "nepali": "ne", "mongolian": "mn", "bosnian": "bs", "kazakh": "kk", "albanian": "sq", "swahili": "sw",
    "galician": "gl", "marathi": "mr", "punjabi": "pa", "sinhala": "si", "khmer": "km", "shona": "sn",
    "yoruba": "yo", "somali": "so", "afrikaans": "af", "occitan": "oc", "georgian": "ka", "belarusian": "be",
    "tajik": "tg", "sindhi": "sd", "gujarati": "gu", "amharic": "am", "yiddish": "yi", "lao": "lo", "uzbek": "uz",
    "faroese": "fo", "haitian creole": "ht", "pashto": "ps", "turkmen": "tk", "nynorsk": "nn", "maltese": "mt",
    "sanskrit": "sa", "luxembourgish": "lb", "myanmar": "my", "tibetan": "bo", "tagalog": "tl", "malagasy": "mg",
    "assamese": "as", "tatar": "tt", "hawaiian": "haw", "lingala": "ln", "hausa": "ha", "bashkir": "ba",
    "javanese": "jw", "sundanese": "su", "cantonese": "yue",
    "burmese": "my", "valencian": "ca", "flemish": "nl", "haitian": "ht", "letzeburgesch": "lb", "pushto": "ps",
    "panjabi": "pa", "moldavian": "ro", "moldovan": "ro", "sinhalese": "si", "castilian": "es", "mandarin": "zh",
}  # fmt: skip
NAMES: dict[str, str] = {code: name for name, code in reversed(CODES.items())}
_MOST_NAMED = 3


def code_of(language: str, known: Iterable[str]) -> str:
    """The code of a language given by its name, code or token: "German", "de", "<|de|>". known: the model's codes.

    Raises InputError for one that is unknown here or to the model, naming the nearest that it knows.
    """
    asked = language.strip().lower()
    bare = asked.removeprefix("<|").removesuffix("|>")
    code = CODES.get(bare, bare)
    codes = list(known)
    if code in codes:
        return code
    names = {name: code for name, code in CODES.items() if code in codes} | {code: code for code in codes}
    near = [names[name] for name in difflib.get_close_matches(bare[:40], names, _MOST_NAMED, cutoff=0.5)]
    right = ", ".join(f"{NAMES.get(code, code)} ({code})" for code in near or codes[:_MOST_NAMED])
    which = "the nearest are" if near else f"there are {len(codes)}, among them"
    raise InputError(f"language={written(language)} is none that this model knows; {which} {right}")
