"""Strengths of guidance on the digits, chosen on seeds that are reported nowhere, by the reward that a method sees.

The best setting of a method has the highest reward of those whose winners are at most 1.35 from the data, both in the
mean over the seeds; the judge is not asked.
"""

from collections.abc import Callable
from itertools import product
from statistics import mean
from typing import Any

import elites as el
from benchmarks.guidance.contest import Entry, ahead, contend, walk
from benchmarks.guidance.panel import Cell, Job, Panel, pick, table

__all__ = ["FAR", "GRIDS", "PANEL", "entry"]

BUDGET, SEEDS, FAR = 2_000, range(1000, 1003), 1.35


def _grid(**axes: tuple[Any, ...]) -> list[dict[str, Any]]:
    return [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]


def _walks(scale: tuple[float, ...], share: tuple[float, ...], **more: tuple[Any, ...]) -> list[dict[str, Any]]:
    """By the tilt, and by a share of the noise of each step."""
    plain = {"steps": (10, 20, 40), "eta": (0.0, 1.0)} | more
    return _grid(**plain, scale=scale) + _grid(**plain, share=share)


AHEAD = {"regularisation": (0.01, 0.1, 1.0), "delta": (10.0, 30.0, 100.0), "rounds": (2, 4, 8)}
GRIDS: dict[str, list[dict[str, Any]]] = {
    "Lookahead": [
        *_grid(push=("G_loss",), steps=(10, 20), **AHEAD),
        *_grid(
            push=("G_loss",), steps=(10, 20), eta=(0.0,), regularisation=(0.1, 1.0), delta=(30.0, 100.0), rounds=(4, 8)
        ),
    ],
    "Lookahead, published weight": _grid(
        push=("G_loss, published weight",),
        steps=(10, 20),
        regularisation=(0.01, 0.1),
        delta=(10.0, 30.0),
        rounds=(4, 8),
    ),
    "Lookahead, raw gradient": _grid(push=("G",), steps=(10,), **AHEAD | {"regularisation": (0.1,)}),
    "DPS": _walks((0.1,), (0.2, 0.35, 0.5)),
    "LGDMC": _walks((), (0.2, 0.35, 0.5), eta=(1.0,), spread=(0.3,)),
    "MPGD": _walks((1.0, 3.0), (0.35, 0.7)),
}
KINDS: dict[str, Callable[..., Entry]] = {
    "Lookahead": ahead,
    "Lookahead, published weight": ahead,
    "Lookahead, raw gradient": ahead,
    "DPS": lambda **given: walk(el.DPS, **given),
    "LGDMC": lambda **given: walk(el.LGDMC, **given),
    "MPGD": lambda **given: walk(el.MPGD, **given),
}


def entry(method: str, setting: dict[str, Any]) -> Entry:
    return KINDS[method](**setting)


def jobs() -> list[Job]:
    return [{"method": m, "setting": s, "seed": k} for m, grid in GRIDS.items() for s in grid for k in SEEDS]


def measure(method: str, setting: dict[str, Any], seed: int) -> Cell:
    found = contend(entry(method, setting), BUDGET, seed)
    return {k: found[k] for k in ("best", "distance", "cost")}


def chosen(cells: list[Cell], method: str) -> tuple[dict[str, Any], float, float] | None:
    """The best setting of a method, its reward and its distance."""
    found = []
    for setting in GRIDS[method]:
        here = pick(cells, method=method, setting=setting)
        if here:
            found.append((setting, mean(c["best"] for c in here), mean(c["distance"] for c in here)))
    near = [f for f in found if f[2] <= FAR]
    return max(near, key=lambda f: f[1], default=None)


def show(cells: list[Cell]) -> None:
    rows = []
    for method in GRIDS:
        best = chosen(cells, method)
        if best:
            setting = ", ".join(f"{k} {v}" for k, v in best[0].items())
            rows.append([method, str(len(GRIDS[method])), setting, f"{best[1]:.2f}", f"{best[2]:.2f}"])
    table(("method", "settings tried", "chosen", "reward", "distance"), rows)


PANEL = Panel(jobs, measure, show)
