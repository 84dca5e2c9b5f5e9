"""How long a regular expression of a tokenizer may take: its form alone tells, before anything runs.

The engine behind tokenizers (Oniguruma) tries one way after the other. How many there may be follows from the parts of
the expression that can match more or less text while something after them can still fail. Whoever makes a folder
chooses its expressions, and one such as (a+)+b takes years for a line of text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

LONGEST = 4096  # characters of an expression; the longest in use has some 300
_MOST_WAYS = 1000  # at one place, those that a repetition without bound brings not counted
_MOST_COPIES = 10_000  # of its parts, which the engine makes for counted repetitions
_DEEPEST = 40  # groups within groups
_ENDLESS = 9  # a degree that nobody accepts


class Cost(NamedTuple):
    """What one part may take. least: characters that it matches at least; degree: of the polynomial in the length of
    the text that bounds the ways at one place; ways: its factor; fails: whether it may fail to match; copies: parts."""

    least: int
    degree: int
    ways: int
    fails: bool
    copies: int


class TooComplex(Exception):
    """An expression that may take too long, or has a part that is not known here; its text says why."""


@dataclass(frozen=True)
class _Part:
    """A piece of an expression. kind: "one" character, a "place" without width, "all" parts in turn, "any" of them, a
    part "ahead" or behind, a part "once" without a way back, or a part again and again, from least to most times."""

    kind: str
    parts: tuple[_Part, ...] = ()
    least: int = 1
    most: int | None = 1


def cost_of(pattern: str) -> Cost:
    """What an expression may take. Raises TooComplex where that is too much whatever the text, or cannot be told."""
    if len(pattern) > LONGEST:
        raise TooComplex(f"it has {len(pattern)} characters and may have {LONGEST}")
    cost = _cost(_Parser(pattern).whole(), False)
    if cost.degree >= _ENDLESS or cost.ways > _MOST_WAYS:
        raise TooComplex("it may match one text in too many ways")
    if cost.copies > _MOST_COPIES:
        raise TooComplex("its repetitions are too many")
    return cost


def _cost(part: _Part, fails_after: bool) -> Cost:
    """What a part may take. fails_after: whether what follows may fail, and send the engine back."""
    match part.kind:
        case "one":
            return Cost(1, 0, 1, True, 1)
        case "place":
            return Cost(0, 0, 1, True, 1)
        case "all":
            return _in_turn(part.parts, fails_after)
        case "any":
            each = [_cost(branch, fails_after) for branch in part.parts]
            ways = sum(found.ways for found in each) if fails_after else max(found.ways for found in each)
            fails = all(found.fails for found in each)
            copies = sum(found.copies for found in each)
            return Cost(min(f.least for f in each), max(f.degree for f in each), min(ways, 10**9), fails, copies)
        case "ahead":
            found = _cost(part.parts[0], False)
            return Cost(0, found.degree, found.ways, True, found.copies)
        case "once":
            return _cost(part.parts[0], False)
        case _:
            return _repeated(part, fails_after)


def _in_turn(parts: tuple[_Part, ...], fails_after: bool) -> Cost:
    least, degree, ways, fails, copies = 0, 0, 1, False, 1
    for part in reversed(parts):
        found = _cost(part, fails_after)
        least, degree, ways = least + found.least, degree + found.degree, min(ways * found.ways, 10**9)
        fails, fails_after = fails or found.fails, fails_after or found.fails
        copies += found.copies
    return Cost(least, degree, ways, fails, copies)


def _repeated(part: _Part, fails_after: bool) -> Cost:
    most = part.most
    found = _cost(part.parts[0], fails_after or part.least > 1)
    one_way = found.degree == 0 and found.ways == 1
    bounded = most is not None and most - part.least <= _MOST_WAYS
    if not fails_after and (part.least <= 1 or one_way):
        degree, ways = found.degree, found.ways
    elif bounded:
        assert most is not None
        if one_way:
            degree, ways = 0, most - part.least + 1
        else:
            degree, ways = found.degree * most, min((found.ways + 1) ** min(most, 40), 10**9)
    else:
        degree, ways = (1, 1) if one_way else (_ENDLESS, 1)
    copies = found.copies * max(part.least, most or 1)
    return Cost(part.least * found.least, degree, ways, part.least > 0 and found.fails, copies)


class _Parser:
    """Oniguruma's syntax as Ruby has it, as far as tokenizers use it; what is left out is refused."""

    def __init__(self, pattern: str) -> None:
        self._text, self._at, self._depth = pattern, 0, 0

    def whole(self) -> _Part:
        part = self._any()
        if self._at < len(self._text):
            raise TooComplex(f"it has a ) without a ( at character {self._at + 1}")
        return part

    def _next(self, text: str) -> bool:
        """Whether this comes next; it is passed then."""
        found = self._text.startswith(text, self._at)
        self._at += len(text) * found
        return found

    def _one(self) -> str:
        if self._at >= len(self._text):
            raise TooComplex("it ends too early")
        self._at += 1
        return self._text[self._at - 1]

    def _any(self) -> _Part:
        branches = [self._all()]
        while self._next("|"):
            branches.append(self._all())
        return branches[0] if len(branches) == 1 else _Part("any", tuple(branches))

    def _all(self) -> _Part:
        parts: list[_Part] = []
        while self._at < len(self._text) and self._text[self._at] not in "|)":
            parts.append(self._quantified(self._atom()))
        return _Part("all", tuple(parts))

    def _quantified(self, part: _Part) -> _Part:
        while True:
            if self._next("*"):
                least, most = 0, None
            elif self._next("+"):
                least, most = 1, None
            elif self._next("?"):
                least, most = 0, 1
            elif (counted := self._counted()) is not None:
                part = _Part("again", (part,), *counted)
                self._next("?")
                continue  # {2,3}+ is a repetition of a repetition here
            else:
                return part
            part = _Part("again", (part,), least, most)
            if self._next("+"):
                part = _Part("once", (part,))
            else:
                self._next("?")

    def _counted(self) -> tuple[int, int | None] | None:
        """{n}, {n,}, {,m} or {n,m}; a brace that is none of them stands for itself."""
        end = self._text.find("}", self._at)
        if self._at >= len(self._text) or self._text[self._at] != "{" or end < 0 or end - self._at > 14:
            return None
        least, comma, most = self._text[self._at + 1 : end].partition(",")
        if not (least or most) or not all(each.isascii() and each.isdigit() for each in (least, most) if each):
            return None
        self._at = end + 1
        return int(least or 0), (int(most) if most else None) if comma else int(least)

    def _atom(self) -> _Part:
        letter = self._one()
        if letter == "(":
            return self._group()
        if letter == "[":
            self._class()
        elif letter in "^$":
            return _Part("place")
        elif letter == "\\":
            return self._escape()
        return _Part("one")

    def _escape(self) -> _Part:
        letter = self._one()
        if letter in "123456789kgK":
            raise TooComplex(f"it has \\{letter}, which refers to another part")
        if letter in "bBAzZG":
            return _Part("place")
        if letter in "RXOY":
            return _Part("any", (_Part("one"), _Part("all", (_Part("one"), _Part("one")))))
        self._escaped(letter)
        return _Part("one")

    def _escaped(self, letter: str) -> None:
        """Pass what belongs to an escape of one character or a class: the name of a property, a number."""
        if letter in "pPx" and self._next("{"):
            end = self._text.find("}", self._at)
            if end < 0:
                raise TooComplex(f"it has a \\{letter}{{ without an end")
            self._at = end + 1

    def _class(self) -> None:
        """Pass the rest of a class of characters, which may hold others."""
        depth, first = 1, True
        while depth:
            letter = self._one()
            if letter == "^" and first:
                continue
            if letter == "[":
                depth += 1
            elif letter == "]" and not first:
                depth -= 1
            elif letter == "\\":
                self._escaped(self._one())
            first = letter == "["

    def _group(self) -> _Part:
        if self._next("?#"):
            while self._one() != ")":
                pass
            return _Part("all")
        kind = "all"
        if self._next("?"):
            if self._next("=") or self._next("!") or self._next("<=") or self._next("<!"):
                kind = "ahead"
            elif self._next(">"):
                kind = "once"
            elif self._next("<"):
                while self._one() != ">":
                    pass
            else:
                while (letter := self._one()) not in ":)":
                    if letter not in "imx-":
                        raise TooComplex(f"it has (?{letter}, which is not known here")
                if letter == ")":
                    return _Part("all")
        self._depth += 1
        if self._depth > _DEEPEST:
            raise TooComplex("its groups lie too deep in each other")
        part = self._any()
        if not self._next(")"):
            raise TooComplex("it has a ( without a )")
        self._depth -= 1
        return _Part(kind, (part,))
