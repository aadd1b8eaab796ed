r"""Diffusion Elites: learn the law of the noise from the noises that gave the best objects.

    1. draw a population z_i of the current law, starting from N(0, I), and put it where noise is typical
    2. run the full denoising pass on each, and score every object
    3. rank them, refit the law to the best, and rescale it to E|z|^2 = d
    4. repeat; return the best sample ever scored, never the decoded mean

No gradient is needed, candidates are independent of one another, and each stays on the data manifold as long as its
noise is typical of the prior.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ..stream import Stream
from ..target import Target
from ..templates import Search
from ..types import InputError, ranked
from .guards import Anywhere, Guard, Typical
from .refit import Diagonal, Law, Natural, Refit

__all__ = ["Elites", "ElitesState", "Geometric", "Restart", "Steady"]


@dataclass(frozen=True)
class Restart:
    """Begin again from the prior after `patience` steps that did not improve the best of this round.

    The best sample of all rounds is kept by the run; the elites start afresh.
    """

    patience: int = 30

    def __post_init__(self) -> None:
        if self.patience < 1:
            raise InputError(f"{self}: wait for at least one step.")


class Sizes(Protocol):
    """How the population changes along a round."""

    def __call__(self, population: int, steps: int) -> int:
        """Candidates of the step after `steps` steps of a round."""


@dataclass(frozen=True)
class Steady:
    """The same population at every step."""

    def __call__(self, population: int, steps: int) -> int:
        return population


@dataclass(frozen=True)
class Geometric:
    """The population times `factor` at each step, from `least` to `most`; below 1 it shrinks as the law narrows."""

    factor: float = 0.8
    least: int = 8
    most: int = 256

    def __post_init__(self) -> None:
        if self.factor <= 0 or not 4 <= self.least <= self.most:
            raise InputError(f"{self}: give a positive factor and 4 <= least <= most.")

    def __call__(self, population: int, steps: int) -> int:
        size = math.log(population) + steps * math.log(self.factor)
        return round(math.exp(min(max(size, math.log(self.least)), math.log(self.most))))


@dataclass
class ElitesState:
    """The law, the kept elites `(k, d)` with their rewards `(k,)`, and how long the round has gone on and stalled."""

    shape: tuple[int, ...]
    law: Law
    elites: Tensor
    rewards: Tensor
    best: float
    steps: int
    stalled: int


@dataclass(frozen=True)
class Elites(Search):
    """Diffusion Elites.

    Arguments:
        population: candidates of a step; small ones win, because the number of refits decides.
        refit: how the law is learned: `Natural()`, `Shell()`, `LowRank()` or `Diagonal()`.
        keep: elites that stay in the pool of the next steps, without being scored again.
        mirrored: draw candidates in pairs m + s e, m - s e.
        guard: where candidates may be: `Typical()` or `Anywhere()`.
        restart: `Restart(patience)`, or `None`.
        sizes: how the population changes along a round: `Steady()` or `Geometric(factor, least, most)`.

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
    mirrored: bool = True
    guard: Guard = Typical()  # noqa: RUF009 (frozen)
    restart: Restart | None = Restart()
    sizes: Sizes = Steady()

    def __post_init__(self) -> None:
        if self.population < 4:
            raise InputError(f"The population is {self.population}: give at least 4 candidates to choose elites from.")
        if not 0 <= self.keep <= self.population:
            raise InputError(f"keep={self.keep} of a population of {self.population}: keep at most all of it.")

    @staticmethod
    def published(population: int = 32, elites: float = 0.25) -> Elites:
        """The loop as it was published: diagonal maximum-likelihood refit, nothing kept, no guard."""
        return Elites(population, Diagonal(elites), keep=0, mirrored=False, guard=Anywhere(), restart=None)

    def init(self, target: Target, stream: Stream) -> ElitesState:
        shape = tuple(target.prior.shape)
        return self._round(shape, torch.Size(shape).numel())

    def size(self, state: ElitesState) -> int:
        return self.sizes(self.population, state.steps)

    def ask(self, state: ElitesState, stream: Stream, ids: Sequence[int]) -> Tensor:
        return self._candidates(state, stream, ids).reshape(len(ids), *state.shape)

    def tell(self, state: ElitesState, ids: Sequence[int], rewards: Tensor, stream: Stream) -> ElitesState:
        pool = torch.cat([self._candidates(state, stream, ids), state.elites])
        scores = torch.cat([rewards, state.rewards])
        order = ranked(scores)
        law, top = state.law, -torch.inf
        if len(order) >= 2:  # else there is nothing to learn from
            law = self.refit(law, pool[order], len(ids))
            law = law.scaled(self.guard.scale(law.energy, pool.shape[1]))
            top = float(scores[order[0]])
        stalled = 0 if top > state.best else state.stalled + 1
        if self.restart is not None and stalled >= self.restart.patience:
            return self._round(state.shape, pool.shape[1])
        kept = order[: self.keep]
        best = max(top, state.best)
        return ElitesState(state.shape, law, pool[kept], scores[kept], best, state.steps + 1, stalled)

    def _round(self, shape: tuple[int, ...], d: int) -> ElitesState:
        return ElitesState(
            shape,
            Law.prior(d),
            torch.zeros(0, d, dtype=torch.float32),
            torch.zeros(0, dtype=torch.float32),
            -torch.inf,
            0,
            0,
        )

    def _candidates(self, state: ElitesState, stream: Stream, ids: Sequence[int]) -> Tensor:
        """Candidates `(len(ids), d)`, where the guard wants them."""
        width = len(state.law.mean) + state.law.factor.shape[1]
        if self.mirrored:
            pairs = sorted({i // 2 for i in ids})
            row = {pair: k for k, pair in enumerate(pairs)}
            sign = torch.tensor([1.0 - 2.0 * (i % 2) for i in ids], dtype=torch.float32)[:, None]
            e = sign * stream.normal(pairs, (width,))[[row[i // 2] for i in ids]]
        else:
            e = stream.normal(ids, (width,))
        return self.guard.place(state.law.draw(e))
