"""What a call of a pipeline gives beside its photos: the same for all of them, or something else for each."""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Iterator, Mapping
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeGuard

from ..errors import InputError, counted, written
from ..inputs.named import HINT, check_takes_hint, is_blank, tidy

if TYPE_CHECKING:
    from ..model import Model

_RIGHT = "give one for all, or one a photo, with None where there is none"


class Beside:
    """Inputs of other sources, photo by photo. It is true where anything was given, be it nothing for each photo."""

    def __init__(self, model: Model, sources: Mapping[str, Any] | None = None, hint: object = None) -> None:
        """sources: by source what Model.inputs_beside takes, for all photos, or a list or an iterator with one entry a
        photo, None where it has none; hint: the same of the source of that name. Raises InputError."""
        given = dict(_both(model, {} if sources is None else sources, hint))
        apart = {name: value for name, value in given.items() if _one_a_photo(value)}
        self._model = model
        self._same = model.inputs_beside({name: value for name, value in given.items() if name not in apart})
        model.inputs_beside(dict.fromkeys(apart))  # which names there are is known before the first photo
        self._each = {name: _InTurn(name, value) for name, value in apart.items()}

    def __bool__(self) -> bool:
        return bool(self._same or self._each)

    def of(self, number: int) -> Mapping[str, Mapping[str, Any]]:
        """The inputs of the other sources for a photo, B = 1, without those it has none of. number: from 1.

        Each photo is asked for once, in any order and from any thread. Raises InputError.
        """
        if not self._each:
            return self._same
        own = {name: values.of(number) for name, values in self._each.items()}
        return {**self._same, **self._model.inputs_beside(own)}

    def check_count(self, photos: int) -> None:
        """Raise InputError where a list has another number of entries than there are photos."""
        for values in self._each.values():
            values.check_count(photos)


class _InTurn:
    """One value a photo. Of an iterator, which may be endless, only as many are drawn as there are photos."""

    def __init__(self, name: str, values: Iterable[Any]) -> None:
        self._name = name
        self._count = len(values) if isinstance(values, list | tuple) else None
        self._values, self._drawn = iter(values), 0
        self._waiting: dict[int, Any] = {}  # drawn already, by the photo's number
        self._lock = Lock()

    def check_count(self, photos: int) -> None:
        if self._count is not None and self._count != photos:
            are = "is" if photos == 1 else "are"
            found = f"{self._name} has {_entries(self._count)}, and there {are} {counted(photos, 'photo')}"
            raise InputError(f"{found}; {_RIGHT}")

    def of(self, number: int) -> Any:
        with self._lock:
            while self._drawn < number:
                try:
                    self._waiting[self._drawn + 1] = next(self._values)
                except StopIteration:
                    raise InputError(f"{self._name} ends after {_entries(self._drawn)}; {_RIGHT}") from None
                self._drawn += 1
            return self._waiting.pop(number)


def _one_a_photo(value: object) -> bool:
    """Whether it has an entry a photo. A list of numbers is one sound, and so is an open file, which gives lines."""
    if isinstance(value, list | tuple):
        return not value or not isinstance(value[0], numbers.Real)
    return isinstance(value, Iterator) and not hasattr(value, "read")


def _is_iterable(value: object) -> TypeGuard[Iterable[object]]:
    """Whether it can be gone through, which an array without axes says of itself and cannot."""
    try:
        iter(value)  # type: ignore[call-overload]
    except TypeError:
        return False
    return True


def _entries(count: int) -> str:
    return "1 entry" if count == 1 else f"{count:,} entries"


def _both(model: Model, sources: object, hint: object) -> Mapping[str, Any]:
    """What is given by source, the hint among it. Raises InputError."""
    if not isinstance(sources, Mapping):
        raise InputError(f'sources must be a mapping by source, such as {{"hint": "a text"}}, not {written(sources)}')
    if hint is None:
        return sources
    if HINT in sources:
        raise InputError(f"the hint is given twice, as hint= and in sources=; give it once, not {written(hint)} too")
    if isinstance(hint, str):
        if is_blank(hint):
            return sources
        value: Any = tidy(hint)
    elif isinstance(hint, Mapping | bytes | bytearray | set) or not _is_iterable(hint):
        raise InputError(f"hint must be a text, or a list with one a photo, not {written(hint)}")
    else:
        given_at_once = not isinstance(hint, Iterator)  # what comes one at a time is named where it is taken
        value = [_tidy(each, photo) for photo, each in enumerate(hint, 1)] if given_at_once else map(tidy, hint)
    check_takes_hint(model.folder.sources, model.folder.source.name)
    return {**sources, HINT: value}


def _tidy(hint: object, photo: int) -> str | None:
    try:
        return tidy(hint)
    except InputError as error:
        raise InputError(f"photo {photo}: {error}") from error
