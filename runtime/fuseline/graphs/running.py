"""Running graphs: what fails is said in a sentence, and what takes too long can be ended.

Every run of a graph goes through Graph. A run is ended by `Limit`, a deadline and a cancel token that hold for what is
run inside `with limit`, and by Ctrl-C where it may take long. onnxruntime looks whether a run is to end between two
nodes of a graph, so a single node that takes long is not broken off.
"""

from __future__ import annotations

import _thread
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar, Token
from time import monotonic, perf_counter, sleep
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy.typing as npt

from ..errors import DeviceError, Error, FolderError, InputError
from .devices import ON_CPU, Device
from .reasons import SILENT, reason

if TYPE_CHECKING:
    from onnxruntime import InferenceSession, IOBinding, OrtValue, RunOptions

Result = TypeVar("Result")

CPU_MEMORY = "Cpu"  # the name that onnxruntime gives it
NOT_RECORDED = "-1"  # of a run that a device does not record, see Graph.records

# Seconds. A run after one that took longer is made on a thread of its own, so that Ctrl-C reaches the main thread
# meanwhile. A thread costs some 0.1 ms, and on a crowded machine any run may take a few hundredths of a second.
_LONG = 0.2
_START = 1.0  # seconds in which a thread begins, however crowded the machine is
_TICK = 0.01  # seconds between two looks at a cancel token and the clock


class CancelToken(Protocol):
    """What says that a search is to stop: a threading.Event, or anything else with is_set()."""

    def is_set(self) -> bool:
        """Whether to stop."""
        ...


class RunEnded(Exception):
    """A run that was given up. reason: "max_time" or "cancelled", as in Generation.finish_reasons."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Limit:
    """Ends the runs of graphs that are made inside `with limit` by this thread: at the deadline, or once cancelled.

    A small thread looks at both from time to time. It is there as long as the limit is, and only if a run was made.
    """

    def __init__(self, seconds: float | None = None, cancel: CancelToken | None = None) -> None:
        """seconds: from now; None for no deadline. cancel: looked at only during runs that take a while."""
        self._deadline = None if seconds is None else monotonic() + seconds
        self._cancel = cancel
        self._running: tuple[RunOptions, float] | None = None  # and when it began
        self._reason = ""
        self._thread: threading.Thread | None = None
        self._outer: list[Token[Limit | None]] = []

    def __enter__(self) -> None:
        self._outer.append(_LIMIT.set(self))

    def __exit__(self, *error: object) -> None:
        _LIMIT.reset(self._outer.pop())

    def run(self, call: Callable[[RunOptions], Result], apart: bool, recorded: str = NOT_RECORDED) -> Result:
        """The call's result. recorded: see Graph.run_bound. Raises RunEnded where it was ended by this limit."""
        options = _options(recorded)
        self._watch()
        self._reason, self._running = "", (options, monotonic())
        try:
            return _apart(call, options) if apart else call(options)
        except Exception:
            if self._reason:
                raise RunEnded(self._reason) from None
            raise
        finally:
            self._running = None

    def _watch(self) -> None:
        if self._thread is None or not self._thread.is_alive():  # a thread is not there any more after a fork
            gone = threading.Event()
            weakref.finalize(self, gone.set).atexit = False
            self._thread = threading.Thread(target=_look, args=(weakref.ref(self), gone), daemon=True)
            self._thread.start()

    def look(self) -> None:
        """End the run in progress if it is time to."""
        running = self._running
        if running is None:
            return
        options, began = running
        now = monotonic()
        if self._deadline is not None and now > self._deadline:
            self._reason = "max_time"
        # A search looks at the token before each step, so a quick step is not worth another look.
        elif self._cancel is not None and now - began > _TICK and self._cancel.is_set():
            self._reason = "cancelled"
        else:
            return
        options.terminate = True


_LIMIT: ContextVar[Limit | None] = ContextVar("limit", default=None)


def _look(limit: weakref.ref[Limit], gone: threading.Event) -> None:
    while not gone.wait(_TICK):
        found = limit()
        if found is None:
            return
        try:
            found.look()
        except Exception:  # of the caller's token; the search that looks at it next raises the same
            return
        del found


