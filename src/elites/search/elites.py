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
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..stream import Stream
from ..target import Target
from ..templates import Search
from ..types import InputError, ranked
from .guards import Anywhere, Guard, Typical
from .refit import Diagonal, Law, Natural, Refit, Told
from .rows import CHUNK, Rows, chunks

__all__ = ["Elites", "ElitesState", "Restart"]

NARROW = 1e-3  # largest standard deviation of a law that has converged
LASTING = {"lasting": True}  # marks what a state keeps through a restart


@dataclass(frozen=True)
class Restart:
    """Begin again from the prior after `patience` steps that did not improve the best of this round.

    `Elites` also begins again when its law has converged, with no standard deviation above a thousandth, and every
    second time around the best noise of all rounds instead. The best sample of all rounds is kept by the run; the
    elites start afresh.

    Arguments:
        patience: steps without a better candidate of this round.
        grow: the population of `Elites` times this at each restart, up to `most`; other searches keep theirs.
        most: population that it grows to.
        near: b of the rounds of `Elites` that begin around the best noise z, at sqrt(1 - b^2) z + b e; 1 is the prior.
    """

    patience: int = 30
    grow: float = 1.0
    most: int = 256
    near: float = 0.5

    def __post_init__(self) -> None:
        if self.patience < 1 or self.grow < 1 or not 0 < self.near <= 1:
            raise InputError(
                f"{self}: wait for at least one step, grow by a factor of at least 1, and give a near in (0, 1]."
            )


@dataclass
class ElitesState:
    """The law, the kept elites `(k, d)` with their rewards `(k,)`, and for how many steps which round has stalled.

    `peak` is the noise of the best candidate of all rounds, `(1, d)` or none yet, and `height` its reward.
    """

    shape: tuple[int, ...]
    law: Law
    elites: Tensor
    rewards: Tensor
    best: float
    stalled: int
    round: int = field(metadata=LASTING)
    peak: Tensor = field(metadata=LASTING)
    height: float = field(metadata=LASTING)


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
    restart: Restart | None = Restart(15, grow=2.0)

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
        d = torch.Size(shape).numel()
        none = torch.zeros(0, dtype=torch.float32)
        nowhere = none.new_zeros(0, d)
        return ElitesState(shape, Law.prior(d), nowhere, none, -torch.inf, 0, 0, nowhere, -torch.inf)

    def size(self, state: ElitesState) -> int:
        if self.restart is None:
            return self.population
        grown = self.population * self.restart.grow ** min(state.round, 64)
        return max(self.population, round(min(grown, self.restart.most)))

    def ask(self, state: ElitesState, stream: Stream, ids: Sequence[int]) -> Tensor:
        return self._candidates(state, stream, ids).reshape(len(ids), *state.shape)

    def tell(self, state: ElitesState, ids: Sequence[int], rewards: Tensor, stream: Stream) -> ElitesState:
        e, pool = self._drawn(state, stream, ids)
        if not all(torch.isfinite(pool[rows]).all() for rows in chunks(len(pool))):
            return self._again(state)  # the law has diverged
        scores = torch.cat([rewards, state.rewards])
        order = ranked(scores)
        best_first = pool[order] if isinstance(pool, Tensor) else Rows(lambda rows: pool[order[rows]], len(order))
        law, top = state.law, float(scores[order[0]]) if len(order) else -torch.inf
        if top > state.height:
            state = replace(state, peak=pool[order[:1]], height=top)
        if (rewards > -torch.inf).sum() >= 2:  # else there is nothing to learn from
            law = self.refit(law, Told(e, rewards, best_first))
            law = law.scaled(self.guard.scale(law.energy, len(law.mean)))
        stalled = 0 if top > state.best else state.stalled + 1
        if self.restart is not None and (stalled >= self.restart.patience or float(law.std.max()) < NARROW):
            return self._again(state)
        kept = order[: self.keep]
        best = max(top, state.best)
        return replace(state, law=law, elites=pool[kept], rewards=scores[kept], best=best, stalled=stalled)

    def _again(self, state: ElitesState) -> ElitesState:
        """The next round: from the prior, or every second time around the best noise of all."""
        law, number = Law.prior(state.law.mean.numel()), state.round + 1
        if self.restart is not None and number % 2 and len(state.peak):
            b = self.restart.near
            law = replace(law, mean=math.sqrt(1 - b * b) * state.peak[0], std=b * law.std)
            law = law.scaled(self.guard.scale(law.energy, len(law.mean)))
        none, lost = state.elites[:0], -torch.inf
        return replace(state, law=law, elites=none, rewards=state.rewards[:0], best=lost, stalled=0, round=number)

    def _drawn(
        self, state: ElitesState, stream: Stream, ids: Sequence[int]
    ) -> tuple[Tensor, Tensor] | tuple[Rows, Rows]:
        """Standard normal numbers `(n, d)`, and the noise `(n + k, d)` of them and of the kept elites.

        A large population is drawn again in parts, so that it takes no memory.
        """
        n, law = len(ids), state.law
        if n <= CHUNK:
            e = stream.normal(ids, law.mean.shape)
            return e, torch.cat([self.guard.place(law.draw(e)), state.elites])

        def noise(rows: Tensor) -> Tensor:
            new, out = rows < n, state.elites.new_empty(len(rows), len(law.mean))
            out[new] = self._candidates(state, stream, [ids[i] for i in rows[new].tolist()])
            out[~new] = state.elites[rows[~new] - n]
            return out

        return (
            Rows(lambda rows: stream.normal([ids[i] for i in rows.tolist()], law.mean.shape), n),
            Rows(noise, n + len(state.elites)),
        )

    def _candidates(self, state: ElitesState, stream: Stream, ids: Sequence[int]) -> Tensor:
        """Candidates `(len(ids), d)`, where the guard wants them."""
        return self.guard.place(state.law.draw(stream.normal(ids, state.law.mean.shape)))
