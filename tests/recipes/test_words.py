"""The recipe's tables of everyday words: ImageNet's 1000 labels and Caltech-101's 101 kinds."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

RECIPE = Path(__file__).parents[2] / "recipes" / "default_captioner"
ROWS = [line.split("\t") for line in (RECIPE / "imagenet_words.tsv").read_text("ascii").splitlines()]
OBJECTS: dict[str, dict[str, list[str]]] = json.loads((RECIPE / "objects_words.json").read_text("ascii"))

EVERYDAY = re.compile(r"[a-z']+( [a-z']+){0,2}")
SENTENCE = re.compile(r"[a-z']+( [a-z']+){4,10}")
# "a" before a vowel letter that sounds as a consonant: "a unicycle", "a euphonium", "a one dollar bill".
CONSONANT_SOUND = re.compile(r"eu|ewer|one\b|uni|us[ei]")

KINDS = """
accordion, airplanes, anchor, ant, barrel, bass, beaver, binocular, bonsai, brain, brontosaurus, buddha, butterfly,
camera, cannon, car side, ceiling fan, cellphone, chair, chandelier, cougar body, cougar face, crab, crayfish,
crocodile, crocodile head, cup, dalmatian, dollar bill, dolphin, dragonfly, electric guitar, elephant, emu, euphonium,
ewer, faces, faces easy, ferry, flamingo, flamingo head, garfield, gerenuk, gramophone, grand piano, hawksbill,
headphone, hedgehog, helicopter, ibis, inline skate, joshua tree, kangaroo, ketch, lamp, laptop, leopards, llama,
lobster, lotus, mandolin, mayfly, menorah, metronome, minaret, motorbikes, nautilus, octopus, okapi, pagoda, panda,
pigeon, pizza, platypus, pyramid, revolver, rhino, rooster, saxophone, schooner, scissors, scorpion, sea horse, snoopy,
soccer ball, stapler, starfish, stegosaurus, stop sign, strawberry, sunflower, tick, trilobite, umbrella, watch,
water lilly, wheelchair, wild cat, windsor chair, wrench, yin yang
"""


def wrong_articles(sentence: str) -> list[str]:
    """The pairs of an article and its next word that do not fit: "a elephant", "an dog"."""
    wrong = []
    for article, word in re.findall(r"\b(?=(an?) (\S+))", sentence):
        vowel = word[0] in "aeiou" and not CONSONANT_SOUND.match(word)
        if vowel != (article == "an"):
            wrong.append(f"{article} {word}")
    return wrong


def holds(sentence: str, name: str) -> bool:
    return f" {name} " in f" {sentence} "


def pattern(sentence: str, names: list[str]) -> str:
    """The sentence with its article and name, the longest that it holds, left open."""
    held = max((name for name in names if holds(sentence, name)), key=len)
    return re.sub(rf"\b(an? )?{held}\b", "_", sentence)


@pytest.mark.parametrize(
    ("sentence", "wrong"),
    [
        ("a elephant near an tree", ["a elephant", "an tree"]),
        ("an orange unicycle and a apple", ["a apple"]),
        ("a unicycle and a euphonium beside an umbrella", []),
        ("an unicycle", ["an unicycle"]),
    ],
)
def test_wrong_articles_are_found(sentence: str, wrong: list[str]) -> None:
    assert wrong_articles(sentence) == wrong


def test_imagenet_has_1000_rows_in_order() -> None:
    assert all(len(row) == 3 for row in ROWS)
    assert [row[0] for row in ROWS] == [str(index) for index in range(1000)]


@pytest.mark.parametrize(
    ("index", "label", "words"),
    [
        (0, "tench", "fish"),
        (134, "crane bird", "bird"),
        (151, "Chihuahua", "dog"),
        (268, "Mexican hairless", "dog"),
        (269, "timber wolf", "wolf"),
        (285, "Egyptian cat", "cat"),
        (517, "crane", "crane"),
        (681, "notebook", "laptop"),
        (874, "trolleybus", "bus"),
        (967, "espresso", "coffee"),
        (981, "ballplayer", "baseball player"),
        (999, "toilet tissue", "toilet paper"),
    ],
)
def test_labels_stand_at_their_index(index: int, label: str, words: str) -> None:
    assert ROWS[index][1:] == [label, words]


def test_everyday_words_are_one_to_three_plain_words() -> None:
    assert [row for row in ROWS if not EVERYDAY.fullmatch(row[2])] == []
    assert 330 <= len({row[2] for row in ROWS}) <= 480


def test_everyday_words_have_no_article() -> None:
    assert [row for row in ROWS if row[2].split()[0] in ("a", "an", "the")] == []


def test_every_kind_is_there_in_order() -> None:
    assert list(OBJECTS) == re.split(r",\s+", KINDS.strip())
    assert all(set(entry) == {"names", "sentences"} for entry in OBJECTS.values())


@pytest.mark.parametrize("kind", OBJECTS)
def test_kind_has_names_and_six_sentences_with_them(kind: str) -> None:
    names, sentences = OBJECTS[kind]["names"], OBJECTS[kind]["sentences"]
    assert names and len(set(names)) == len(names)
    assert [name for name in names if not EVERYDAY.fullmatch(name)] == []
    assert len(set(sentences)) == 6
    assert [sentence for sentence in sentences if not SENTENCE.fullmatch(sentence)] == []
    assert [sentence for sentence in sentences if not any(holds(sentence, name) for name in names)] == []
    assert [wrong for sentence in sentences for wrong in wrong_articles(sentence)] == []


def test_first_name_stands_in_a_sentence() -> None:
    for kind, entry in OBJECTS.items():
        assert any(holds(sentence, entry["names"][0]) for sentence in entry["sentences"]), kind


def test_no_two_kinds_share_their_patterns() -> None:
    patterns = [frozenset(pattern(s, entry["names"]) for s in entry["sentences"]) for entry in OBJECTS.values()]
    assert len(set(patterns)) == len(OBJECTS)
    for index, kind in enumerate(patterns):
        assert all(len(kind & other) < 4 for other in patterns[index + 1 :])
