"""tokenizer.json: tokenizers of all models, damaged in what they say and in how; some cost more than they look.

Also the files beside it, and those in its place, of other tools' folders.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

import fuseline
from fuseline.outputs.pieces import TextPieces
from fuseline.tokens.hf import read_folder
from fuseline.tokens.tokenizer import open_tokenizer
from tests.fuzz import json_damage
from tests.fuzz.copies import copied, correct_hashes, rewrite, right_caption, same_caption
from tests.fuzz.kinds import Kind, Place, Trial, Wrong
from tests.tokenizer_damage import damaged_tokenizer
from tests.tokenizer_folders import clip_files, vocab_and_merges, vocab_txt

Damage = Callable[[Random, dict[str, Any]], str]
WORDS = 97  # of the tiny captioner
_SPECIAL = ["<pad>", "<s>", "</s>", "<unk>"]
_TEXT = "a word5 dog, \u00e9t\u00e9 \U0001f600 1234 \u4f60\u597d."


def _vocabulary() -> list[str]:
    letters = [chr(code) for code in range(97, 123)]
    return [*_SPECIAL, "\u0120", *letters, *(f"{a}{b}" for a in "abcdef" for b in "ghijklmnop")][:WORDS]


@cache
def _sound() -> dict[str, str]:
    """One tokenizer of each model, each with WORDS tokens."""
    words = {word: number for number, word in enumerate(_vocabulary())}
    merges = [(a, b) for a in "abcdef" for b in "ghijklmnop" if a + b in words]
    made = {
        "WordLevel": Tokenizer(models.WordLevel(words, unk_token="<unk>")),
        "BPE": Tokenizer(models.BPE(words, merges, unk_token="<unk>")),
        "WordPiece": Tokenizer(models.WordPiece(words, unk_token="<unk>", max_input_chars_per_word=50)),
        "Unigram": Tokenizer(models.Unigram([(word, -float(number)) for word, number in words.items()], unk_id=3)),
    }
    made["WordLevel"].pre_tokenizer = pre_tokenizers.Whitespace()
    made["BPE"].pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made["BPE"].decoder = decoders.ByteLevel()
    made["WordPiece"].normalizer = normalizers.BertNormalizer()
    made["WordPiece"].pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made["WordPiece"].decoder = decoders.WordPiece()
    made["Unigram"].normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(" {2,}", " ")])
    made["Unigram"].pre_tokenizer = pre_tokenizers.Metaspace()
    made["Unigram"].decoder = decoders.Metaspace()
    for tokenizer in made.values():
        tokenizer.post_processor = processors.TemplateProcessing(
            "<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
        )
        tokenizer.add_special_tokens(_SPECIAL)
    return {name: tokenizer.to_str() for name, tokenizer in made.items()}


def says_otherwise(random: Random, value: dict[str, Any]) -> str:
    """Anything, but for the many words of a vocabulary seldom one."""
    shallow = {key: inner for key, inner in value.items() if key != "model"}
    shallow["model"] = {key: inner for key, inner in value["model"].items() if key not in ("vocab", "merges")}
    if random.random() < 0.3:
        return json_damage.changed(random, value)
    done = json_damage.changed(random, shallow)
    model = shallow.pop("model", None)
    kept = value["model"]
    value.clear()
    value |= shallow
    if isinstance(model, dict):
        value["model"] = {**{key: kept[key] for key in ("vocab", "merges") if key in kept}, **model}
    elif model is not None:
        value["model"] = model
    return done


def vocabulary(random: Random, value: dict[str, Any]) -> str:
    """Ids that are missing, shared, negative, huge; tokens that are empty, odd, giant, few or many."""
    vocab = value["model"]["vocab"]
    pairs = vocab if isinstance(vocab, list) else [[word, number] for word, number in vocab.items()]
    done = []
    for _ in range(random.choice((1, 1, 3))):
        at = random.randrange(len(pairs)) if pairs else 0
        match random.randrange(8):
            case 0 if pairs:
                del pairs[at]
                done.append("a word less")
            case 1 if pairs:
                pairs[at][1] = random.choice(
                    (
                        -1,
                        0,
                        5,
                        96,
                        97,
                        2**31,
                        2**32 - 1,
                        2**32,
                        2**64,
                        1.5,
                        1e308,
                        -1e308,
                        float("nan"),
                        None,
                        "5",
                        True,
                    )
                )
                done.append(f"{pairs[at][0]!r} is {pairs[at][1]}")
            case 2 if pairs:
                size = random.choice((1, 1000, 3_000_000))
                pairs[at][0] = random.choice(("", " ", "\0", "\x1b[31m", "\n", "\u202e", "\ud800", "a")) * size
                done.append(f"a word of {len(pairs[at][0])}")
            case 3:
                pairs += [[f"more{number}", len(pairs) + number] for number in range(random.choice((1, 1000, 100_000)))]
                done.append("more words")
            case 4:
                pairs = pairs[: random.choice((0, 1, 4, 50))]
                done.append(f"{len(pairs)} words")
            case 5 if pairs:
                pairs = [[word, pairs[0][1]] for word, _ in pairs]
                done.append("one id for all")
            case 6:
                pairs = [[word, random.choice((number, number + 1, number * 1000))] for word, number in pairs]
                done.append("ids with gaps")
            case _ if pairs:
                pairs[at][0] = pairs[0][0]
                done.append("a word twice")
    value["model"]["vocab"] = pairs if isinstance(vocab, list) else {str(word): number for word, number in pairs}
    return ", ".join(done)


def merges(random: Random, value: dict[str, Any]) -> str:
    """Merges of words that are none, in odd forms, or by the thousands; for models without: options of the model."""
    model = value["model"]
    if "merges" not in model:
        key = random.choice(
            (
                "unk_token",
                "unk_id",
                "continuing_subword_prefix",
                "max_input_chars_per_word",
                "byte_fallback",
                "type",
                "dropout",
                "end_of_word_suffix",
            )
        )
        model[key] = copy.deepcopy(random.choice(json_damage.EXTREMES))
        return f"model.{key} = {model[key]!r:.60}"
    model["merges"] += random.choice((
        [["zz", "yy"]], ["a b c"], [""], [[]], [["a"]], [["a", "b", "c"]], [1], [["a", "g"]] * 10_000, [["", ""]],
        ["a"], [["\ud800", "a"]],
    ))  # fmt: skip
    return "odd merges"


def expensive(random: Random, value: dict[str, Any]) -> str:
    """Chains of replacements that double, patterns that backtrack, sequences in sequences."""
    depth = random.choice((3, 12, 25, 40, 200))
    double = [{"type": "Replace", "pattern": {"String": "a"}, "content": "aa"} for _ in range(depth)]
    pattern = random.choice(
        (
            "(a+)+$",
            "(a|a)*b",
            "((((((((((a*)*)*)*)*)*)*)*)*)*)*c",
            "(?:",
            "[",
            "a{1000}{1000}",
            "\\p{Nope}",
            "(?<=a*)b",
            "",
            "^" * 10000,
        )
    )
    match random.randrange(7):
        case 0:
            value["normalizer"] = {"type": "Sequence", "normalizers": double}
            return f"{depth} replacements that double"
        case 1:
            value["decoder"] = {
                "type": "Sequence",
                "decoders": [{"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 10}, *double],
            }
            return f"{depth} replacements that double, in the decoder"
        case 2:
            value["normalizer"] = {"type": "Replace", "pattern": {"Regex": pattern}, "content": "x"}
            return f"pattern {pattern[:50]} in the normalizer"
        case 3:
            value["pre_tokenizer"] = {
                "type": "Split",
                "pattern": {"Regex": pattern},
                "behavior": "Isolated",
                "invert": False,
            }
            return f"pattern {pattern[:50]} in the pre-tokenizer"
        case 4:
            nested: dict[str, Any] = {"type": "NFC"}
            depth = min(depth * 10, 400)
            for _ in range(depth):
                nested = {"type": "Sequence", "normalizers": [nested]}
            value["normalizer"] = nested
            return f"{depth} sequences in each other"
        case 5:
            value["decoder"] = {
                "type": "Replace",
                "pattern": {"Regex": pattern},
                "content": "x" * random.choice((1, 100_000)),
            }
            return f"pattern {pattern[:50]} in the decoder"
        case _:
            value["normalizer"] = {"type": "Prepend", "prepend": "a" * random.choice((1, 10**6))}
            value["decoder"] = random.choice(
                (
                    {"type": "Strip", "content": "a", "start": 2**62, "stop": 2**62},
                    {"type": "Strip", "content": "ab", "start": 1, "stop": 1},
                    {"type": "CTC", "pad_token": "", "word_delimiter_token": "", "cleanup": True},
                    {"type": "Fuse"},
                    {"type": "ByteFallback"},
                    {"type": "BPEDecoder", "suffix": ""},
                    None,
                )
            )
            return f"prepended, decoder {value['decoder']}"


def parts(random: Random, value: dict[str, Any]) -> str:
    """Added tokens, templates, truncation and padding at extremes."""
    match random.randrange(5):
        case 0:
            token = {
                "id": random.choice((0, 4, 96, 97, 98, 10**6, 2**32 - 1, 2**32, -1)),
                "content": random.choice(("", "<x>", "</s>", "a", " ", "\ud800", "x" * 100_000)),
                "single_word": False,
                "lstrip": random.random() < 0.5,
                "rstrip": random.random() < 0.5,
                "normalized": random.random() < 0.5,
                "special": random.random() < 0.7,
            }
            value["added_tokens"] += [token] * random.choice((1, 1, 2))
            return f"added token {token['id']} {token['content'][:20]!r}"
        case 1:
            value["truncation"] = {
                "direction": "Right",
                "max_length": random.choice((0, 1, 2, 2**62)),
                "strategy": random.choice(("LongestFirst", "OnlySecond")),
                "stride": random.choice((0, 1, 5, 2**62)),
            }
            return f"truncation {value['truncation']}"
        case 2:
            value["padding"] = {
                "strategy": random.choice(("BatchLongest", {"Fixed": random.choice((1, 10, 10**6, 10**8, 2**62))})),
                "direction": random.choice(("Left", "Right")),
                "pad_to_multiple_of": random.choice((None, 0, 8, 2**62)),
                "pad_id": random.choice((0, 500)),
                "pad_type_id": 0,
                "pad_token": "<pad>",
            }
            return f"padding {value['padding']}"
        case 3:
            value["post_processor"] = random.choice(
                (
                    None,
                    {"type": "TemplateProcessing", "single": [], "pair": [], "special_tokens": {}},
                    {
                        "type": "TemplateProcessing",
                        "single": [{"SpecialToken": {"id": "<none>", "type_id": 0}}],
                        "pair": [],
                        "special_tokens": {},
                    },
                    {"type": "BertProcessing", "sep": ["x", 5], "cls": ["y", 2**31]},
                    {
                        "type": "RobertaProcessing",
                        "sep": ["", 0],
                        "cls": ["", 0],
                        "trim_offsets": True,
                        "add_prefix_space": True,
                    },
                    {"type": "Sequence", "processors": []},
                )
            )
            return f"post_processor {str(value['post_processor'])[:80]}"
        case _:
            value["added_tokens"] = random.choice(
                ([], None, value["added_tokens"] * 300, value["added_tokens"][::-1], value["added_tokens"][:1])
            )
            return f"{len(value['added_tokens'] or [])} added tokens"


_OF_JSON: tuple[Damage, ...] = (
    says_otherwise,
    says_otherwise,
    says_otherwise,
    vocabulary,
    vocabulary,
    merges,
    expensive,
    parts,
)


def damage(random: Random, folder: Path) -> str:
    """A damaged tokenizer of any model in the folder; its hash is wrong then."""
    name = random.choice(sorted(_sound()))
    text = _sound()[name].encode()
    if random.random() < 0.1:
        what, content = json_damage.broken(random, text)
    else:
        value, done = json.loads(text), []
        for _ in range(random.choice((1, 1, 2))):
            try:
                done.append(random.choice(_OF_JSON)(random, value))
            except (
                KeyError,
                TypeError,
                AttributeError,
                ValueError,
                RecursionError,
            ):  # an earlier damage left nothing to change
                break
        what, content = ", ".join(done), json.dumps(value).encode()
    rewrite(folder / "tokenizer.json", content)
    return f"{name}: {what}"


def another(random: Random, folder: Path) -> str:
    """The damaged file of a tokenizer as they are in use, of another vocabulary than the captioner's."""
    seed = random.getrandbits(32)
    rewrite(folder / "tokenizer.json", damaged_tokenizer(seed))
    return f"tests.tokenizer_damage.damaged_tokenizer({seed})"