class Graph:
    """One graph ready to run. Safe to share between threads."""

    def __init__(
        self,
        path: object,
        session: InferenceSession,
        device: Device = ON_CPU,
        nodes: tuple[int, int] | None = None,
        records: bool = False,
    ) -> None:
        """path: of its file, for what is said of it; device: where it runs; nodes: of another device than the CPU, how
        many are on it, and how many there are; records: whether the device can record a run as one graph of its own and
        play it again, as CUDA can."""
        self.path, self.device, self.nodes, self.records = path, device, nodes, records
        self.recorded: dict[object, int] = {}  # by what a run was bound to, the number under which it is recorded
        self._session: InferenceSession | None = session
        self._plain = {NOT_RECORDED: _options()}
        self._last = 0.0  # seconds of the last run
        self._largest = 0  # of the runs so far

    @property
    def session(self) -> InferenceSession:
        """onnxruntime's own. Raises InputError after close."""
        if self._session is None:
            raise InputError("this model was closed; open it again")
        return self._session

    def close(self) -> None:
        """Let go of the session; runs in progress end as they would."""
        self._session = None

    def run(self, outputs: Sequence[str], inputs: Mapping[str, OrtValue], size: int) -> list[OrtValue]:
        """The outputs of that name. size: how large the input is, by any measure that grows with the run's time.

        Raises FolderError where the graph fails, DeviceError on another device than the CPU, RunEnded inside a Limit.
        """
        session = self.session
        return self._run(lambda options: session.run_with_ort_values(outputs, inputs, options), size)

    def run_bound(self, binding: IOBinding, size: int, recorded: str = NOT_RECORDED) -> None:
        """The same for what the binding holds. recorded: the number under which the device records the run, or plays
        what it has recorded: then all that is bound lies where it lay."""
        session = self.session
        self._run(lambda options: session.run_with_iobinding(binding, options), size, recorded)

    def _run(self, call: Callable[[RunOptions], Result], size: int, recorded: str = NOT_RECORDED) -> Result:
        limit = _LIMIT.get()
        apart = self._last > _LONG or size > self._largest
        began = perf_counter()
        try:
            if apart:  # a signal comes to the main thread only
                apart = threading.current_thread() is threading.main_thread()
            if limit is not None:
                result = limit.run(call, apart, recorded)
            elif apart:
                result = _apart(call, _options(recorded))
            else:
                if recorded not in self._plain:
                    self._plain[recorded] = _options(recorded)
                result = call(self._plain[recorded])
        except RunEnded:
            self._last = perf_counter() - began
            raise
        except _Interrupted as interrupted:
            raise interrupted.error from None
        except Exception as error:  # onnxruntime's errors have no common base but Exception
            if not _is_theirs(error):
                raise
            # Not "from error": its text is dozens of lines of a graph's own, which a traceback would print.
            raise self._failure(error) from None
        self._last = perf_counter() - began
        self._largest = max(self._largest, size)
        return result

    @contextmanager
    def telling(self) -> Iterator[None]:
        """What onnxruntime raises inside, while it moves to or from the device's memory, is said as of a run."""
        try:
            yield
        except Exception as error:
            if not _is_theirs(error):
                raise
            raise self._failure(error) from None

    def _failure(self, error: Exception) -> Error:
        """What is said of a run that failed. On the CPU it is the graph's fault; elsewhere it may be the device's."""
        if self.device.is_cpu:
            return FolderError(f"{self.path} fails when it runs: {reason(error)}")
        return DeviceError(
            f"the device {self.device.name} failed while it ran {self.path}: {reason(error)}; try again with fewer "
            'inputs or beams, or use cpu, by fallback="cpu" whenever a device fails'
        )


def fetched(value: OrtValue) -> npt.NDArray[Any]:
    """Its numbers in the CPU's memory. Raises DeviceError where they lie on a device that does not give them."""
    try:
        array: npt.NDArray[Any] = value.numpy()
        return array
    except Exception as error:
        if not _is_theirs(error):
            raise
        raise DeviceError(f"a device failed while its memory was read: {reason(error)}") from None


def _options(recorded: str = NOT_RECORDED) -> RunOptions:
    from onnxruntime import RunOptions

    options = RunOptions()
    options.log_severity_level = SILENT
    # onnxruntime asks for this entry at every run and, where there is none, raises and catches an exception, which
    # takes ten times as long as all else around a small run. -1: nothing is recorded, and nothing is on the CPU anyway.
    options.add_run_config_entry("gpu_graph_id", recorded)
    return options


def _apart(call: Callable[[RunOptions], Result], options: RunOptions) -> Result:
    """The call on a thread of its own. An exception that comes meanwhile, such as KeyboardInterrupt, ends the run.

    A signal's handler may raise between any two lines here, so no lock is waited for after one has. threading.Thread
    would do more of its own meanwhile, and be left in disorder.
    """
    told: list[Result | BaseException] = []
    begun: list[bool] = []
    done = _thread.allocate_lock()
    done.acquire()

    def work() -> None:
        begun.append(True)
        try:
            told.append(call(options))
        except BaseException as error:
            told.append(error)
        done.release()

    try:
        try:
            _thread.start_new_thread(work, ())
        except RuntimeError:  # there is no memory for another thread
            return call(options)
        done.acquire()  # unlike a call into onnxruntime, a signal wakes this
    except BaseException as error:
        options.terminate = True
        _wait(begun, told)  # what it writes to must not be used before; a second Ctrl-C waits no longer
        raise _Interrupted(error) from None
    if isinstance(told[0], BaseException):
        raise told[0]
    return told[0]


def _wait(begun: Sequence[object], told: Sequence[object]) -> None:
    """Until a thread has told something, or has not begun: the signal came before it was started."""
    end = monotonic() + _START
    while not told and (begun or monotonic() < end):
        sleep(0.001)


class _Interrupted(BaseException):
    """Carries what a signal's handler has raised past what looks for onnxruntime's exceptions."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


# What onnxruntime raises beside exceptions of its own: those that pybind11 makes of C++'s.
_OF_C = (RuntimeError, ValueError, TypeError, IndexError, OverflowError, MemoryError)


def _is_theirs(error: Exception) -> bool:
    """Whether onnxruntime has raised it; else it is a signal handler's of the caller, and passes."""
    return type(error).__module__.startswith("onnxruntime") or type(error) in _OF_C
