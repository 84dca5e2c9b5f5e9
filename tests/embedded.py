"""A host of embedded graphs, as a program without fuseline is one: onnxruntime, numpy and the files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime


class Host:
    """The graphs of an embedded folder. library: the kernels', None to run the operators' bodies."""

    def __init__(self, folder: Path, library: Path | None = None) -> None:
        self.description = json.loads((folder / "fuseline-embed.json").read_text())
        (self._one_call,) = self.description["graphs"].keys() - {"start", "step"}
        self._folder, self._library = folder, library
        self._sessions: dict[str, onnxruntime.InferenceSession] = {}

    def session(self, name: str) -> onnxruntime.InferenceSession:
        """One of the graphs, opened once."""
        if name not in self._sessions:
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 3  # onnxruntime warns of every input that may be left out
            options.intra_op_num_threads = 1
            if self._library is not None:
                options.register_custom_ops_library(str(self._library))
            self._sessions[name] = onnxruntime.InferenceSession(self._folder / f"{name}.onnx", options)
        return self._sessions[name]

    def reads(self, name: str) -> dict[str, np.dtype[Any]]:
        """The inputs of a graph that may be given, with their types."""
        return {each["name"]: np.dtype(each["type"]) for each in self.description["graphs"][name]["inputs"]}

    def _run(self, name: str, given: dict[str, Any]) -> dict[str, Any]:
        session, reads = self.session(name), self.reads(name)
        outputs = [each.name for each in session.get_outputs()]
        feeds = {key: np.asarray(value, reads[key]) for key, value in given.items() if key in reads}
        try:
            return dict(zip(outputs, session.run(outputs, feeds), strict=True))
        except UnicodeDecodeError:  # Python's onnxruntime refuses a text with a broken character
            outputs.remove("text")
            return dict(zip(outputs, session.run(outputs, feeds), strict=True))

    def at_once(self, **given: Any) -> dict[str, Any]:
        """sequences, sequences_scores and text, in one call."""
        return self._run(self._one_call, given)

    def steps(self, **given: Any) -> list[dict[str, Any]]:
        """The results of every step."""
        feeds = given | self._run("start", given)
        results: list[dict[str, Any]] = []
        while not results or not results[-1]["finished"]:
            results.append(self._run("step", feeds))
            feeds |= {f"state.{key[5:]}": value for key, value in results[-1].items() if key.startswith("next.")}
        return results
