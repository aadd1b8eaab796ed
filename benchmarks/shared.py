"""Several runs that share the network's batches: the same evaluations in a third of the time.

A search of small populations fills a small batch badly. Runs of one method with different seeds make the same calls at
the same times, so each runs in a thread of its own and their rows go through the network together; runs at other times
of the walk make calls of their own. The draws are
those of separate runs; floats differ in the last bits, as they do between batch sizes.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


class Shared:
    """A prior whose `denoise` waits for all runs and calls the network once for all at the same time."""

    def __init__(self, prior: Any, runs: int) -> None:
        self.prior = prior
        self.runs = runs
        self.turn = threading.Condition()
        self.asked: dict[int, tuple[Tensor, Tensor]] = {}
        self.given: dict[int, Tensor] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.prior, name)

    def denoise(self, x: Tensor, t: Tensor, z: Tensor | None = None) -> Tensor:
        """The clean guess of this run's rows; runs that ask for the same t share a call."""
        me = threading.get_ident()
        with self.turn:
            self.asked[me] = (x, t)
            self._serve()
            self.turn.wait_for(lambda: me in self.given)
            return self.given.pop(me)

    def leave(self) -> None:
        """This run is over; the others wait for it no more."""
        with self.turn:
            self.runs -= 1
            self._serve()

    def _serve(self) -> None:
        if not self.asked or len(self.asked) < self.runs:
            return
        for t in {float(t): t for _, t in self.asked.values()}.values():
            who = [i for i, (_, mine) in self.asked.items() if mine == t]
            rows = [self.asked.pop(i)[0] for i in who]
            x0 = self.prior.denoise(torch.cat(rows), t)
            self.given |= dict(zip(who, x0.split([len(r) for r in rows]), strict=True))
        self.turn.notify_all()


def together(prior: Any, jobs: Sequence[Callable[[Any], T]]) -> list[T]:
    """Results of the jobs, each called with a prior that shares batches with the others, in order."""
    shared = Shared(prior, len(jobs))

    def one(job: Callable[[Any], T]) -> T:
        try:
            return job(shared)
        finally:
            shared.leave()

    with ThreadPoolExecutor(len(jobs)) as pool:
        return list(pool.map(one, jobs))
