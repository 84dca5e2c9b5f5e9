"""Damaged tokenizer files, one a seed: the same seed gives the same bytes.

Each begins as a small honest file of one of the kinds in use, and is then damaged in one to three places: by chance
anywhere, or where it is known to hurt. Needs numpy and tokenizers only.
"""

from __future__ import annotations

import base64
import json
from functools import cache
from random import Random
from typing import Any

import numpy as np
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

WORDS = ["<pad>", "<s>", "</s>", "<unk>", "a", "dog", "runs", "on", "the", "beach", "##s", ".", "é", "▁a", "▁dog", "Ġa"]
JUNK: list[Any] = [
    None, True, -1, 0, 1, 2**31, 2**32, 10**12, 10**30, 0.5, 1e308, "", "x", "é", "\x00", "x" * 5000, "x" * 3_000_000,
    [], [[]], {}, {"type": "Sequence"}, {"type": "Nothing"}, [None] * 300,
]  # fmt: skip
EXPRESSIONS = [
    "", "a*", "(a+)+b", "(a|a)*b", "(.*)*x", ".*.*.*x", "(", "[", "\\", "(?=a)", "(a)\\1", "x{99999}",
    "((x{99}){99}){99}", " {2,}", "\\p{N}{1,3}", "\\s*[\\r\\n]+", ".*x", "(?i:'s|'t)?\\w+",
    "\\p{L}+", "(?i)a", "\\s+(?!\\S)", "^", "$", "\\b", "a{2,}", "(?<n>a)\\k<n>", "[[a]&&[b]]", "\\u0061", "(?~a)",
]  # fmt: skip


def charsmap(texts: dict[str, str]) -> bytes:
    """A map of SentencePiece in its form, a double array (darts-clone), a block of 256 for each node of the trie."""
    trie: dict[bytes, int] = {b"": 0}  # of each beginning, its block
    for text in texts:
        for end in range(1, len(text.encode()) + 1):
            trie.setdefault(text.encode()[:end], len(trie))
    units = np.zeros(256 * len(trie) + 256, np.uint32)
    units[0] = 256 << 10  # the root's children lie in the block after the first
    replaced, at = b"", {}
    for text, new in texts.items():
        at[text.encode()] = len(replaced)
        replaced += new.encode() + b"\0"
    for key, block in trie.items():
        if key:
            place = (trie[key[:-1]] + 1) * 256 ^ key[-1]
            units[place] = ((place ^ (block + 1) * 256) << 10) | (key in at) << 8 | key[-1]
        if key in at:
            units[(block + 1) * 256] = at[key]
    return int(units.nbytes).to_bytes(4, "little") + units.astype("<u4").tobytes() + replaced


@cache
def honest(kind: str) -> str:
    """A file that must open: the kinds that models in use have."""
    vocab = {word: index for index, word in enumerate(WORDS)}
    decoder: Any = None
    if kind == "WordLevel":
        tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    elif kind == "BERT":
        tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="<unk>"))
        tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
        tokenizer.post_processor = processors.TemplateProcessing("<s> $A </s>", None, [("<s>", 1), ("</s>", 2)])
        decoder = decoders.WordPiece()
    elif kind == "GPT-2":
        vocab = {each: index for index, each in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
        vocab |= {"do": 256, "dog": 257, "Ġa": 258}
        tokenizer = Tokenizer(models.BPE(vocab, [("d", "o"), ("do", "g"), ("Ġ", "a")]))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        decoder = decoders.ByteLevel()
    elif kind == "Llama":
        vocab |= {f"<0x{byte:02X}>": 16 + byte for byte in range(256)} | {"d": 272, "o": 273, "do": 274}
        tokenizer = Tokenizer(models.BPE(vocab, [("d", "o")], unk_token="<unk>", byte_fallback=True, fuse_unk=True))
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        )
    else:
        tokenizer = Tokenizer(models.Unigram([(word, -float(index)) for index, word in enumerate(WORDS)], 3, False))
        mapped = normalizers.Precompiled(charsmap({"ﬁ": "fi", "½": "1/2", "é": "é"}))
        tokenizer.normalizer = normalizers.Sequence([mapped, normalizers.Replace("  ", " ")])
        tokenizer.pre_tokenizer, decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    if decoder is not None:
        tokenizer.decoder = decoder
    tokenizer.add_special_tokens(WORDS[:4])
    return str(tokenizer.to_str())


