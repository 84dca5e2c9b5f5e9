"""Words: the tokenizer, ImageNet's classes in everyday words, sentences without photos, and which words make a hint.

A word that is common enough is one token, any other is written in pieces (WordPiece), so that a word that no caption
had can be read in a hint and said.
"""

from __future__ import annotations

import random
import re
import string
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from .captioner import BOS, EOS, PAD, SPECIAL, UNK

HERE = Path(__file__).parent
IMAGENET_WORDS, EVERYDAY = HERE / "imagenet_words.tsv", HERE / "everyday.txt"
# Words that fewer captions have are written in pieces: they could not be learned from three examples.
MIN_COUNT = 4
PIECES = 600
MAX_TOKENS = 22
HINT_TOKENS = 12
# Words that say little of a photo: never a hint.
_STOP_WORDS = """
a an the his her its their this that these those it he she they them him there here who which what while as is are was
be being been has have had do does doing in on at of by to with from into onto over through near behind under above
below between across along around against beside next up down out off and or but for two three four five six one some
several many few other others another each all both very top front back side left right middle something someone it's
away together group lot close view image picture photo
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())


def build_tokenizer(captions: Iterable[Sequence[str]], always: Iterable[str]) -> Tokenizer:
    """Words of at least MIN_COUNT captions and those of `always` whole, the rest in pieces; </s> ends a hint."""
    counts = Counter(word for caption in captions for word in caption)
    kept = {word for word, count in counts.items() if count >= MIN_COUNT} | set(always)
    ordered = sorted(kept, key=lambda word: (-counts[word], word))
    known = dict.fromkeys([*SPECIAL, *ordered, *_pieces(Counter({w: c for w, c in counts.items() if w not in kept}))])
    tokenizer = Tokenizer(models.WordPiece({word: i for i, word in enumerate(known)}, unk_token=SPECIAL[UNK]))
    blank = Regex("[^a-z0-9'-]+")
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase(), normalizers.Replace(blank, " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=False)
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {SPECIAL[EOS]}", special_tokens=[(SPECIAL[EOS], EOS)]
    )
    return tokenizer


def _pieces(rare: Counter[str]) -> list[str]:
    """All letters and digits, at a word's begin and inside, and the commonest pieces of rare words."""
    letters = [*string.ascii_lowercase, *string.digits, "'", "-"]
    learned = Tokenizer(models.WordPiece(unk_token=SPECIAL[UNK]))
    learned.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.WordPieceTrainer(
        vocab_size=PIECES, initial_alphabet=letters, special_tokens=[SPECIAL[UNK]], show_progress=False
    )
    learned.train_from_iterator(sorted(rare.elements()), trainer)
    found = sorted(learned.get_vocab(with_added_tokens=False).items(), key=lambda pair: pair[1])
    return [*letters, *(f"##{letter}" for letter in letters), *(piece for piece, _ in found if piece not in SPECIAL)]


def token_ids(tokenizer: Tokenizer, texts: Sequence[Sequence[str]]) -> NDArray[np.int64]:
    """int64[texts, MAX_TOKENS + 2]: <s> tokens </s>, padded."""
    encoded = tokenizer.encode_batch([" ".join(words) for words in texts], add_special_tokens=False)
    return padded([[BOS, *found.ids[:MAX_TOKENS], EOS] for found in encoded], MAX_TOKENS + 2)


def padded(rows: Sequence[Sequence[int]], length: int) -> NDArray[np.int64]:
    """int64[rows, length], filled up with PAD."""
    ids = np.full((len(rows), length), PAD, np.int64)
    for into, row in zip(ids, rows, strict=True):
        into[: len(row)] = row
    return ids


def hint_ids(tokenizer: Tokenizer, hints: Sequence[Sequence[str]]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """int64[hints, HINT_TOKENS] with </s> at the end, and which are there; of a hint without words none is."""
    encoded = tokenizer.encode_batch([" ".join(words) for words in hints], add_special_tokens=False)
    pairs = zip(hints, encoded, strict=True)
    ids = padded([[*found.ids[: HINT_TOKENS - 1], EOS] if words else [] for words, found in pairs], HINT_TOKENS)
    return ids, ids != PAD


def content_words(caption: Sequence[str]) -> list[str]:
    """Those that could be a hint, each once, in their order."""
    return [word for word in dict.fromkeys(caption) if word not in STOP_WORDS and len(word) > 2]


def measured_hint(caption: Sequence[str]) -> list[str]:
    """What is given as a right hint where captions are scored with one: the first two content words."""
    return content_words(caption)[:2]


def some_words(caption: Sequence[str], rng: random.Random, most: int = 3) -> list[str]:
    """One to three content words of a caption, in any order; fewer where it has fewer."""
    words = content_words(caption)
    return rng.sample(words, min(len(words), rng.randint(1, most)))


@dataclass(frozen=True)
class Classes:
    """ImageNet's classes in everyday words: the different ones, and which of them each class has."""

    names: list[str]
    of_class: NDArray[np.int64]

    @classmethod
    def read(cls) -> Classes:
        lines = IMAGENET_WORDS.read_text(encoding="utf-8").splitlines()
        words = [line.split("\t")[2] for line in lines]
        names = list(dict.fromkeys(words))
        index = {name: i for i, name in enumerate(names)}
        return cls(names, np.array([index[word] for word in words], np.int64))

    def in_words(self, caption: Sequence[str]) -> list[int]:
        """The classes whose words a caption has side by side, each once, in their order."""
        return list(dict.fromkeys(self._forms[found] for found in self._pattern.findall(" ".join(caption))))

    @cached_property
    def _forms(self) -> dict[str, int]:
        """Which class each name, and its plural, is."""
        plurals = {plural(name): i for i, name in enumerate(self.names)}
        return plurals | {name: i for i, name in enumerate(self.names)}

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        longest_first = sorted(self._forms, key=len, reverse=True)
        return re.compile(rf"(?<!\S)(?:{'|'.join(map(re.escape, longest_first))})(?!\S)")


def plural(word: str) -> str:
    """The regular one."""
    if re.search(r"(s|x|z|ch|sh)$", word):
        return word + "es"
    return re.sub(r"(?<=[^aeiou])y$", "ie", word) + "s"


class Sentences:
    """Sentences without photos, from templates: alternatives stand in braces with bars between."""

    _CHOICE = re.compile(r"\{([^{}]*)\}")

    def __init__(self, templates: Sequence[str]) -> None:
        self.templates = templates

    @classmethod
    def read(cls) -> Sentences:
        return cls([line for line in EVERYDAY.read_text(encoding="utf-8").splitlines() if line])

    def one(self, rng: random.Random) -> list[str]:
        """A sentence as words."""
        template = rng.choice(self.templates)
        return self._CHOICE.sub(lambda found: rng.choice(found[1].split("|")), template).split()

    def words(self) -> Counter[str]:
        """How many templates have each word."""
        counts: Counter[str] = Counter()
        for template in self.templates:
            counts.update(set(re.sub(r"[{}|]", " ", template).split()))
        return counts
