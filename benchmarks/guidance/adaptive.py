"""Fine-tuning on the guided rounds: where algorithm 1 settles, algorithm 2 goes on."""

from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch import Tensor, nn

import elites as el
from benchmarks.guidance import plots
from benchmarks.guidance.network import learned
from benchmarks.guidance.panel import Cell, Job, Panel, cell, pick, table
from benchmarks.guidance.rounds import guided, off_subspace
from benchmarks.guidance.setting import FRAME, OBJECTIVES, D, cosine
from elites.train import FineTune, Fit, Follow

__all__ = ["PANEL"]

LEVELS, BATCH, DELTA = 100, 32, 0.2
FAR, NEAR = "f1, theta 9 to 1 off it", "f1, theta on the subspace"
EXACT, LEARNED = "exact, its mean trained", "learned, all weights trained"
ROUNDS = {EXACT: 300, LEARNED: 100}
FITS = {EXACT: Fit(2, 0.03, 32, 2, LEVELS), LEARNED: Fit(4, 3e-5, 64, 4, LEVELS)}
SEEDS = {EXACT: range(3), LEARNED: range(2)}
CASES = ((EXACT, FAR), (LEARNED, FAR), (LEARNED, NEAR))
ALGORITHMS = ("algorithm 1", "algorithm 2")
TAIL = 20  # rounds at the end that the tables take the mean of


class Shifted(nn.Module):
    """The exact guess for normal data on the subspace around a mean, which is all that is trained.

    The mean is in coordinates along and across the subspace: Adam scales each coordinate by itself, and in those of
    the data its steps leave the subspace where the gradient does not.
    """

    def __init__(self, schedule: el.Table) -> None:
        super().__init__()
        self.schedule, self.frame, self.mean = schedule, FRAME.float(), nn.Parameter(torch.zeros(D))
        self.axes = torch.linalg.qr(FRAME, mode="complete").Q.float()

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        alpha, mean = float(self.schedule(t[0].double())[0]), self.axes @ self.mean
        return mean + alpha * ((x - alpha * mean) @ self.frame) @ self.frame.T


def shifted() -> el.priors.GaussianPrior:
    return el.priors.GaussianPrior(
        Shifted(cosine(LEVELS)), (D,), cosine(LEVELS), el.X0(), el.DDIM(1.0), name="shifted"
    )


PRIORS: dict[str, Callable[[], Any]] = {EXACT: shifted, LEARNED: lambda: learned("plane")}


def jobs() -> list[Job]:
    return [
        {"score": score, "objective": objective, "algorithm": a, "seed": s}
        for score, objective in CASES
        for s in SEEDS[score]
        for a in ALGORITHMS
    ]


def measure(score: str, objective: str, algorithm: str, seed: int) -> Cell:
    """Of each round the mean of f over the samples and over their parts on the subspace, and r_off."""
    f, rounds, onto = OBJECTIVES[objective](), ROUNDS[score], FRAME @ FRAME.T
    seen: dict[str, list[float]] = {"reward": [], "on": [], "center": [], "after": []}

    def watch(event: el.types.Event) -> None:
        if event.info.x0 is None:
            return
        x = event.info.x0.double()
        values = (f(x).mean(), f(x @ onto).mean(), f((x @ onto).mean(0, keepdim=True))[0], off_subspace(x).mean())
        for name, v in zip(seen, values, strict=True):
            seen[name].append(float(f"{float(v):.5g}"))

    alone = guided("G_loss", DELTA, BATCH, LEVELS, rounds)
    method: Any = alone if algorithm == "algorithm 1" else FineTune(Follow(alone), FITS[score])
    target = el.Target(PRIORS[score](), f, batch=BATCH)
    el.run(method, target, el.Budget(steps=rounds), seed, on=[watch], probe=None)
    return seen


def show(cells: list[Cell]) -> None:
    rows = []
    for score, objective in CASES:
        for a in ALGORITHMS:
            some = pick(cells, score=score, objective=objective, algorithm=a)
            if some:
                ends = [cell([mean(c[k][-TAIL:]) for c in some]) for k in ("reward", "on", "center", "after")]
                rows.append([score, objective, a, str(ROUNDS[score]), *ends, str(len(some))])
    head = (
        "score",
        "objective",
        "rounds of",
        "rounds",
        "f",
        "f on the subspace",
        "f at the mean there",
        "r_off",
        "seeds",
    )
    table(head, rows)


def draw(cells: list[Cell], folder: Path) -> None:
    some = pick(cells, score=EXACT, objective=FAR)
    series = {a: pick(some, algorithm=a) for a in ALGORITHMS}
    if all(series.values()):
        plots.over_rounds(series, folder / "guidance_adaptive.png", keys=("on", "after"))


PANEL = Panel(jobs, measure, show, draw)
