"""Algorithm 1 on the exact score, to the regularised optimum of each objective where its rounds come to rest.

With g = grad f(z) on the subspace, a round takes z to g (delta + g . z) / (lambda delta + |g|^2). The optimum
z = g / lambda is a fixed point, and a stable one only under two conditions, with L the curvature -f'' there:

    along g     L delta - |g|^2 < |g|^2 + lambda delta:    a round may not ask for much more than is left
    across g    L < lambda:                                else the mean swings from side to side of the optimum
"""

from statistics import mean

import elites as el
from benchmarks.guidance.panel import Cell, Job, Panel, cell, pick, table
from benchmarks.guidance.rounds import PUSHES, SIGMA, along, off_subspace
from benchmarks.guidance.setting import OBJECTIVES, exact

__all__ = ["PANEL"]

LEVELS, BATCH, LAST = 100, 32, 20
SEEDS = range(3)
PLANS = (  # objective, lambda, delta, whether all follow the gradient at the mean, rounds; sigma = 0.1 in the paper
    ("f1, theta on the subspace", 1.0, 0.5, False, 60),
    ("f1, theta on the subspace", 0.2, 0.2, True, 120),
    ("f1, theta on the subspace", 0.2, 0.2, False, 120),
    ("f1, theta on the subspace", 0.2, 0.05, False, 300),
    ("f1, theta on the subspace", 0.05, 0.2, False, 100),
    ("f1, theta on the subspace", SIGMA**2 / 0.9, 0.9, False, 40),
    ("f2, b = 4", 0.05, 1.0, True, 40),
    ("f2, b = 4", 0.05, 0.2, True, 40),
    ("f2, b = 4", 0.01, 1.0, True, 40),
    ("f2, b = 4", 0.01, 1.0, False, 40),
    ("f2, b normal", 0.05, 1.0, True, 40),
    ("f2, b normal", 0.05, 0.2, True, 40),
    ("f2, b normal", 0.01, 1.0, True, 40),
    ("f2, b normal", 0.01, 1.0, False, 40),
)
NAMES = ("objective", "regularisation", "delta", "mean", "rounds")


def jobs() -> list[Job]:
    return [dict(zip(NAMES, plan, strict=True)) | {"seed": s} for plan in PLANS for s in SEEDS]


def measure(objective: str, regularisation: float, delta: float, mean: bool, rounds: int, seed: int) -> Cell:
    """f of the samples and f at their mean; how far along the predicted optimum that mean is."""
    reward = OBJECTIVES[objective]()
    method = el.Lookahead(BATCH, LEVELS, rounds, regularisation, delta, PUSHES["G_loss"], mean)
    curves, x = along(method, exact(LEVELS), reward, off_subspace, seed)
    best = reward.best(regularisation)
    centres = x[-LAST:].mean(1)
    return {
        "predicted": float(reward(best[None])[0]),
        "prior": float(reward(best[None] * 0)[0]),
        "f": sum(curves["reward"][-LAST:]) / LAST,
        "f_of_mean": float(reward(centres.mean(0, keepdim=True))[0]),
        "share": float((centres @ best).mean() / best.square().sum()),
        "after": max(curves["after"]),
        "reward": curves["reward"],
    }


def show(cells: list[Cell]) -> None:
    rows = []
    for plan in PLANS:
        found = pick(cells, **dict(zip(NAMES, plan, strict=True)))
        if found:
            rows.append(
                [
                    plan[0],
                    *(f"{v:.3g}" for v in plan[1:3]),
                    "at the mean" if plan[3] else "of each sample",
                    str(plan[4]),
                    f"{found[0]['prior']:.3f}",
                    f"{found[0]['predicted']:.3f}",
                    cell([c["f_of_mean"] for c in found]),
                    cell([c["f"] for c in found]),
                    cell([c["share"] for c in found]),
                    f"{mean(c['after'] for c in found):.1g}",
                ]
            )
    head = ("objective", "lambda", "delta", "gradient", "rounds", "f at the prior's mean", "predicted f")
    table((*head, "f at the mean", "f of samples", "share of the optimum", "r_off, most"), rows)


PANEL = Panel(jobs, measure, show)
