"""Which law fine-tuning ends at: the tilt of N(0, 1) by r(x) = -(x - 2)^2, of mean 4/3 and variance 1/3.

Adjoint matching trains a line at each of 200 levels, and reward-weighted regression the mean and the variance of a
normal law. Of the line the law of the tuned chain is known by recursion, and so is the best law that a chain of as
many steps can have.
"""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

import elites as el
from benchmarks.guidance.panel import Cell, Job, Panel, cell, pick, table
from elites.train import AdjointMatching, FineTune, Fit, PathKL, RewardWeighted

__all__ = ["PANEL"]

STEPS, SEEDS, ROUNDS = 200, range(3), 5
SCHEDULE = el.Flow()
TIMES = SCHEDULE.times(STEPS)


def reward(x: Tensor) -> Tensor:
    return -((x[:, 0] - 2) ** 2)


def base(t: Tensor) -> float:
    """The slope of the exact guess for N(0, 1)."""
    alpha, sigma = (float(v) for v in SCHEDULE(t))
    return alpha / (alpha**2 + sigma**2)


class Lines(nn.Module):
    """That guess with a line added at each level."""

    def __init__(self) -> None:
        super().__init__()
        self.slope, self.shift = (nn.Parameter(torch.zeros(STEPS + 1)) for _ in range(2))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        k = int((TIMES - t[0].double()).abs().argmin())
        return (base(TIMES[k]) + self.slope[k]) * x + self.shift[k]


class Bell(nn.Module):
    """The exact guess of a normal law."""

    def __init__(self) -> None:
        super().__init__()
        self.mean, self.logv = (nn.Parameter(torch.zeros(1)) for _ in range(2))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = (float(v) for v in SCHEDULE(t[0].double()))
        v = self.logv.exp()
        return (alpha * v * x + sigma**2 * self.mean) / (alpha**2 * v + sigma**2)


def coefficients() -> list[tuple[float, float, float]]:
    return [tuple(float(v) for v in el.DDIM(1.0)(SCHEDULE, t, s)) for t, s in pairwise(TIMES)]  # type: ignore[misc]


def law(slope: Tensor, shift: Tensor) -> tuple[float, float]:
    """Mean and variance of the chain with these lines."""
    m, v = 0.0, 1.0
    for k, (a, b, c) in enumerate(coefficients()):
        gain = a + b * (base(TIMES[k]) + float(slope[k]))
        m, v = gain * m + b * float(shift[k]), gain**2 * v + c**2
    return m, v


def best() -> tuple[float, float]:
    """The law of the chain under its optimal control, by dynamic programming on V(x) = p x^2 / 2 + q x."""
    p, q, controls = 2.0, -4.0, []
    for k, (a, b, c) in reversed(list(enumerate(coefficients()))):
        gain = a + b * base(TIMES[k])
        controls.append((gain, c, -c * p * gain / (1 + p * c * c), -c * q / (1 + p * c * c)))
        p, q = gain**2 * p / (1 + p * c * c), gain * q / (1 + p * c * c)
    m, v = 0.0, 1.0
    for gain, c, slope, shift in reversed(controls):
        m, v = (gain + c * slope) * m + c * shift, (gain + c * slope) ** 2 * v + c**2
    return m, v


def prior(net: nn.Module, eta: float) -> el.priors.GaussianPrior:
    return el.priors.GaussianPrior(net, (1,), SCHEDULE, el.X0(), el.DDIM(eta), name=type(net).__name__)


def jobs() -> list[Job]:
    return [{"rule": r, "seed": s} for s in SEEDS for r in ("adjoint matching", "weighted regression")]


def measure(rule: str, seed: int) -> Cell:
    laws: list[tuple[float, float]] = []
    if rule == "adjoint matching":
        method: Any = FineTune(AdjointMatching(256, 1.0, STEPS), Fit(3, 0.03, 64 * STEPS, STEPS, STEPS, average=0.95))
        target = el.Target(prior(Lines(), 1.0), reward, walk=el.Plain(STEPS), batch=1024)
        state = el.run(method, target, el.Budget(steps=80), seed, probe=None).state
        laws.append(law(state.average["slope"], state.average["shift"]))
        kl = PathKL(99, 1000, STEPS).measure(target.with_weights(state.average), target, el.Stream(seed, 5))
        return {"laws": laws, "kl": kl}
    method = FineTune(RewardWeighted(20_000), Fit(200, 0.05, 1024, 4, STEPS, average=0.95))
    target = el.Target(prior(Bell(), 0.0), reward, walk=el.Plain(STEPS), batch=1024)

    def watch(event: el.types.Event) -> None:
        if event.result is None:
            w = event.state.average
            laws.append((float(w["mean"]), float(w["logv"].exp())))

    el.run(method, target, el.Budget(steps=ROUNDS), seed, on=[watch], probe=None)
    return {"laws": laws}


def show(cells: list[Cell]) -> None:
    rows = []
    ours = pick(cells, rule="adjoint matching")
    if ours:
        m, v = best()
        found = [cell([c["laws"][0][i] for c in ours], 4) for i in (0, 1)]
        rows.append(["adjoint matching, 200 steps", "1.3333", "0.3333", *found])
        rows.append(["the best that this chain can be", "", "", f"{m:.4f}", f"{v:.4f}"])
    for k in range(ROUNDS if pick(cells, rule="weighted regression") else 0):
        some = [c["laws"][k] for c in pick(cells, rule="weighted regression")]
        want = (4 * (k + 1) / (2 * k + 3), 1 / (2 * k + 3))
        found = [cell([c[i] for c in some], 3) for i in (0, 1)]
        rows.append([f"weighted regression, round {k + 1}", *(f"{w:.4f}" for w in want), *found])
    table(("method", "mean of the tilt", "variance", "mean", "variance found"), rows)
    if ours:
        print(f"\nPath KL of adjoint matching: {cell([c['kl'] for c in ours])} nats; that of the tilt is 1.106.")


PANEL = Panel(jobs, measure, show)
