"""The panels of one run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..events.axes import Axis, number, shown
from ..events.record import Record
from ..types import InputError
from .canvas import ACCENT, BLACK, COLUMN, GREY, PALE, WARN, Run, axes, canvas, legend, listed, opened, tidy

__all__ = ["budget", "evidence", "judge", "reward"]

# columns of evidence, what their axes say, and the level of what is real
EVIDENCE: dict[str, tuple[str, float]] = {
    "judge": ("judge of the best", math.nan),
    "shell": (r"$|z|^2/d$ of the best", 1.0),
    "white": ("p that its noise is a prior draw", math.nan),
    "distance": ("distance to data", 1.0),
    "alarm.p": ("p of the alarm's look", math.nan),
}


def reward(run: Run, width: float = COLUMN, height: float | None = None) -> Any:
    """The rewards by step: the best so far, and best, median and 10 to 90 % of each step.

    Arguments:
        run: a folder, a `Record` or a `Result`.
        width, height: of the figure in inches.

    Raises:
        InputError: if no step has a reward.
    """
    record = opened(run)
    x, (low, middle, high, most, best) = record.steps, map(record.column, ("q10", "median", "q90", "max", "best"))
    core = [v for v in (*middle, *most, *best, record.best) if math.isfinite(v)]
    if not core:
        raise InputError("No step of this run has a reward yet: nothing can be drawn.")
    with canvas(width, height or 0.72 * width) as figure:
        ax = axes(figure, x="step", y="reward")
        ax.fill_between(x, low, high, color=PALE, linewidth=0, label="10 to 90 % of the step")
        ax.plot(x, middle, color=GREY, linewidth=0.9, linestyle=(0, (4, 1.5)), label="median of the step")
        ax.plot(x, most, color=ACCENT, linewidth=0.6, alpha=0.7, label="best of the step")
        ax.plot(x, best, color=ACCENT, linewidth=1.8, label="best so far")
        before = record.probe.get("max", math.nan)
        if math.isfinite(before):
            ax.axhline(before, color=BLACK, linewidth=0.7, linestyle=(0, (1, 1.5)), label="best prior sample")
        if record.final:
            ax.plot(
                record.final["step"], record.best, "D", color=BLACK, markersize=3.5, label="finalist at full steps"
            )
        _alarm(ax, record)
        depth = min(core) - (max(core) - min(core))  # a few very low rewards do not squeeze all the rest
        if any(v < depth for v in low):
            ax.set_ylim(bottom=depth)
        tidy(ax, whole=True)
        legend(ax)
    return figure


def evidence(run: Run, width: float = COLUMN, height: float | None = None) -> Any:
    """Everything that speaks about the best beside its reward, by step, each in its own axes.

    Raises:
        InputError: if the run has no evidence.
    """
    record = opened(run)
    found = {name: y for name in EVIDENCE if any(map(math.isfinite, y := record.column(name)))}
    if "shell" in found and not math.isfinite(record.of_best("shell")):
        del found["shell"]  # of a prior sample alone
    if not found:
        raise InputError("This run has no evidence to draw: list subscribers such as Typicality() or Watch(...).")
    with canvas(width, height or 0.33 * width * len(found) + 0.25) as figure:
        every = figure.subplots(len(found), 1, sharex=True, squeeze=False)[:, 0]
        for ax, (name, y) in zip(every, found.items(), strict=True):
            title, level = EVIDENCE[name]
            ax.plot(record.steps, y, color=ACCENT)
            if math.isfinite(level):
                ax.axhline(level, color=BLACK, linewidth=0.7, linestyle=(0, (1, 1.5)))
            ax.set_title(title)
            _alarm(ax, record)
            tidy(ax, whole=True)
            low, high = ax.get_ylim()
            if name in ("white", "alarm.p"):
                ax.set_ylim(-0.03, 1.03)
            elif math.isfinite(level) and high - low < 0.5:  # what is hardly off should look so
                ax.set_ylim((low + high) / 2 - 0.25, (low + high) / 2 + 0.25)
        every[-1].set_xlabel("step")
    return figure


def judge(run: Run, width: float = COLUMN, height: float | None = None) -> Any:
    """The held-out judge against the reward, of the best so far: along the diagonal, the gain is real.

    Raises:
        InputError: if no judge was watched.
    """
    record = opened(run)
    pairs = list(zip(record.column("best"), record.column("judge"), strict=True))
    path = list(dict.fromkeys((r, j) for r, j in pairs if math.isfinite(r) and math.isfinite(j)))
    if not path:
        raise InputError("This run has no judge: give the study one, or list Watch({'judge': ...}).")
    x, y = ([p[i] for p in path] for i in (0, 1))
    with canvas(width, height or 0.9 * width) as figure:
        ax = axes(figure, x="reward of the best", y="judge of the best")
        ax.plot(x, y, color=ACCENT, linewidth=1.0, zorder=2)
        ax.plot(x, y, "o", color=ACCENT, markersize=2.2, label="each new best", zorder=3)
        ax.plot(x[:1], y[:1], "o", color="white", markeredgecolor=BLACK, markersize=5, label="first", zorder=4)
        ax.plot(x[-1:], y[-1:], "o", color=BLACK, markersize=5, label="last", zorder=4)
        if record.final and math.isfinite(record.final.get("judge", math.nan)):
            end = record.final["final"], record.final["judge"]
            x, y = [*x, end[0]], [*y, end[1]]
            ax.plot(*end, "D", color=ACCENT, markeredgecolor=BLACK, markersize=5, label="finalist", zorder=5)
        spans = (max(x) - min(x), max(y) - min(y))
        tidy(ax)
        ax.margins(0.06)
        if max(spans) >= 0.3 * (max(*x, *y) - min(*x, *y)):  # else the two have scales of their own
            both = Axis.around("both", [*x, *y], pad=0.05)
            ends = both.low, both.high
            ax.plot(ends, ends, color=GREY, linewidth=0.7, linestyle=(0, (4, 2)), label="judge = reward")
            ax.set(xlim=ends, ylim=ends, aspect="equal")
            ax.set_yticks(ax.get_xticks())
            ax.set(xlim=ends, ylim=ends)
        legend(ax, 3)
    return figure


def budget(run: Run, width: float = COLUMN, height: float | None = None) -> Any:
    """What was spent of what was allowed.

    Raises:
        InputError: if nothing was.
    """
    record = opened(run)
    given = record.about.get("budget")
    limits = given if isinstance(given, dict) else {}
    words = {"nfe": "network evaluations", "rewards": "rewards", "seconds": "seconds", "steps": "steps"}
    spent = {name: record.spent("step" if name == "steps" else name) for name in words}
    names = [name for name in words if math.isfinite(spent[name])]
    if not names:
        raise InputError("This run has spent nothing yet: nothing can be drawn.")
    with canvas(width, height or 0.24 * len(names) + 0.25) as figure:
        ax = figure.add_subplot()
        for i, name in enumerate(names):
            limit = number(limits.get(name))
            part = min(spent[name] / limit, 1.0) if limit > 0 else math.nan
            if part == part:
                ax.barh(i, 1, height=0.5, color=PALE, linewidth=0)
                ax.barh(i, part, height=0.5, color=ACCENT, linewidth=0)
            of = f" of {shown(limit)}" if limit > 0 else ", no limit"
            ax.text(1.03, i, f"{shown(spent[name])}{of}", va="center", fontsize=6.5)
        listed(ax, [words[name] for name in names])
        ax.set_xlim(0, 1.6)
        ax.set_xticks([])
    return figure


def _alarm(ax: Any, record: Record) -> None:
    """A line where an alarm rang."""
    rung: Sequence[float] = [s for s, v in zip(record.steps, record.column("alarm"), strict=True) if v >= 1]
    if rung:
        ax.axvline(rung[0], color=WARN, linewidth=1.0, linestyle=(0, (2, 1)), label="alarm")
