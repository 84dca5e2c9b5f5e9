"""What came of all cases: a table by kind, the distinct findings with the command that repeats each."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

from tests.fuzz.messages import normalised
from tests.fuzz.pool import Result

# Kinds of findings, the worst first.
ORDER = ("death", "answer", "outside", "escape", "hang", "memory", "message", "noise", "warning", "fuzzer")


class Summary:
    """Filled with one result after the other."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._outcomes: dict[str, Counter[str]] = defaultdict(Counter)
        self._sentences: dict[str, Counter[str]] = defaultdict(Counter)
        self._megabytes: dict[str, float] = defaultdict(float)
        self._findings: dict[tuple[str, str, str], list[tuple[Result, str]]] = defaultdict(list)

    def add(self, result: Result) -> None:
        """Count it."""
        report = result.report
        self._outcomes[result.kind][report.outcome if report.outcome in _STATES else "loaded"] += 1
        if report.outcome == "refused":
            self._sentences[result.kind][normalised(report.sentence)] += 1
        self._megabytes[result.kind] = max(self._megabytes[result.kind], report.megabytes)
        for kind, cause, detail in report.findings:
            self._findings[kind, result.kind, cause].append((result, detail))

    @property
    def found(self) -> bool:
        """Whether there was any finding."""
        return bool(self._findings)

    def command(self, result: Result) -> str:
        """What repeats one case."""
        return f"python -m tests.fuzz --seed {self._seed} --kinds {result.kind} --case {result.case}"

    def lines(self) -> list[str]:
        """For people."""
        lines = ["kind        cases  loaded  refused  broken  sentences  peak MB  findings (distinct)"]
        for kind, outcomes in self._outcomes.items():
            broken = sum(outcomes[state] for state in _STATES) - outcomes["refused"]
            all_of = [len(cases) for (_, of, _), cases in self._findings.items() if of == kind]
            lines.append(
                f"{kind:10} {outcomes.total():6} {outcomes['loaded']:7} {outcomes['refused']:8} {broken:7}"
                f" {len(self._sentences[kind]):10} {self._megabytes[kind]:8.0f}  {sum(all_of)} ({len(all_of)})"
            )
        for (kind, of, cause), cases in sorted(self._findings.items(), key=_worst_first):
            result, detail = cases[0]
            lines += ["", f"{kind} x {len(cases)} ({of}): {cause}", f"  {result.what[:300]}"]
            lines += [f"  | {line[:300]}" for line in detail.strip().splitlines()[-12:]]
            lines.append(f"  {self.command(result)}")
        return lines

    def json(self) -> dict[str, Any]:
        """For programs: everything, each finding with all its cases."""
        return {
            "seed": self._seed,
            "kinds": {
                kind: {
                    "outcomes": dict(outcomes),
                    "sentences": dict(self._sentences[kind].most_common()),
                    "megabytes": round(self._megabytes[kind]),
                }
                for kind, outcomes in self._outcomes.items()
            },
            "findings": [
                {
                    "finding": kind,
                    "kind": of,
                    "cause": cause,
                    "cases": [result.case for result, _ in cases],
                    "what": cases[0][0].what,
                    "detail": cases[0][1],
                    "command": self.command(cases[0][0]),
                }
                for (kind, of, cause), cases in sorted(self._findings.items(), key=_worst_first)
            ],
        }


_STATES = ("refused", "failed", "died", "hung")


def _worst_first(item: tuple[tuple[str, str, str], list[Any]]) -> tuple[int, int]:
    (kind, _, _), cases = item
    return ORDER.index(kind), -len(cases)
