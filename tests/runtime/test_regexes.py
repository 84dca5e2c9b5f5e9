"""Expressions of tokenizers: those in use pass, and those that may take endless time are refused by their form."""

from __future__ import annotations

import pytest

from fuseline.tokens.regexes import LONGEST, TooComplex, cost_of

IN_USE = {
    "GPT-2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "CLIP": r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+",
    "Llama 3": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
    "GPT-4o": r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "cl100k": r"(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s",
    "DeepSeek": r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|\s*[\r\n]+",
    "BLOOM": " ?[^(\\s|[.,!?…。\uff0c、।\u06d4،])]+",
    "scripts": "[一-龥\u3040-ゟ\u30a0-ヿ]+",
    "thousands": r"(?=(\d{3})+(?!\d))",
    "XLM-R": r" {2,}",
}


@pytest.mark.parametrize("name", IN_USE)
def test_those_in_use_take_the_square_of_the_text_at_most(name: str) -> None:
    cost = cost_of(IN_USE[name])
    assert cost.degree <= 1
    assert cost.ways <= 10


@pytest.mark.parametrize(
    ("pattern", "least", "degree"),
    [
        ("abc", 3, 0),
        ("a*", 0, 0),
        ("a*b", 1, 1),
        ("a+(?!b)", 1, 1),
        ("a*b*c", 1, 2),
        ("(?>a*)b", 1, 0),
        ("a*+b", 1, 0),
        (" {2,}", 2, 0),
        ("a|bb|", 0, 0),
        ("[]a]", 1, 0),
        ("[^]a]x", 2, 0),
        ("[a[b]]", 1, 0),
        (r"\p{L}\x{61}\n", 3, 0),
        ("(?<name>a)b", 2, 0),
        ("(?#a comment)a", 1, 0),
        ("(?i)a", 1, 0),
        ("a{,2}b", 1, 0),
        ("a{b", 3, 0),
        ("x{3}", 3, 0),
        ("(a+b)*", 0, 1),
    ],
)
def test_the_least_it_matches_and_how_its_time_grows(pattern: str, least: int, degree: int) -> None:
    cost = cost_of(pattern)
    assert (cost.least, cost.degree) == (least, degree)


@pytest.mark.parametrize(
    "pattern",
    [
        "(a+)+b",
        "(a*)*b",
        "(a|a)*b",
        "(a|b|ab)*c",
        "a?" * 20 + "a" * 20,
        "(a?){30}a{30}",
        "((a{100}){100}){100}",
        r"(\w+)\1",
        r"(?<n>a)\k<n>",
        "(?~abc)",
        "(?(1)a|b)",
        "(a",
        "a)",
        "[a",
        "\\",
        r"\p{L",
        "(" * 100 + ")" * 100,
        "x" * (LONGEST + 1),
    ],
)
def test_those_that_may_take_endless_time_or_are_not_known_are_refused(pattern: str) -> None:
    with pytest.raises(TooComplex):
        cost_of(pattern)
