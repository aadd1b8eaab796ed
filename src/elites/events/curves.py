"""The curves of a report: the reward, the evidence beside it, and the one against the other."""

from __future__ import annotations

import math
from collections.abc import Iterable

from .axes import Axis
from .charts import Band, Line, chart
from .record import Record

__all__ = ["evidence_curves", "judge_curve", "reward_curve"]

MOST = 12  # charts of columns that a method or a `Watch` has added
USUAL = {  # columns with a place of their own
    *("step", "failures", "nfe", "rewards", "grads", "seconds", "count", "max", "mean", "q10", "median", "q90"),
    *("best", "shell", "white", "judge", "distance", "alarm", "final", "preview"),
    *("sd", "ties", "repeat", "network_seconds", "reward_seconds"),
}


def reward_curve(run: Record) -> str:
    """The spread of the rewards of each step, and the best so far; empty if no step has any."""
    x, (low, median, high, most, best) = run.steps, map(run.column, ("q10", "median", "q90", "max", "best"))
    final = Line("finalist at full steps", "end", [run.final.get("step", math.nan)], [run.best], dots=True)
    core = [v for v in (*median, *most, *best, *(final.y if run.final else [])) if math.isfinite(v)]
    if not core:
        return ""
    depth = min(core) - (max(core) - min(core))  # a few very low rewards do not squeeze all the rest
    below = [max(v, depth) for v in low if math.isfinite(v)]
    marks: list[Line | Band] = [
        Band("10 to 90 % of the step", x, low, high),
        Line("median", "ink", x, median),
        Line("best of the step", "thin", x, most),
        Line("best so far", "main", x, best),
        *([final] if run.final else []),
    ]
    prior = [("best prior sample", run.probe.get("max", math.nan))]
    axis = Axis.around("reward", [*core, *below, *high])
    out = chart("Reward by step", marks, _across(x), axis, size="tall", levels=prior, posts=_posts(run))
    clipped = any(v < axis.low for v in low)
    return out + ('<p class="note">The band runs on below the frame.</p>' if clipped else "")


def evidence_curves(run: Record) -> str:
    """|z|^2/d, the distance to data, and every further column, each in a chart; empty if there are none."""
    noise = math.isfinite(run.of_best("shell"))  # else the numbers are those of a prior sample
    out = [
        _curve(run, title, name, [(level, value)])
        for name, title, level, value in (
            ("shell", "|z|²/d of the best", "typical of the prior", 1.0),
            ("white", "Whiteness of the best noise, p-value", "one prior draw in a hundred", 0.01),
            ("distance", "Distance to data of the best", "like held-out data", 1.0),
        )
        if noise or name == "distance"
    ]
    more = list(dict.fromkeys(name for row in run.rows for name in row if name not in USUAL))
    out += [_curve(run, _titled(name), name, []) for name in more[:MOST]]
    if not any(out):
        return ""
    notes = [_on_shell(run)] if noise else []
    notes += [ON_DISTANCE] if math.isfinite(run.last("distance")) else []
    notes += [f"{len(more) - MOST} more columns are in history.jsonl."] if len(more) > MOST else []
    return f'<div class="charts">{"".join(out)}</div>' + "".join(f'<p class="note">{note}</p>' for note in notes)


P_VALUES = ("white", "alarm.p")
ON_DISTANCE = (
    "Distance to data is that from the best object to the nearest of the data, in units of what held-out data have: "
    "1 is like real data, well above 1 is unlike any of them, near 0 is a copy of one."
)


def _on_shell(run: Record) -> str:
    """How to read |z|^2/d, with the spread that the prior has where the dimension is known."""
    said = "|z|²/d is the squared length of the best object’s noise over its dimension: 1 is typical of the prior"
    if run.size:
        unit = math.sqrt(2 / run.size)
        away = abs(run.of_best("shell") - 1) / unit
        said += f" at d = {run.size:,}, give or take {unit:.2g}; this noise is {away:.1f} standard deviations off"
    return f"{said}. The network was never trained on noise that is far from 1."


def judge_curve(run: Record) -> str:
    """The judge against the reward, both of the best so far; empty without a judge."""
    pairs = [(r, j) for r, j in zip(run.column("best"), run.column("judge"), strict=True) if _finite(r, j)]
    path = list(dict.fromkeys(pairs))
    if not path:
        return ""
    end = [(run.final["final"], run.final.get("judge", math.nan))] if run.final else []
    x, y = ([p[i] for p in path] for i in (0, 1))
    xs, ys = ([v for p in (*path, *end) if _finite(*p) for v in (p[i],)] for i in (0, 1))
    spans, both = (max(xs) - min(xs), max(ys) - min(ys)), max(*xs, *ys) - min(*xs, *ys)
    alike = max(spans) >= 0.3 * both  # else the two have scales of their own
    across = Axis.around("reward of the best", [*xs, *ys] if alike else xs)
    up = Axis.around("judge of the best", [*xs, *ys] if alike else ys)
    marks = [
        Line("best so far, by step", "main", x, y),
        Line("each new best", "dots", x, y, dots=True),
        Line("first", "ring", x[:1], y[:1], dots=True),
        Line("last", "end", x[-1:], y[-1:], dots=True),
    ]
    if end:
        marks.append(Line("finalist at full steps", "final", [end[0][0]], [end[0][1]], dots=True))
    figure = chart(
        "Judge against reward", marks, across, up, size="square", diagonal="judge = reward" if alike else ""
    )
    along = "along the diagonal" if alike else "that keeps rising"
    return figure + (
        f'<p class="note">The search never sees the judge. A path {along} is a gain that both of them find; one that '
        "flattens or falls while the reward grows is a gain that only the reward finds.</p>"
    )


def _curve(run: Record, title: str, name: str, levels: list[tuple[str, float]]) -> str:
    x, y = run.steps, run.column(name)
    looks = [i for i, v in enumerate(y) if math.isfinite(v)]
    if not looks:
        return ""
    ends = [0.0, 1.0] if name in P_VALUES else []
    axis = Axis.around("", [*y, *ends, *(v for _, v in levels)], least=0.5 if levels else 0.0)
    across, marks = _across(x), [Line("", "main", x, y)]
    if 2 * len(looks) < len(y):  # looked at now and then
        x, y = ([column[i] for i in looks] for column in (x, y))
        marks = [Line("", "main", x, y), Line("", "dots", x, y, dots=True)]
    return chart(title, marks, across, axis, levels=levels, posts=_posts(run))


def _titled(name: str) -> str:
    """What a column is, in words where its name says so."""
    if name == "alarm.p":
        return "P-value of the alarm"
    return f"Reward term: {name[5:]}" if name.startswith("term.") else name


def _posts(run: Record) -> list[tuple[str, float]]:
    """Where the alarm rang, if it did."""
    return [("hacking alarm", run.alarm)] if math.isfinite(run.alarm) else []


def _across(x: Iterable[float]) -> Axis:
    return Axis.around("step", x, pad=0.012, whole=True)


def _finite(*values: float) -> bool:
    return all(map(math.isfinite, values))
