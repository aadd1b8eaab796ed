"""Means with their standard errors, as a table in Markdown."""

import statistics
from collections.abc import Sequence


def row(name: str, *columns: Sequence[float] | str, digits: int = 3) -> None:
    """One line: a name, and of each column the mean over the runs with its standard error, or the text."""
    cells = [c if isinstance(c, str) else f"{statistics.mean(c):.{digits}f} +- {error(c):.{digits}f}" for c in columns]
    print(f"| {name} | {' | '.join(cells)} |", flush=True)


def head(*columns: str) -> None:
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")


def error(values: Sequence[float]) -> float:
    """Standard error of the mean; 0 for a single value."""
    return statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
