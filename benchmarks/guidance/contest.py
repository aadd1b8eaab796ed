"""Gradient methods on the digits at equal cost: a backward pass through the network counts two forward passes.

The cost of a run is its network evaluations plus two for every row of every backward pass through the network. The
evaluations that a recomputing ascent makes again in its backward pass are evaluations. Gradients of the reward alone
count nothing, nor do rewards: a classifier of 64 pixels takes a hundredth of the network.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import elites as el
from benchmarks.guidance.rounds import PUSHES
from benchmarks.quality import cells
from benchmarks.quality.tasks import TASKS
from elites.run import iterate
from elites.steer import Share, Tilt

__all__ = ["STEPS", "Entry", "ahead", "contend", "search", "walk"]

STEPS = 10  # of the walks of searches, as in the comparison of searches
TASK = TASKS["digits margin"]


@dataclass(frozen=True)
class Entry:
    """A method for a budget of forward passes, and what a gradient of its meter is in backward passes."""

    make: Callable[[int], Any]
    backward: float
    eta: float = 0.0
    batch: int = 32

    def cost(self, meter: el.types.Meter) -> float:
        return meter.nfe + 2 * self.backward * meter.grads


def walk(kind: Any, *, steps: int, eta: float, scale: float = 0.0, share: float = 0.0, **more: Any) -> Entry:
    """As many guided walks as the budget pays for; one with `LGDMC` or `DPS` takes three passes a step."""
    backward = 0 if kind is el.MPGD else 1
    strength = Share(share) if share else Tilt(scale)

    def make(budget: int) -> Any:
        return kind(steps, budget // (steps * (1 + 2 * backward)), strength=strength, **more)

    return Entry(make, backward, eta)


def ahead(*, push: str, steps: int, regularisation: float, delta: float, rounds: int, eta: float = 1.0) -> Entry:
    """Rounds of guidance; of the gradients that are counted one in `steps` + 1 is of the reward alone."""
    pulls = PUSHES[push].pulls

    def make(budget: int) -> el.Lookahead:
        n = budget // (steps * ((rounds - 1) * (1 + 2 * pulls) + 1))
        return el.Lookahead(max(n, 1), steps, rounds, regularisation, delta, PUSHES[push])

    return Entry(make, steps / (steps + 1) if pulls else 0, eta)


def search(method: Any, *, ascends: bool = False) -> Entry:
    """A search over noise; a gradient of an ascent goes back through the whole walk."""
    return Entry(lambda budget: method, STEPS if ascends else 0)


def contend(entry: Entry, budget: int, seed: int) -> dict[str, Any]:
    """What the best of a run is, when going on would cost more than the budget."""
    method = entry.make(budget)
    prior = TASK.prior()
    prior = replace(prior, kernel=el.DDIM(entry.eta)) if entry.eta else prior
    rows = min(getattr(method, "population", None) or getattr(method, "n", 16), entry.batch)
    target = el.Target(prior, TASK.reward(seed), walk=el.Plain(steps=STEPS), batch=rows)
    last = None
    for event in iterate(method, target, el.Budget(nfe=2 * budget), seed, probe=None):
        if entry.cost(event.meter) > budget:
            break
        last = event
    if last is None or last.best is None:
        raise RuntimeError(f"{method} ended with nothing within {budget}")
    found = cells.measured(TASK, seed, last.best)
    return found | {"cost": entry.cost(last.meter), "nfe": last.meter.nfe, "seconds": round(last.meter.seconds, 2)}
