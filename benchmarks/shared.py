"""Several runs that share the network's batches: the same evaluations in a third of the time.

A search of small populations fills a small batch badly. Runs of one method with different seeds make the same calls at
the same times, so each runs in a thread of its own and their rows go through the network together. The draws are
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
    """A prior whose `denoise` waits for all runs and calls the network once for all of them."""

    def __init__(self, prior: Any, runs: int) -> None:
        self.prior = prior
        self.runs = runs
        self.turn = threading.Condition()
        self.asked: dict[int, tuple[Tensor, Tensor]] = {}
        self.given: dict[int, Tensor] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.prior, name)

    def denoise(self, x: Tensor, t: Tensor, z: Tensor | None = None) -> Tensor:
        """The clean guess of this run's rows; all runs have to ask for the same t."""
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
        who = list(self.asked)
        rows, times = zip(*(self.asked.pop(i) for i in who), strict=True)
        if any(t != times[0] for t in times):
            raise RuntimeError("The runs are at different times: they can share no batch.")
        x0 = self.prior.denoise(torch.cat(rows), times[0])
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
