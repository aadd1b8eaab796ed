"""Several runs in one figure: methods over their seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..events.record import Record
from ..types import InputError
from .canvas import COLUMN, CYCLE, Run, axes, canvas, legend, opened, tidy

__all__ = ["compare"]

POINTS = 300


def compare(
    runs: Mapping[str, Sequence[Run]] | Sequence[Run], width: float = COLUMN, height: float | None = None
) -> Any:
    """The best reward against network evaluations: the mean over the seeds of each method, and their spread.

    The band is one standard deviation over seeds to either side, and every seed is a thin line. A curve is drawn up to
    the evaluations that all seeds of its method have spent.

    Arguments:
        runs: name to the runs of a method; or runs, which are grouped by the class of their method.
        width, height: of the figure in inches.

    Raises:
        InputError: if there are no runs, or one of them has no reward.
    """
    groups: dict[str, list[Record]] = {}
    if isinstance(runs, Mapping):
        groups = {name: [opened(run) for run in some] for name, some in runs.items()}
    elif isinstance(runs, str):
        raise InputError("Give the runs as a list of folders, or as a dict of names to lists.")
    else:
        for run in runs:
            record = opened(run)
            groups.setdefault(record.method, []).append(record)
    if not any(groups.values()):
        raise InputError("There are no runs to compare: give some folders.")
    with canvas(width, height or 0.72 * width) as figure:
        ax = axes(figure, x="network evaluations", y="best reward so far")
        for k, (name, records) in enumerate((n, g) for n, g in groups.items() if g):
            color, dash = CYCLE[k % len(CYCLE)]
            curves = [_curve(record) for record in records]
            low, high = max(x[0] for x, _ in curves), min(x[-1] for x, _ in curves)
            grid = np.linspace(low, max(high, low), POINTS)
            every = np.stack([y[np.searchsorted(x, grid, side="right") - 1] for x, y in curves])
            mean, n = every.mean(0), len(curves)
            if n > 1:
                spread = every.std(0, ddof=1)
                ax.fill_between(grid, mean - spread, mean + spread, color=color, alpha=0.2, linewidth=0)
                for x, y in curves:
                    ax.step(x, y, where="post", color=color, linewidth=0.4, alpha=0.5)
            seeds = f"{n} seed{'' if n == 1 else 's'}"
            ax.plot(grid, mean, color=color, linestyle=dash, linewidth=1.6, label=f"{name} ({seeds})")
        tidy(ax, whole=True)
        legend(ax, 2)
    return figure


def _curve(record: Record) -> tuple[np.ndarray, np.ndarray]:
    """Network evaluations and the best so far, where there is one."""
    pairs = zip(record.column("nfe"), record.column("best"), strict=True)
    good = [(x, y) for x, y in pairs if math.isfinite(x) and math.isfinite(y)]
    if not good:
        raise InputError(f"The run {record.path} has no reward yet: leave it out.")
    x, y = np.array(good).T
    return x, np.maximum.accumulate(y)