KINDS = ("WordLevel", "BERT", "GPT-2", "Llama", "XLM-R")


def damaged_tokenizer(seed: int) -> bytes:
    """The contents of a tokenizer.json that is wrong somewhere, or that some rules make dangerous."""
    random = Random(seed)
    file = json.loads(honest(random.choice(KINDS)))
    for _ in range(random.randint(1, 3)):
        random.choice((_anywhere, _anywhere, _rules, _expression, _charsmap, _lengths, _added, _vocabulary, _merges))(
            random, file
        )
    raw = json.dumps(file, ensure_ascii=random.random() < 0.5).encode("utf-8", "surrogatepass")
    if random.random() < 0.1:
        at = random.randrange(len(raw))
        raw = raw[:at] + random.choice((b"", bytes([random.randrange(256)]) + raw[at + 1 :], raw[:at]))
    return raw


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every place in the file, as what holds it and its key; of long lists and vocabularies a few."""
    found: list[tuple[Any, Any]] = []
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []
    for key in list(keys)[:12]:
        found += [(value, key), *_places(value[key])]
    return found


def _anywhere(random: Random, file: dict[str, Any]) -> None:
    holder, key = random.choice(_places(file))
    if random.random() < 0.2:
        del holder[key]
    else:
        holder[key] = random.choice(JUNK)


def _rules(random: Random, file: dict[str, Any]) -> None:
    """A chain of rules, each lengthening the text."""
    place, inner = random.choice(
        (("normalizer", "normalizers"), ("pre_tokenizer", "pretokenizers"), ("decoder", "decoders"))
    )
    pattern: Any = random.choice(({"String": "a"}, {"String": ""}, {"Regex": "."}, {"Regex": ""}, {"String": " "}))
    kinds: list[Any] = [
        {"type": "Replace", "pattern": pattern, "content": random.choice(("aa", "", "a" * 1000, "  "))},
        {"type": "Prepend", "prepend": random.choice(("", "▁", "a" * 100_000))},
        {"type": "Strip", "content": " ", "start": random.choice((0, 1, 2**40)), "stop": random.choice((0, 1, 2**40))},
        {"type": "Strip", "strip_left": True, "strip_right": True},
        {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "NFKD"}, {"type": "Lowercase"}, {"type": "StripAccents"},
        {"type": "WordPiece", "prefix": random.choice(("", "##")), "cleanup": True},
        {"type": "BPEDecoder", "suffix": random.choice(("", "</w>"))},
        {"type": "CTC", "pad_token": "", "word_delimiter_token": "", "cleanup": True},
        {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        {"type": "Metaspace", "replacement": random.choice(("▁", "", "ab")), "prepend_scheme": "always", "split": True},
        {"type": "FixedLength", "length": random.choice((0, 1, -1, 2**63))},
        {"type": "Punctuation", "behavior": "Isolated"}, {"type": "Digits", "individual_digits": True},
        {"type": "CharDelimiterSplit", "delimiter": random.choice(("a", "", "ab"))},
    ]  # fmt: skip
    named = {"normalizers": "Replace Prepend NFKD Lowercase StripAccents Strip ByteLevel"}
    named["pretokenizers"] = "ByteLevel Metaspace FixedLength Punctuation Digits CharDelimiterSplit"
    named["decoders"] = "Replace Strip ByteFallback Fuse WordPiece BPEDecoder CTC ByteLevel Metaspace"
    if random.random() < 0.9:
        kinds = [each for each in kinds if each["type"] in named[inner].split()]
    chain: list[Any] = [random.choice(kinds) for _ in range(random.choice((1, 2, 5, 30, 200)))]
    if random.random() < 0.3:
        chain = [chain[0]] * len(chain)
    if file.get(place) and random.random() < 0.5:
        chain.insert(0, file[place])
    file[place] = {"type": "Sequence", inner: chain}
    if random.random() < 0.05:
        for _ in range(random.choice((50, 400))):
            file[place] = {"type": "Sequence", inner: [file[place]]}


def _expression(random: Random, file: dict[str, Any]) -> None:
    """An expression that takes long, that nothing reads, or that matches nothing."""
    pattern = {"Regex": random.choice(EXPRESSIONS)}
    place = random.choice(("normalizer", "pre_tokenizer", "decoder"))
    split = {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": random.random() < 0.3}
    replace = {"type": "Replace", "pattern": pattern, "content": random.choice(("", "b", "bbbb"))}
    file[place] = split if place == "pre_tokenizer" else replace


def _charsmap(random: Random, file: dict[str, Any]) -> None:
    """Bytes of the map that are others, or missing."""
    raw = bytearray(charsmap({"ﬁ": "fi", "½": "1/2", "a": "b" * random.choice((1, 10_000))}))
    for _ in range(random.choice((0, 1, 20))):
        used = [at for at in range(len(raw)) if raw[at]] if random.random() < 0.7 else range(len(raw))
        raw[random.choice(used)] = random.randrange(256)
    if random.random() < 0.3:
        del raw[random.randrange(len(raw)) :]
    text = base64.b64encode(raw).decode()
    file["normalizer"] = {
        "type": "Precompiled",
        "precompiled_charsmap": random.choice((text, text, text, text[:-1], "", 3)),
    }


def _lengths(random: Random, file: dict[str, Any]) -> None:
    """Cutting and filling that a training run has left behind."""
    size = random.choice((0, 1, 4, 10**12, -1))
    file["truncation"] = {
        "direction": "Right",
        "max_length": size,
        "strategy": "LongestFirst",
        "stride": random.choice((0, 9)),
    }
    strategy: Any = random.choice(("BatchLongest", {"Fixed": size}))
    file["padding"] = {
        "strategy": strategy, "direction": "Right", "pad_to_multiple_of": random.choice((None, 0, 8, 10**12)),
        "pad_id": 0, "pad_type_id": 0, "pad_token": "<pad>",
    }  # fmt: skip


def _added(random: Random, file: dict[str, Any]) -> None:
    """Added tokens: many, long, alike, empty, with ids that are not theirs."""
    flags = {"single_word": random.random() < 0.5, "lstrip": random.random() < 0.5, "rstrip": False}
    flags |= {"normalized": random.random() < 0.5, "special": random.random() < 0.5}
    count = random.choice((1, 1, 3, 3000, 70_000))
    content = random.choice(("", "x", "a", "\x00", "é", "y" * 2_000_000, "\ud800")) if count < 10 else "t"
    first = random.choice((16, 16, 356, 2**32 - 2, 10**12, -5))
    file["added_tokens"] = [
        {"id": first + index, "content": f"{content}{index or ''}", **flags} for index in range(count)
    ]


def _vocabulary(random: Random, file: dict[str, Any]) -> None:
    """Ids that are too large, negative, double or missing, and texts that are none."""
    model = file.get("model")
    vocab = model.get("vocab") if isinstance(model, dict) else None
    if isinstance(vocab, dict) and vocab:
        key = random.choice(list(vocab))
        vocab[key] = random.choice((-1, 0, 1, 2**32 - 1, 2**32, 10**12, 1.5, "1", None, True))
        vocab[random.choice(("", "z" * 20_000, "\x00", "<0xZZ>", "<0xéa", "##"))] = random.choice((5, 400))
    elif isinstance(vocab, list) and vocab:
        at = random.randrange(len(vocab))
        vocab[at] = random.choice(
            (["", 0.0], ["z" * 20_000, -1.0], [1, 2], [], None, ["a", 1e308], ["a", "b"], ["a", None])
        )
        model["unk_id"] = random.choice((None, 0, 3, 16, 10**12, -1))  # type: ignore[index]


def _merges(random: Random, file: dict[str, Any]) -> None:
    """Merges of tokens that there are not, and what goes before or after a word's parts."""
    model = file.get("model")
    if isinstance(model, dict):
        bad = random.choice((["x", "y"], ["d"], "d o g", "d", "", [1, 2], ["d", ""], ["", ""], ["d", "o"]))
        merges = model.get("merges")
        model["merges"] = [*(merges if isinstance(merges, list) else []), *([bad] * random.choice((1, 1, 50_000)))]
        model["continuing_subword_prefix"] = random.choice((None, None, None, "", "##", "é", "dog", "o", "x" * 1000))
        model["end_of_word_suffix"] = random.choice((None, "", "</w>"))
        model["dropout"] = random.choice((None, 0.0, 0.5, 1.0, 2.0, -1.0))
        model["max_input_chars_per_word"] = random.choice((100, 100, 1, 0, 10**12))
        if random.random() < 0.2:
            model["type"] = random.choice(("BPE", "WordPiece", "WordLevel", "Unigram", None))


_DAMAGES = (_anywhere, _anywhere, _rules, _expression, _charsmap, _lengths, _added, _vocabulary, _merges)
