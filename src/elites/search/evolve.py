r"""Evolution that keeps the prior: recombination and mutation under which noise stays standard normal.

If parents z_j are draws of N(0, I), and k_jl is the correlation that their descent gives them, then

    recombination    y  = sum_j w_j z_j / sqrt(w^T k w)
    mutation         z' = sqrt(1 - b^2) y + b e,    e ~ N(0, I)

are draws of N(0, I) too, for any weights w that do not look at them. Only selection moves the population away from
the prior. Parents without common ancestors have k = I; the pedigree gives the rest exactly: the correlation of a child
with anyone is that of its parents, weighted alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..stream import Purpose, Stream
from ..target import Target
from ..templates import Search
from ..types import InputError, ranked
from .elites import Restart
from .guards import Guard, Typical

__all__ = ["Evolve", "EvolveState"]

LEAST = 1e-3  # b that the adaptation may reach


@dataclass
class EvolveState:
    """The parents.

    Attributes:
        shape: of one noise.
        parents: noise `(k, d)`, best first; none before the first generation.
        rewards: `(k,)` of them.
        kin: `(k, k)` correlations that their descent gives them.
        stride: b of the next mutations.
        best: reward of this round.
        stalled: generations without a better one.
    """

    shape: tuple[int, ...]
    parents: Tensor
    rewards: Tensor
    kin: Tensor
    stride: float
    best: float
    stalled: int


@dataclass(frozen=True)
class Evolve(Search):
    """Evolution strategy (mu + lambda) on the noise.

    The first generation is prior noise. Each child has `mates` parents, each the best of `tournament` drawn from the
    kept ones, recombined with weights of equal size and mutated. The best `keep` of parents and children are the next
    parents; their rewards are known and are never scored again. The step b follows the share of children that are
    better than their best parent: log b <- log b + rate (share - aim). After a stall the round begins again from the
    prior; the run keeps the best of all.

    Arguments:
        population: children of a generation.
        keep: parents.
        mates: parents of one child.
        tournament: candidates for one parent, 1 to 3: more, and one parent takes all.
        stride: b of the first mutations, in (0, 1].
        rate: of the adaptation of b; 0 keeps it.
        aim: share of successful children at which b stays.
        guard: where candidates may be: `Typical()` or `Anywhere()`.
        restart: `Restart(patience)`, or `None`.

    Raises:
        InputError: if an argument is out of range.

    References:
        Scaling Image and Video Generation via Test-Time Evolutionary Search (He, Liang, Wang, Wan, Zhang, Gai and
        Pan, 2025), arXiv:2505.17618.
        Evolutionsstrategie (Rechenberg, 1973), for the rule of success.

    Differences:
        The paper's tournament over 90 % of the population returns the best of all nine times in ten, so that one
        parent takes over; its mutation has a fixed b = 0.2 and no recombination, and it works at the intermediate
        noise levels too.
    """

    population: int = 8
    keep: int = 6
    mates: int = 6
    tournament: int = 2
    stride: float = 0.5
    rate: float = 0.6
    aim: float = 0.2
    guard: Guard = Typical()  # noqa: RUF009 (frozen)
    restart: Restart | None = Restart()  # noqa: RUF009 (frozen)

    def __post_init__(self) -> None:
        if self.population < 1 or self.keep < 1 or self.mates < 1 or not 1 <= self.tournament <= 3:
            raise InputError(
                f"Evolve({self.population}, keep={self.keep}, mates={self.mates}, tournament={self.tournament}): "
                "give at least one of each, and a tournament of at most 3."
            )
        if not (LEAST <= self.stride <= 1 and self.rate >= 0 and 0 < self.aim < 1):
            raise InputError(
                f"Evolve(stride={self.stride}, rate={self.rate}, aim={self.aim}): give a stride from {LEAST} to 1, a "
                "rate that is not negative and an aim between 0 and 1."
            )

    def init(self, target: Target, stream: Stream) -> EvolveState:
        shape = tuple(target.prior.shape)
        return self._round(shape, torch.Size(shape).numel())

    def ask(self, state: EvolveState, stream: Stream, ids: Sequence[int]) -> Tensor:
        return self._children(state, stream, ids).reshape(len(ids), *state.shape)

    def tell(self, state: EvolveState, ids: Sequence[int], rewards: Tensor, stream: Stream) -> EvolveState:
        pool = torch.cat([state.parents, self._children(state, stream, ids)])
        scores, stride = torch.cat([state.rewards, rewards]), state.stride
        mates, share = self._descent(state, stream, ids)
        order = ranked(scores)[: self.keep]
        if len(state.parents):
            better = rewards > state.rewards[mates].amax(1)
            stride *= math.exp(self.rate * (float(better.double().mean()) - self.aim))
        top = float(scores[order[0]]) if len(order) else -torch.inf
        stalled = 0 if top > state.best else state.stalled + 1
        if self.restart is not None and stalled >= self.restart.patience:
            return self._round(state.shape, pool.shape[1])
        kin = _with_children(state.kin, mates, share)[order][:, order]
        stride = min(max(stride, LEAST), 1.0)
        return EvolveState(state.shape, pool[order], scores[order], kin, stride, max(top, state.best), stalled)

    def learn(
        self, target: Target, state: EvolveState, ids: Sequence[int], rewards: Tensor, stream: Stream
    ) -> tuple[EvolveState, dict[str, Tensor | float]]:
        """Tell, and the stride."""
        return self.tell(state, ids, rewards, stream), {"stride": state.stride}

    def _round(self, shape: tuple[int, ...], d: int) -> EvolveState:
        none = torch.zeros(0, dtype=torch.float32)
        kin = torch.zeros(0, 0, dtype=torch.float64)
        return EvolveState(shape, none.new_zeros(0, d), none, kin, self.stride, -torch.inf, 0)

    def _descent(self, state: EvolveState, stream: Stream, ids: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Parents `(n, mates)` of the children `ids`, and the share `(n, 1)` float64 of each in its child."""
        k = len(state.parents)
        if not k:
            return torch.zeros(len(ids), 0, dtype=torch.int64), torch.zeros(len(ids), 1, dtype=torch.float64)
        draws = stream.at(purpose=Purpose.METHOD).uniform(ids, (self.mates, self.tournament))
        mates = (draws * k).long().clamp(max=k - 1).amin(2)  # parents are sorted, so the least index wins
        energy = state.kin[mates[:, :, None], mates[:, None, :]].sum((1, 2))
        return mates, ((1 - state.stride**2) / energy)[:, None].sqrt()

    def _children(self, state: EvolveState, stream: Stream, ids: Sequence[int]) -> Tensor:
        """Children `(len(ids), d)`, where the guard wants them."""
        z = stream.normal(ids, (state.parents.shape[1],))
        if len(state.parents):
            mates, share = self._descent(state, stream, ids)
            z = state.stride * z
            for j in range(self.mates):  # one by one: a matrix product may round differently in another batch
                z = z + share.float() * state.parents[mates[:, j]]
        return self.guard.place(z)


def _with_children(kin: Tensor, mates: Tensor, share: Tensor) -> Tensor:
    """The correlations of parents and children."""
    weights = torch.zeros(len(mates), len(kin), dtype=torch.float64)
    if len(kin):
        weights.scatter_add_(1, mates, share.expand(mates.shape).contiguous())
    across = weights @ kin
    among = (across @ weights.T).fill_diagonal_(1.0)
    return torch.cat([torch.cat([kin, across.T], 1), torch.cat([across, among], 1)])
