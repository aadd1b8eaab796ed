"""When a driver saturates: steps on simulated clusters of 1,000 workers and more, under the real driver.

Workers, their delays and their faults are simulated (`benchmarks.cluster`); handing out, listening, replacing, and
writing down what was answered are not. On the clock of the simulation the driver's own work takes the processor time
that it takes here, and each message that of a pipe. The same step for a driver that costs nothing is what to compare
with.
"""

import statistics
import time
from collections.abc import Iterator
from functools import partial
from multiprocessing import Pipe
from selectors import EVENT_READ, DefaultSelector
from typing import Any
from unittest.mock import patch

import torch

import elites as el
from benchmarks.cluster import Faults, SimulatedCrew, lognormal
from elites import population, workplace
from elites.account import Entry
from elites.parallel import Processes
from elites.parallel.dispatch import spread
from elites.priors import mixture
from elites.types import Meter

__all__ = ["clusters", "summary"]


def target() -> el.Target:
    """Whose account is kept; nothing of it is called."""
    return el.Target(mixture(torch.eye(2, dtype=torch.float64), 0.5), len, on_error=el.Worst(limit=1))


class Charged(SimulatedCrew):
    """A simulated crew on whose clock the driver's own work takes time, and each message that of a pipe."""

    charge = 0.0  # seconds of the clock for a second of the driver
    pipe = 0.0  # seconds of a message
    spent = 0.0
    left = 0.0

    def send(self, worker: int, call: Any) -> None:
        began = time.thread_time()
        super().send(worker, call)
        self.left += time.thread_time() - began  # what the simulation takes is not the driver's
        self.spent += self.pipe

    def wait(self, seconds: float) -> Any:
        now = time.thread_time()
        if self.left:
            self.spent += now - self.left
            self.now += self.charge * (now - self.left)
        heard = super().wait(seconds)
        self.spent += self.pipe * len(heard)
        self.now += self.charge * self.pipe * len(heard)
        self.left = time.thread_time()
        return heard


def pipe() -> float:
    """Seconds that a message from a worker takes the driver."""
    ours, theirs = Pipe()
    selector = DefaultSelector()
    selector.register(ours, EVENT_READ)
    took = []
    for _ in range(2000):
        theirs.send((1, [(12345, workplace.PACKED.pack(0.5, bytes(16)))]))
        began = time.thread_time()
        selector.select(0.0)
        ours.recv()
        took.append(time.thread_time() - began)
    return statistics.median(took)


def sent(item: int, worker: int) -> Any:
    """An answer as workers send it."""
    return workplace._sent(Entry((0,) * 6, 0.5, digest=bytes(16)))


def simulated(workers: int, seconds: float, each: int, charge: float, message: float, seed: int) -> dict[str, Any]:
    """A step of `each` candidates a worker: by when 95 % of it is over, and what the driver spent on it all."""
    faults = Faults(hang=Every(997, 3), kill=Every(997, 5), loss=1e-4, lag=2e-3)
    ours = target()
    about = {"network": 0.0, "reward": seconds, "target": population.same(ours)}
    crew = Charged(workers, lognormal(seconds), faults, build=10.0, about=about, seed=seed, answer=sent)
    crew.charge, crew.pipe = charge, message
    n, pool, rewards, most = workers * each, Processes(workers, timeout=300 * seconds), [], 0.0
    with patch.object(population, "spread", partial(spread, clock=crew.clock)):
        crew.left = time.thread_time()
        stream = el.Stream(seed)
        call = lambda worker, ids: (worker, ids)
        settled = population._settled(ours, pool, crew, stream, range(n), call, 1, lambda i: b"", Meter(nfe=1))
        for _, _, value in settled:
            rewards.append(value)
            if len(rewards) == int(0.95 * n):  # what comes later waits for stragglers and time-outs
                most = crew.now
    failed = rewards.count(float("-inf"))
    return {"seconds": most, "us": 1e6 * crew.spent / n, "failed": failed, "replaced": crew.replaced, "n": n}


class Every(set[int]):
    """Every n-th number."""

    def __init__(self, n: int, first: int) -> None:
        self.n, self.first = n, first

    def __bool__(self) -> bool:
        return True

    def intersection(self, few: Any) -> list[int]:
        return [i for i in few if i % self.n == self.first]


def clusters(full: bool) -> Iterator[dict[str, Any]]:
    """Efficiency: the time of 95 % of a step for a driver that costs nothing, over that for ours."""
    message, seeds = pipe(), range(3)
    for seconds in (1.0, 60.0):
        for workers in (1_000, 3_000, 10_000, 30_000, 100_000)[: 5 if full else 3]:
            each = 20 if workers <= 10_000 else 5
            ours, free = [], []
            for seed in seeds if workers <= 10_000 else [0]:
                ours.append(simulated(workers, seconds, each, 1.0, message, seed))
                free.append(simulated(workers, seconds, each, 0.0, message, seed))
            yield {
                "workers": workers,
                "seconds a candidate": seconds,
                "candidates": ours[0]["n"],
                "failed": statistics.median(o["failed"] for o in ours),
                "workers replaced": statistics.median(o["replaced"] for o in ours),
                "driver us a candidate": summary([o["us"] for o in ours]),
                "of which pipe us a message": 1e6 * message,
                "efficiency": summary([f["seconds"] / o["seconds"] for o, f in zip(ours, free, strict=True)]),
            }


def summary(values: list[float]) -> dict[str, float]:
    """Median and range."""
    return {"median": statistics.median(values), "least": min(values), "most": max(values), "runs": len(values)}
