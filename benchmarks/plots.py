"""The pictures of the report: SVG on a clear ground, in colours that can be read on white and on black."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

INK = "#7a828c"  # contrast at least 3.9 on white and on GitHub's dark ground
OURS, OTHERS, WRONG = "#2f81f7", "#a0783c", "#d1453b"
PARTS = ("#2f81f7", "#1f9e89", "#c78a1b", "#8f6fd1", "#d1457b", "#5c8f3b", "#7a828c")


@contextmanager
def figure(path: Path, width: float, height: float, rows: int = 1, columns: int = 1) -> Iterator[Any]:
    """The axes of a picture that is written to the path at the end; the same every time for the same data."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    settings = {
        "svg.hashsalt": "fuseline",
        "svg.fonttype": "none",  # text stays text
        "font.family": "sans-serif",
        "font.size": 9,
        **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
        "axes.spines.top": False,
        "axes.spines.right": False,
        "savefig.transparent": True,
        "legend.frameon": False,
    }
    with matplotlib.rc_context(settings):
        drawn, axes = pyplot.subplots(rows, columns, figsize=(width, height), squeeze=False, layout="constrained")
        yield axes
        drawn.savefig(path, metadata={"Date": None})
        pyplot.close(drawn)


def colour(system: str) -> str:
    """Ours, or another's."""
    return OURS if system.startswith("fuseline") else OTHERS


def bars(path: Path, title: str, rows: Sequence[tuple[str, float, float, str]]) -> None:
    """Horizontal bars, shortest first. rows: system, median, 95th percentile, status."""
    rows = sorted(rows, key=lambda row: row[1], reverse=True)
    with figure(path, 7.5, 0.6 + 0.27 * len(rows)) as axes:
        axis = axes[0][0]
        colours = [WRONG if status == "wrong" else colour(name) for name, _, _, status in rows]
        axis.barh([row[0] for row in rows], [row[1] for row in rows], color=colours, height=0.65)
        for place, (_, middle, high, status) in enumerate(rows):
            axis.plot([middle, max(middle, high)], [place, place], color=INK, linewidth=1)
            note = "  wrong tokens" if status == "wrong" else ""
            axis.text(max(middle, high), place, f"  {middle:.4g}{note}", va="center")
        axis.set_title(title, loc="left", fontsize=10, color=INK)
        axis.set_xlabel("ms, median; the line reaches to the 95th percentile")
        axis.margins(x=0.12)


def lines(path: Path, panels: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]], unit: str) -> None:
    """One panel each: lines of systems over a condition. panels: title -> system -> (condition, value)."""
    with figure(path, 3.4 * len(panels) + 1.6, 3.0, columns=len(panels)) as axes:
        names = sorted({name for panel in panels.values() for name in panel})
        for axis, (title, panel) in zip(axes[0], panels.items(), strict=True):
            for name, points in panel.items():
                xs, ys = zip(*sorted(points), strict=True)
                axis.plot(xs, ys, marker="o", markersize=3, color=PARTS[names.index(name) % len(PARTS)], label=name)
            axis.set_title(title, loc="left", fontsize=10, color=INK)
            axis.set_xticks(sorted({x for points in panel.values() for x, _ in points}))
            axis.set_ylim(bottom=0)
        axes[0][0].set_ylabel(unit)
        axes[0][-1].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8)
