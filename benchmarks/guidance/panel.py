"""Panels and their cells: a job is its settings, a cell a job with what was measured, in a line of JSON."""

import json
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Cell", "Job", "Panel", "cell", "load", "missing", "pick", "table"]

Job = dict[str, Any]
Cell = dict[str, Any]


@dataclass(frozen=True)
class Panel:
    """Jobs, what measures one, and what prints and draws the cells of all.

    Attributes:
        jobs: settings of every cell, seeds included.
        measure: of a job.
        show: prints the tables of the panel's cells.
        draw: writes the plots of the panel's cells to a folder, or `None`.
    """

    jobs: Callable[[], list[Job]]
    measure: Callable[..., Cell]
    show: Callable[[list[Cell]], None]
    draw: Callable[[list[Cell], Path], None] | None = None


def load(path: Path, panel: str) -> list[Cell]:
    """The cells of a panel in a file."""
    lines = path.read_text().splitlines() if path.exists() else ()
    return [c for c in map(json.loads, lines) if c["panel"] == panel]


def missing(have: Sequence[Cell], jobs: Iterable[Job]) -> list[Job]:
    """The jobs that no cell answers."""
    return [job for job in jobs if not pick(have, **job)]


def pick(cells: Iterable[Cell], **settings: Any) -> list[Cell]:
    """The cells with these settings."""
    return [c for c in cells if all(c.get(name) == value for name, value in settings.items())]


def cell(values: Sequence[float], digits: int = 3) -> str:
    """The mean over seeds with its standard error."""
    mean = statistics.mean(values)
    if len(values) < 2:
        return f"{mean:.{digits}f}"
    return f"{mean:.{digits}f} +- {statistics.stdev(values) / len(values) ** 0.5:.{digits}f}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table in Markdown."""
    print(f"\n| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")
