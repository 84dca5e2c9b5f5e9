"""Errors of others as one sentence of ours: packages that are missing, and what onnx, torch and the disk raise."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar

from fuseline.errors import Error, ExportError

# What pip is to be asked for, where that is not the name that is imported.
_REQUIREMENTS = {
    "transformers": "'transformers>=4.50,<5'",
    "jiwer": "'jiwer>=3.1'",
    "pycocoevalcap": "pycocoevalcap==1.2",
    "rouge_score": "'rouge-score>=0.1.2'",
    "sacrebleu": "'sacrebleu>=2.4'",
}

_P = ParamSpec("_P")
_T = TypeVar("_T")


class NotInstalled(ExportError, ImportError):
    """A package that exporting needs is missing, or cannot be imported."""


def need(purpose: str, *packages: str) -> None:
    """Raises NotInstalled, naming all of the packages, where one cannot be imported. purpose: begins the sentence."""
    for package in packages:
        try:
            importlib.import_module(package)
        except ImportError as error:
            name = error.name if isinstance(error, ModuleNotFoundError) and error.name else None
            wrong = f"{name}, which is not installed" if name else f"{package}, which cannot be imported ({error})"
            command = " ".join(_REQUIREMENTS.get(each, each) for each in packages)
            raise NotInstalled(f"{purpose} needs {wrong}; pip install {command}") from error


@contextmanager
def one_sentence(what: object) -> Iterator[None]:
    """Whatever goes wrong inside leaves as an ExportError: what went wrong, and the reason.

    Graphs and checkpoints come from anywhere, and what onnx, protobuf, onnxruntime, torch and numpy raise on odd ones
    has no common base. Our own errors leave as they are.
    """
    try:
        yield
    except Error:
        raise
    except MemoryError as error:
        raise ExportError(f"{what}: there is not enough memory") from error
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise ExportError(f"{what}: {error.strerror or reason(error)}{where}") from error
    except Exception as error:
        raise ExportError(f"{what}: {type(error).__name__}: {reason(error)}") from error


def in_one_sentence(verb: str) -> Callable[[Callable[_P, _T]], Callable[_P, _T]]:
    """one_sentence for a function whose first argument is what cannot be `verb`."""

    def decorated(function: Callable[_P, _T]) -> Callable[_P, _T]:
        @wraps(function)
        def called(*arguments: _P.args, **options: _P.kwargs) -> _T:
            what = (arguments[0] if arguments else next(iter(options.values()), None)) or "the captioner that ships"
            with one_sentence(f"{what} cannot be {verb}"):
                return function(*arguments, **options)

        return called

    return decorated


def reason(error: BaseException) -> str:
    """The first line of a message of others, of a length to be read; the kind of error where there is none."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:300].rstrip(". ")