DAMAGES = (damage, damage, damage, another)


_CLASSES = (
    "BertTokenizer", "GPT2Tokenizer", "RobertaTokenizer", "BartTokenizer", "CLIPTokenizer", "T5Tokenizer",
    "XLMRobertaTokenizer", "CamembertTokenizer", "MBartTokenizer", "BertJapaneseTokenizer", "PreTrainedTokenizerFast",
)  # fmt: skip


def _files(random: Random, folder: Path) -> str:
    """The tokenizer files of another tool's folder, one or two of them damaged in what they say or in any byte."""
    folder.mkdir()
    vocabulary = random.choice((vocab_txt, vocab_and_merges, clip_files, None))
    if vocabulary is not None:
        vocabulary(folder)
    if vocabulary is None or random.random() < 0.3:
        (folder / "tokenizer.json").write_text(random.choice(sorted(_sound().values())))
    token = {"content": "<x>", "lstrip": True, "rstrip": False, "normalized": False, "single_word": False}
    config = {"tokenizer_class": random.choice(_CLASSES), "clean_up_tokenization_spaces": random.random() < 0.5}
    config |= {"add_prefix_space": True, "do_lower_case": False, "extra_special_tokens": ["<y>"], "pad_token": token}
    if random.random() < 0.5:
        config["added_tokens_decoder"] = {"400": {**token, "special": True}, "401": {**token, "content": "dog"}}
    values = {"tokenizer_config.json": config, "added_tokens.json": {"<x>": 400, "<z>": 402}}
    values["special_tokens_map.json"] = {"bos_token": token, "additional_special_tokens": ["<y>", token]}
    done = []
    for name in random.sample(sorted(values), random.choice((1, 1, 2))):
        done.append(f"{name}: {json_damage.changed(random, values[name])}")
    for name, value in values.items():
        (folder / name).write_text(json.dumps(value))
    if random.random() < 0.3:
        path = random.choice(sorted(folder.iterdir()))
        what, content = json_damage.broken(random, path.read_bytes())
        path.write_bytes(content)
        done.append(f"{path.name}: {what}")
    return f"{config.get('tokenizer_class')!r:.60}, {'; '.join(done)}"


