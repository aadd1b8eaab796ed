"""The panels of one run that are rows of bars: readings of the evidence, the probe, failures."""

from __future__ import annotations

import math
import textwrap
from typing import Any

from ..events.axes import brief, clean, number
from ..types import InputError
from .canvas import ACCENT, BLACK, COLUMN, GREY, PALE, WARN, Run, canvas, legend, listed, opened, tidy

__all__ = ["failures", "probe", "readings"]

LETTERS = 60  # most of a reason
LEAST = 0.8  # per cent that can be seen


def readings(run: Run, width: float = COLUMN, height: float | None = None) -> Any:
    """The evidence of the best object: for each reading the share of prior samples that look less real.

    A short bar is suspicious; about half is what a prior sample has. At the right is the number that was read, or
    whether the alarm rang. A reading that warns is hatched, with a triangle at its value; one that no prior sample was
    compared with has no bar.

    Arguments:
        run: a folder, a `Record` or a `Result`, of a run that has ended.
        width, height: of the figure in inches.

    Raises:
        InputError: if there are no readings.
    """
    every = opened(run).evidence
    if not every:
        raise InputError(
            "There are no readings to draw: list el.Evidence(judge) or el.Typicality(), and let the run end."
        )
    with canvas(width, height or 0.24 * len(every) + 0.6) as figure:
        ax = figure.add_subplot()
        for i, r in enumerate(every):
            known = 0 <= r.quantile <= 1
            if known:
                ax.barh(i, 100, height=0.5, color=PALE, linewidth=0)
                look = {"facecolor": "white", "edgecolor": WARN, "hatch": "//////"} if r.warns else {"color": ACCENT}
                ax.barh(i, max(100 * r.quantile, LEAST), height=0.5, linewidth=0, **look)
            if r.warns:
                ax.plot(105, i, "<", color=WARN, markersize=4.5, label="warns")
            words = ("rang" if r.warns else "did not ring") if r.name == "alarm" else brief(r.value)
            ax.text(109, i, words, va="center", fontsize=6.5)
        listed(ax, [clean(r.name, 30) for r in every])
        ax.set_xlim(0, 140)
        ax.set_xticks([0, 50, 100])
        ax.set_title("value", x=109 / 140, fontsize=6.5)
        ax.set_xlabel("prior samples that look less real, %", loc="left")
    return figure


def probe(run: Run, width: float = COLUMN, height: float | None = None) -> Any:
    """The look at the reward before the first step: the spread of prior samples, and the time of an object.

    Arguments:
        run: a folder, a `Record` or a `Result`.
        width, height: of the figure in inches.

    Raises:
        InputError: if there was no probe.
    """
    row = opened(run).probe
    low, middle, high, most = (row.get(name, math.nan) for name in ("q10", "median", "q90", "max"))
    times = {name: 1e3 * row.get(f"{name}_seconds", math.nan) for name in ("network", "reward")}
    if not all(map(math.isfinite, (low, middle, high, most, *times.values()))):
        raise InputError("This run had no probe of the prior: leave out probe=None to have one.")
    with canvas(width, height or 1.7) as figure:
        top, bottom = figure.subplots(2, 1, height_ratios=[1, 2])
        top.barh(0, high - low, left=low, height=0.5, color=PALE, linewidth=0, label="10 to 90 %")
        top.plot([middle] * 2, [-0.25, 0.25], color=GREY, linewidth=1.6, label="median")
        top.plot(most, 0, "D", color=BLACK, markersize=3.5, label="best")
        tidy(top)
        top.margins(x=0.05)
        listed(top, [f"{row.get('count', math.nan):.0f} prior samples"])
        top.set_xlabel("reward")
        legend(top, 3)
        bottom.barh(range(len(times)), list(times.values()), height=0.5, color=ACCENT, linewidth=0)
        for i, spent in enumerate(times.values()):
            bottom.annotate(
                f"{brief(spent)} ms", (spent, i), (3, 0), textcoords="offset points", va="center", fontsize=6.5
            )
        tidy(bottom)
        bottom.set_xlim(0, 1.3 * max(times.values()) or 1.0)
        listed(bottom, list(times))
        bottom.set_xlabel("time of an object, ms")
    return figure


def failures(run: Run, width: float = COLUMN, height: float | None = None, most: int = 8) -> Any:
    """How many candidates failed for each reason, the most frequent first.

    Arguments:
        run: a folder, a `Record` or a `Result`.
        width, height: of the figure in inches.
        most: reasons; the others are one bar.

    Raises:
        InputError: if nothing failed, the reasons are not known, or fewer than one is asked for.
    """
    if most < 1:
        raise InputError(f"most={most}: give at least one reason.")
    record = opened(run)
    counts = {reason: len(keys) for reason, keys in record.reasons.items()}
    if not counts:
        failed = number(record.failed)
        raise InputError(
            f"The reasons of {failed:.0f} failures are not in this folder: restore failures.jsonl."
            if failed > 0
            else "No candidate of this run failed: there is nothing to draw."
        )
    names, values = list(counts)[:most], list(counts.values())
    letters = max(int(8 * width), 8)
    told = [textwrap.fill(clean(name, LETTERS) or "no reason", letters) for name in names]
    if len(counts) > most:
        told, values = [*told, f"{len(counts) - most:,} other reasons"], [*values[:most], sum(values[most:])]
    lines = max(2, *(name.count("\n") + 1 for name in told))
    with canvas(width, height or 0.12 * lines * len(told) + 0.45) as figure:
        ax = figure.add_subplot()
        ax.barh(range(len(values)), values, height=0.5, color=ACCENT, linewidth=0)
        for i, count in enumerate(values):
            ax.annotate(f"{count:,}", (count, i), (3, 0), textcoords="offset points", va="center", fontsize=6.5)
        tidy(ax, whole=True)
        ax.set_xlim(0, 1.15 * max(values))
        listed(ax, told)
        ax.set_xlabel("candidates that failed")
    return figure
