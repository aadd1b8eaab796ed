r"""Diffusion Elites: learn the law of the noise from the noises that gave the best objects.

    1. draw a population z_i of the current law, starting from N(0, I), and put it where noise is typical
    2. run the full denoising pass on each, and score every object
    3. rank them, refit the law to the best, and rescale it to E|z|^2 = d
    4. repeat; return the best sample ever scored, never the decoded mean

No gradient is needed, candidates are independent of one another, and each stays on the data manifold as long as its
noise is typical of the prior.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..stream import Stream
from ..target import Target
from ..templates import Search
from ..types import InputError, ranked
from .guards import Anywhere, Guard, Typical
from .refit import Diagonal, Law, Natural, Refit, Told

__all__ = ["Elites", "ElitesState", "Restart"]


@dataclass(frozen=True)
class Restart:
    """Begin again from the prior after `patience` steps that did not improve the best of this round.

    The best sample of all rounds is kept by the run; the elites start afresh.
    """

    patience: int = 30

    def __post_init__(self) -> None:
        if self.patience < 1:
            raise InputError(f"{self}: wait for at least one step.")


@dataclass
class ElitesState:
    """The law, the kept elites `(k, d)` with their rewards `(k,)`, and for how many steps the round has stalled."""

    shape: tuple[int, ...]
    law: Law
    elites: Tensor
    rewards: Tensor
    best: float
    stalled: int


@dataclass(frozen=True)
class Elites(Search):
    """Diffusion Elites.

    Arguments:
        population: candidates of a step; small ones win, because the number of refits decides.
        refit: how the law is learned: `Natural()`, `Shell()` or `Diagonal()`.
        keep: elites that stay in the pool of `Shell()` and `Diagonal()`, without being scored again.
        guard: where candidates may be: `Typical()` or `Anywhere()`.
        restart: `Restart(patience)`, or `None`.

    Raises:
        InputError: if the population has fewer than four candidates, or fewer than are to be kept.

    References:
        Diffusion Elites: surprisingly good, simple and embarrassingly parallel (Perone, 2025).

    Differences:
        The default learns by natural evolution strategies and keeps the noise on the shell; see `docs/elites.md`.
    """

    population: int = 8
    refit: Refit = Natural()  # noqa: RUF009 (frozen)
    keep: int = 0
    guard: Guard = Typical()  # noqa: RUF009 (frozen)
    restart: Restart | None = Restart()

    def __post_init__(self) -> None:
        if self.population < 4:
            raise InputError(f"The population is {self.population}: give at least 4 candidates to choose elites from.")
        if not 0 <= self.keep <= self.population:
            raise InputError(f"keep={self.keep} of a population of {self.population}: keep at most all of it.")

    @staticmethod
    def published(population: int = 32, elites: float = 0.25) -> Elites:
        """The loop as it was published: diagonal maximum-likelihood refit, nothing kept, no guard."""
        return Elites(population, Diagonal(elites), keep=0, guard=Anywhere(), restart=None)

    def init(self, target: Target, stream: Stream) -> ElitesState:
        shape = tuple(target.prior.shape)
        return self._round(shape, torch.Size(shape).numel())

    def ask(self, state: ElitesState, stream: Stream, ids: Sequence[int]) -> Tensor:
        return self._candidates(state, stream, ids).reshape(len(ids), *state.shape)

    def tell(self, state: ElitesState, ids: Sequence[int], rewards: Tensor, stream: Stream) -> ElitesState:
        e = stream.normal(ids, state.law.mean.shape)
        pool = torch.cat([self.guard.place(state.law.draw(e)), state.elites])
        if not torch.isfinite(pool).all():  # the law has diverged
            return self._round(state.shape, pool.shape[1])
        scores = torch.cat([rewards, state.rewards])
        order = ranked(scores)
        law, top = state.law, float(scores[order[0]]) if len(order) else -torch.inf
        if (rewards > -torch.inf).sum() >= 2:  # else there is nothing to learn from
            law = self.refit(law, Told(e, rewards, pool[order]))
            law = law.scaled(self.guard.scale(law.energy, pool.shape[1]))
        stalled = 0 if top > state.best else state.stalled + 1
        if self.restart is not None and stalled >= self.restart.patience:
            return self._round(state.shape, pool.shape[1])
        kept = order[: self.keep]
        return ElitesState(state.shape, law, pool[kept], scores[kept], max(top, state.best), stalled)

    def _round(self, shape: tuple[int, ...], d: int) -> ElitesState:
        none = torch.zeros(0, dtype=torch.float32)
        return ElitesState(shape, Law.prior(d), none.new_zeros(0, d), none, -torch.inf, 0)

    def _candidates(self, state: ElitesState, stream: Stream, ids: Sequence[int]) -> Tensor:
        """Candidates `(len(ids), d)`, where the guard wants them."""
        return self.guard.place(state.law.draw(stream.normal(ids, state.law.mean.shape)))
