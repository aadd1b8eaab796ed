"""A learned score: distance off the subspace over rounds, and at equal reward."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

from benchmarks.guidance import plots
from benchmarks.guidance.network import LEVELS, learned
from benchmarks.guidance.panel import Cell, Job, Panel, cell, pick, table
from benchmarks.guidance.rounds import along, guided, off_subspace
from benchmarks.guidance.setting import OBJECTIVES

__all__ = ["PANEL"]

BATCH, ROUNDS, SEEDS = 32, 60, range(3)
DELTAS = {"G_loss": 0.2, "G_loss, published weight": 0.2, "G": 0.9}
OBJECTIVE = "f1, theta 9 to 1 off it"
REWARDS = (2.0, 3.0, 4.0, 5.0)


def jobs() -> list[Job]:
    return [{"push": p, "delta": d, "seed": s} for s in SEEDS for p, d in DELTAS.items()]


def measure(push: str, delta: float, seed: int) -> Cell:
    method = guided(push, delta, BATCH, LEVELS, ROUNDS)
    return along(method, learned("plane"), OBJECTIVES[OBJECTIVE](), off_subspace, seed)[0]


def crossing(reward: Sequence[float | None], off: Sequence[float], level: float) -> float | None:
    """Where a curve first reaches a reward, between two rounds; `None` if it never does."""
    for (low, high), (a, b) in zip(itertools.pairwise(reward), itertools.pairwise(off), strict=True):
        if low is None or high is None:
            return None
        if low < level <= high:
            return a + (b - a) * (level - low) / (high - low)
    return None


def show(cells: list[Cell]) -> None:
    series = {p: pick(cells, push=p, delta=d) for p, d in DELTAS.items()}
    if not all(series.values()):
        return
    ends = [
        [f"{p}, delta {DELTAS[p]}", *(middle([c[k][i] for c in s]) for i in (0, 1, -1) for k in KEYS)]
        for p, s in series.items()
    ]
    table(("guidance", *(f"{k}, round {r}" for r in ("1 (unguided)", "2", str(ROUNDS)) for k in NAMES)), ends)
    rows = [matched(name, series[name], series["G"], level) for name in DELTAS if name != "G" for level in REWARDS]
    places = [f"{c}, {p}" for p in ("after", "before") for c in ("r_off", "r_off of G", "ratio")]
    table(("guidance", "at reward", *places, "seeds that reach it"), rows)


def middle(values: Sequence[float | None]) -> str:
    """The mean over seeds, if all are finite."""
    good = [v for v in values if v is not None]
    return f"{mean(good):.3g}" if len(good) == len(values) else "diverged"


def matched(name: str, ours: Sequence[Cell], raw: Sequence[Cell], level: float) -> list[str]:
    """Both r_off where the mean reward first reaches a level, over the seeds in which both kinds reach it."""
    columns: list[list[tuple[float, float]]] = []
    for k in KEYS[1:]:
        at = [[crossing(c["reward"], c[k], level) for c in s] for s in (ours, raw)]
        columns.append([(a, b) for a, b in zip(*at, strict=True) if a is not None and b is not None])
    row = [name, f"{level:g}"]
    for pairs in columns:
        both = [cell([v[i] for v in pairs]) for i in (0, 1)] if pairs else ["", ""]
        row += [*both, cell([a / b for a, b in pairs], 2) if pairs else ""]
    return [*row, f"{len(columns[0])} of {len(raw)}"]


KEYS = ("reward", "after", "before")
NAMES = ("reward", "r_off", "r_off before the last jump")


def draw(cells: list[Cell], folder: Path) -> None:
    series = {f"{p}, delta {d}": pick(cells, push=p, delta=d) for p, d in DELTAS.items()}
    series = {k: v for k, v in series.items() if v and None not in v[0]["reward"]}
    plots.over_rounds(series, folder / "guidance_learned.png")
    points = {
        name: (
            [v for c in s for v in c["reward"]],
            {k: [v for c in s for v in c[k]] for k in KEYS[1:]},
        )
        for name, s in series.items()
    }
    plots.pareto(points, folder / "guidance_learned_pareto.png", "r_off", scatter=True)


PANEL = Panel(jobs, measure, show, draw)
