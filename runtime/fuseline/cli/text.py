"""The command `fuseline text`: a line in, a line out, or an object for every line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import InputError, shown
from .generating import add_running_options, generation_fields, note_if_cut_off, opened_model
from .interrupts import check as check_interrupts
from .lines import Line, check_files, count, read
from .streams import Unwritable, on_one_line
from .terminal import FAILED, Terminal

if TYPE_CHECKING:
    from ..arrays import Int64
    from ..generation.result import Generation
    from ..model import Model
    from ..outputs.streaming import Event
    from ..pipelines.text_to_text import Job, TextToText

_BATCHES = 16  # that the lines of a window make
_CHARACTERS = 1 << 22  # of a window's lines
_HELP = """\
Translate, sum up or rewrite texts with a model that reads texts: a line in, a line out, in the same order.
Without FILE, or where it is -, lines come from standard input, and are answered as they come.
A line that cannot be used is said on standard error and has an empty line in its place; the exit status is 2 then."""
_EPILOG = """\
--json prints an object a line: {"file": ..., "line": ..., "text": ..., "finish_reason": ..., "score": ...,
"milliseconds": ..., "variant": ...}, for a line that failed {"file": ..., "line": ..., "error": ...}, and
{"error": ...} if the command can do nothing at all. Lines that go through the model together share its time.
Of an empty line, which is not given to the model, finish_reason and score are null. A model that was taught how sure it
is has "confidence" too, from 0 to 1, and "unsure".

