"""Data on a unit sphere, a learned score, a linear reward: reward against distance off the sphere.

On the sphere of all 64 dimensions, and on that of the subspace, where half of theta is on it, as of a random vector.
"""

from itertools import product
from pathlib import Path
from statistics import mean

from torch import Tensor

from benchmarks.guidance import plots
from benchmarks.guidance.network import LEVELS, learned
from benchmarks.guidance.panel import Cell, Job, Panel, pick, table
from benchmarks.guidance.rounds import along, guided
from benchmarks.guidance.setting import ACROSS, BETA, FRAME

__all__ = ["PANEL"]

BATCH, ROUNDS, LAST, SEED = 256, 25, 5, 0
PUSHES = ("G_loss, published weight", "G")
DELTAS = (0.02, 0.07, 0.17, 0.32, 0.52)
THETAS = {"sphere": ACROSS, "small sphere": (FRAME @ BETA + 3**0.5 * ACROSS) / 2}
KEYS = ("reward", "after", "before")
NAMES = {"sphere": "of 64 dimensions", "small sphere": "of 16 of 64"}


def jobs() -> list[Job]:
    return [{"data": k, "push": p, "delta": d, "seed": SEED} for k in THETAS for d in DELTAS for p in PUSHES]


def off_sphere(x: Tensor) -> Tensor:
    return (x.double().norm(dim=1) - 1).abs()


def measure(data: str, push: str, delta: float, seed: int) -> Cell:
    def to_theta(x: Tensor) -> Tensor:
        return (x * THETAS[data].to(x)).sum(1)

    method = guided(push, delta, BATCH, LEVELS, ROUNDS)
    curves, x = along(method, learned(data), to_theta, off_sphere, seed)
    return curves | {"signed": float((x[-LAST:].norm(dim=2) - 1).mean())}


def ends(c: Cell, rounds: slice = slice(-LAST, None)) -> dict[str, float]:
    return {k: mean(c[k][rounds]) for k in KEYS}


def show(cells: list[Cell]) -> None:
    rows = []
    for data, name in NAMES.items():
        first = [ends(c, slice(1)) for c in pick(cells, data=data)]
        if first:
            rows.append([name, "unguided", "", *(f"{mean(e[k] for e in first):.3f}" for k in KEYS), ""])
        for delta, push in product(DELTAS, PUSHES):
            for c in pick(cells, data=data, push=push, delta=delta):
                figures = (f"{ends(c)[k]:.3f}" for k in KEYS)
                rows.append([name, push, f"{delta:g}", *figures, f"{c['signed']:.3f}"])
    table(("sphere", "guidance", "delta", "reward", "r_off", "r_off before the last jump", "signed"), rows)


def draw(cells: list[Cell], folder: Path) -> None:
    series = {}
    for (data, name), push in product(NAMES.items(), PUSHES):
        at = [ends(c) for c in sorted(pick(cells, data=data, push=push), key=lambda c: c["delta"])]
        if at:
            series[f"{push}, {name}"] = ([e["reward"] for e in at], {k: [e[k] for e in at] for k in KEYS[1:]})
    plots.pareto(series, folder / "guidance_sphere.png", "||x| - 1|")


PANEL = Panel(jobs, measure, show, draw)