def _read(folder: Path, seed: int) -> str:
    """Open the tokenizer of these files; the pieces of a stream must be the whole text."""
    tokens = open_tokenizer(read_folder(folder.resolve()), 0)
    ids = sorted(tokens.tokenizer.get_vocab().values())
    for _ in range(20 if ids else 0):
        row = Random(seed).choices(ids, k=12)
        pieces = TextPieces(tokens.decode)
        given = "".join(pieces.grown(row[:end]) for end in range(1, len(row))) + pieces.whole(row)
        if given != tokens.decode(row):
            raise Wrong(f"pieces {given!r:.100} and a text of {tokens.decode(row)!r:.100}")
        seed += 1
    with suppress(fuseline.InputError):  # a text that this tokenizer knows no token of
        tokens.encode(_TEXT)
    return "read"


def _make(random: Random, place: Place) -> Trial:
    if random.random() < 0.3:
        files = place.case / "files"
        what, seed = _files(random, files), random.getrandbits(32)
        return Trial(what, lambda: _read(files, seed))
    folder = copied(place, "fp32")
    path = folder / "tokenizer.json"
    if random.random() < 0.1:
        how, content = json_damage.written(random, json.loads(path.read_bytes()))
        rewrite(path, content)
        correct_hashes(folder)
        right = right_caption(place.templates / "fp32")
        return Trial(how, lambda: same_caption(folder, right, how))
    what = random.choice(DAMAGES)(random, folder)
    correct_hashes(folder)
    seed = random.getrandbits(32)
    return Trial(what, lambda: _used(folder, seed))


def _used(folder: Path, seed: int) -> str:
    """Open the folder and do all that needs its tokenizer; the pieces of a stream must be the whole text."""
    model = fuseline.Model.from_pretrained(folder, None, threads=1)
    pixels = np.random.default_rng(seed).normal(size=(1, 3, 32, 32)).astype(np.float32)
    generation = model.generate(pixels, num_beams=2)
    [text] = model.decode(generation.sequences)
    pieces = "".join(event.text or "" for event in model.stream(pixels, num_beams=2))
    if pieces != text:
        raise Wrong(f"a stream of {pieces!r:.100} and a text of {text!r:.100}")
    try:
        model.generate(pixels, stop_strings=["dog"], max_new_tokens=3)
        model.score(pixels, _TEXT)
    except fuseline.InputError:  # a text that this tokenizer knows no token of
        pass
    return "loaded"


KIND = Kind("tokenizers", _make, cpu_seconds=10.0, megabytes=1000.0)