example: fuseline text --model nllb --from eng_Latn --to deu_Latn letters.txt > briefe.txt
         echo "translate English to German: How are you?" | fuseline text --model t5"""


def add_to(commands: Any) -> None:
    """Make it one of the commands: what argparse's add_subparsers gave."""
    text = commands.add_parser(
        "text",
        help="translate, sum up or rewrite lines of text",
        description=_HELP,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    text.set_defaults(command=_run)
    add = text.add_argument
    add("files", nargs="*", metavar="FILE", help="a file in UTF-8 that has a text a line, or - for standard input")
    add("--model", metavar="FOLDER", required=True, help="a model folder, as fuseline export makes it")
    add("--from", dest="source", metavar="LANG", help="the language of the lines, of models that know several")
    add("--to", dest="target", metavar="LANG", help="the language to translate them into")
    add("--batch", type=int, default=8, metavar="N", help="lines that go through the model together (default: 8)")
    add("--truncate", action="store_true", help="cut lines that are too long for the model (default: they fail)")
    add("--num-beams", type=int, metavar="N", help="texts that are followed at once (default: 4, or as the task has)")
    add("--max-length", type=int, metavar="N", help="most tokens of a text (default: the model's own number, or 257)")
    add_running_options(add)
    how = text.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true", help="print an object a line, as below")
    how.add_argument("--stream", action="store_true", help="print words as they become certain")


def _run(options: argparse.Namespace, terminal: Terminal) -> int:
    """Answer every line that can be; 2 if one could not."""
    from ..folders.tensors import TEXT
    from ..pipelines.common import check_task, checked_batch_size

    names = options.files or ["-"]
    check_files(names)
    batch = checked_batch_size(options.batch)
    model = opened_model(options.model, options)
    check_task(model, "fuseline text", TEXT)
    job = _pipeline(model, options).job()
    job.config.total_length(1, model.folder.decoder.max_positions)  # what is wrong is said once, not for every line
    watched = "-" in names and sys.stdin.isatty()
    if watched:
        terminal.note("lines are read from the terminal; Ctrl-D ends them")
    work = _Work(job, terminal, options.json)
    if options.stream:
        done = _count(work.streamed(line) for line in read(names) if line is not None)
    else:
        answers = (answer for window in _windows(read(names), batch) for answer in work.answers(window, batch))
        total = count(names)
        with terminal.counted(answers, not watched, doing="answering", unit="line", total=total, look=False) as counted:
            done = _count(work.show(answer) for answer in counted)
    if not done.all:
        raise InputError(f"there is no line in {' '.join(map(_shown, names[:3]))}; give a text a line")
    return FAILED if done.failed else 0


def _shown(name: str) -> str:
    return "standard input" if name == "-" else shown(name)


class _Done(NamedTuple):
    all: int
    failed: int


def _count(answered: Iterable[bool]) -> _Done:
    """How many lines there were, and how many failed. answered: whether each was."""
    done, failed = 0, 0
    for well in answered:
        done, failed = done + 1, failed + (not well)
        check_interrupts()
    return _Done(done, failed)


def _pipeline(model: Model, options: argparse.Namespace) -> TextToText:
    """The pipeline whose results are printed. Raises InputError for languages that cannot be chosen."""
    from ..pipelines.text_reading import TextReading
    from ..pipelines.text_to_text import TextToText

    fields = generation_fields(options) | {"num_return_sequences": 1}
    source, target = options.source, options.target
    languages = model.inputs.tokenizer.languages  # type: ignore[union-attr] # check_task has seen that it reads texts
    reading = TextReading(truncation=options.truncate)
    if (source is None) != (target is None):
        raise InputError("--from and --to go together: give both, or none")
    if source is None:
        if languages and not _knows_target(model, languages.values()):
            known = ", ".join(sorted(languages))
            raise InputError(f"this model translates, so --from and --to must say which languages; it knows {known}")
        return TextToText(model, "text2text-generation", fields=fields, reading=reading)
    if languages:
        return TextToText(
            model, "translation", fields=fields, reading=reading._replace(src_lang=source, tgt_lang=target)
        )
    return TextToText(model, _task_of(model, source, target), fields=fields, reading=reading)


def _knows_target(model: Model, languages: Iterable[int]) -> bool:
    """Whether the model's own options say which language a text is in, as of one that knows a single pair."""
    config = model.generation_config
    return bool({config.forced_bos_token_id, config.decoder_start_token_id}.intersection(languages))


def _task_of(model: Model, source: str, target: str) -> str:
    """The task of config.json that translates so, as of T5, which is told by what a text begins with."""
    task = f"translation_{source}_to_{target}"
    tasks = model.folder.config.get("task_specific_params")
    known = sorted(each for each in tasks if each.startswith("translation_")) if isinstance(tasks, dict) else []
    if task not in known:
        has = f"its tasks are {', '.join(known)}" if known else "leave out --from and --to"
        raise InputError(
            f"this model has no tokens for languages, so {shown(source)} and {shown(target)} cannot be chosen; {has}"
        )
    return task


def _windows(lines: Iterable[Line | None], batch: int) -> Iterator[list[Line]]:
    """Lines that are sorted together: as many as are there, up to a number of batches, or of characters."""
    most = batch * _BATCHES if batch > 1 else 1
    window: list[Line] = []
    characters = 0
    for line in lines:
        if line is not None:
            window.append(line)
            characters += len(line.text)
        if window and (line is None or len(window) >= most or characters >= _CHARACTERS):
            yield window
            window, characters = [], 0
    if window:
        yield window


class _Answer(NamedTuple):
    """What became of a line."""

    line: Line
    text: str = ""
    finish_reason: str | None = None
    score: float | None = None
    milliseconds: float = 0.0
    confidence: float | None = None
    error: Exception | None = None


def _sure(made: Generation, at: int) -> float | None:
    """How sure the model is of a text, where its folder says how."""
    return None if made.sequences_confidences is None else float(made.sequences_confidences[at])


class _Work(NamedTuple):
    """What one run of the command does with lines."""

    job: Job
    terminal: Terminal
    as_json: bool

    def answers(self, window: Sequence[Line], batch: int) -> Iterator[_Answer]:
        """Those of the lines, in order, each as soon as it and all before it are there.

        Lines of like lengths go through the model together, the longest first.
        """
        found: dict[int, _Answer] = {}
        rows: dict[int, Int64] = {}
        for place, line in enumerate(window):
            row = self._prepared(line)
            if isinstance(row, _Answer):
                found[place] = row
            else:
                rows[place] = row
        order = sorted(rows, key=lambda place: -len(rows[place]))
        at = 0
        for first in range(0, len(order) + 1, batch):  # once more than needed, or once for lines of no text alone
            places = order[first : first + batch]
            made = self._together([window[place] for place in places], [rows[place] for place in places])
            found.update(zip(places, made, strict=True))
            while at in found:
                yield found.pop(at)
                at += 1

    def _prepared(self, line: Line) -> Int64 | _Answer:
        """The tokens of a line, int64[S], or the answer to one that has none or cannot be used."""
        if line.error is not None or not line.text.strip():
            return _Answer(line, error=line.error)
        try:
            return self.job.prepared(line.text, line.where)
        except Exception as error:  # whatever it is, it is this line's and must not cost the others
            check_interrupts()
            return _Answer(line, error=error)

    def _together(self, lines: Sequence[Line], rows: Sequence[Int64]) -> list[_Answer]:
        """The answers to lines that go through the model at once; one by one where they cannot."""
        if not lines:
            return []
        began = perf_counter()
        try:
            made = self.job.generate(rows)
            texts = self.job.texts(made.sequences)
        except Exception as error:
            check_interrupts()
            if len(lines) == 1:
                return [_Answer(lines[0], error=error)]
            return [self._together([line], [row])[0] for line, row in zip(lines, rows, strict=True)]
        each = round((perf_counter() - began) * 1000 / len(lines), 1)
        note_if_cut_off(self.terminal, self.job.model, self.job.config, made)
        return [
            _Answer(line, text, made.finish_reasons[at], float(made.sequences_scores[at]), each, _sure(made, at))
            for at, (line, text) in enumerate(zip(lines, texts, strict=True))
        ]

    def show(self, answer: _Answer) -> bool:
        """Print it; whether it is one. Raises Unwritable."""
        line = answer.line
        if answer.error is not None:
            self._fail(line, answer.error)
        elif self.as_json:
            found = {name: getattr(answer, name) for name in ("text", "finish_reason", "score", "milliseconds")}
            if answer.confidence is not None:
                border = self.job.model.unsure_below
                found |= {"confidence": answer.confidence, "unsure": border is not None and answer.confidence < border}
            variant = self.job.model.folder.variant
            self.terminal.record({"file": line.file, "line": line.number, **found, "variant": variant})
        else:
            self.terminal.lines([on_one_line(answer.text)])
        return answer.error is None

    def _fail(self, line: Line, error: Exception) -> None:
        """Say what was wrong with a line, which has its place in what is printed still."""
        self.terminal.fail(error, line.file, line.where, line=line.number)
        if not self.as_json:
            self.terminal.lines([""])

    def streamed(self, line: Line) -> bool:
        """Print the line that `show` would, in pieces as they become certain; whether it is one."""
        from .live import show

        row = self._prepared(line)
        if isinstance(row, _Answer):
            return self.show(row)
        try:
            show(self._watched(row), self.terminal.out, on_one_line=on_one_line)
        except Unwritable:
            raise
        except Exception as error:
            check_interrupts()
            self.terminal.fail(error, line.file, line.where)  # `show` has ended the line
            return False
        return True

    def _watched(self, row: Int64) -> Iterator[Event]:
        for event in self.job.stream(row):
            if event.generation is not None:
                note_if_cut_off(self.terminal, self.job.model, self.job.config, event.generation)
            yield event
