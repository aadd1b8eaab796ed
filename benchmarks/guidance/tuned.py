"""The digits prior tuned for a margin: what its plain samples are worth then, and what is left of their variety."""

from typing import Any

import torch

import elites as el
from benchmarks.guidance.panel import Cell, Job, Panel, cell, pick, table
from benchmarks.quality.tasks import TASKS
from elites.train import AdjointMatching, FineTune, Fit, Follow, PathKL, RewardWeighted

__all__ = ["PANEL"]

TASK, TAU, ROUNDS, SEEDS, SAMPLES = TASKS["digits margin"], 3.0, 20, range(20, 22), 128
FIT = Fit(10, 3e-4, 64, 4, average=0.9)
KL = PathKL(10.0, 32, 20)
METHODS: dict[str, Any] = {
    "untuned": None,
    "adjoint matching": FineTune(AdjointMatching(32, TAU, 20), FIT),
    "weighted regression": FineTune(RewardWeighted(64, TAU), FIT),
    "weighted regression, up to 10 nats": FineTune(RewardWeighted(64, TAU), FIT, (KL,)),
    "elites distilled": FineTune(Follow(el.Elites(), temperature=TAU, memory=16), FIT),
}
COLUMNS = ("reward", "judge", "distance", "spread", "kl", "nfe", "grads", "rounds")


def jobs() -> list[Job]:
    return [{"method": m, "seed": s} for s in SEEDS for m in METHODS]


def measure(method: str, seed: int) -> Cell:
    prior = el.priors.digits(kernel=el.DDIM(1.0))
    target = el.Target(prior, TASK.reward(seed), walk=el.Plain(steps=10), batch=32)
    spent = {"kl": 0.0, "nfe": 0, "grads": 0, "rounds": 0}
    weights = prior.weights()
    if METHODS[method] is not None:
        result = el.run(METHODS[method], target, el.Budget(steps=ROUNDS), seed, probe=None)
        weights, meter = result.state.average, result.meter
        kl = KL.measure(target.with_weights(weights), target, el.Stream(seed, 5, step=1000))
        spent = {"kl": kl, "nfe": meter.nfe, "grads": meter.grads, "rounds": len(result.history)}
    return plain(el.priors.digits().with_weights(weights), seed) | spent


@torch.no_grad()
def plain(prior: Any, seed: int) -> Cell:
    """Means over samples of the deterministic walk that no round has seen."""
    target = el.Target(prior, TASK.reward(seed), walk=el.Plain(steps=10), batch=32)
    stream, ids = el.Stream(seed + 1000), range(SAMPLES)
    x = target.generate(prior.noise(stream, ids), stream, ids)
    objects = prior.decode(x)
    return {
        "reward": float(target.score(x, stream, ids).mean()),
        "judge": float(TASK.judge(seed)(objects).mean()),
        "distance": float(TASK.distance()(objects).mean()),
        "spread": float(torch.pdist(objects.flatten(1)).mean()),
    }


def show(cells: list[Cell]) -> None:
    rows = []
    for name in METHODS:
        some = pick(cells, method=name)
        if some:
            rows.append([name, *(cell([c[k] for c in some], 0 if k in COLUMNS[-3:] else 2) for k in COLUMNS)])
    table(("method", *COLUMNS[:4], "path KL", "evaluations", "gradients", "rounds"), rows)


PANEL = Panel(jobs, measure, show)
