r"""Search over the noises that a walk injects, level by level.

At each level a sample holds a pivot, the noise of its next step, and tries others: near ones on the sphere around it,
or, with probability epsilon, a fresh draw. What a noise is worth is the reward of the clean guess it leads to. The
first level searches the noise that the walk starts from.

References:
    Test-Time Scaling of Diffusion Models via Noise Trajectory Search (Ramesh and Mardani, 2025), arXiv:2506.03164.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..stream import Purpose, Stream
from ..target import Target
from ..templates import FIRST, KEEP, Finite, chance
from ..types import Info, InputError, Meter, Samples
from .transitions import Native

__all__ = ["TrajectorySearch", "TrajectoryState"]


@dataclass
class TrajectoryState:
    """Samples at `times[level - 1]`, and the best steps to `times[level]` after `round` rounds.

    Attributes:
        x, x0: samples `(n, *shape)` and their clean guesses.
        pivot, next_x, next_x0, value: the best noise `(n, *shape)`, where it leads, and the reward `(n,)` there.
    """

    times: Tensor
    level: int
    round: int
    x: Tensor
    x0: Tensor
    pivot: Tensor
    next_x: Tensor
    next_x0: Tensor
    value: Tensor


@dataclass(frozen=True)
class TrajectorySearch(Finite):
    """Epsilon-greedy search over injected noise.

    Arguments:
        n: samples, each with its own search.
        steps: noise levels asked of the prior.
        rounds: at each level.
        candidates: of each sample in a round.
        epsilon: probability of a fresh draw instead of a near one; 1 is best of N at every level, 0 is local.
        radius: most that a near one moves, as b of sqrt(1 - b^2) pivot + b e.

    Raises:
        InputError: if a number is out of range; at the start, if the walk of the prior has no noise.

    References:
        Test-Time Scaling of Diffusion Models via Noise Trajectory Search (Ramesh and Mardani, 2025), arXiv:2506.03164.

    Differences:
        The pivot stays unless a candidate is better; near candidates keep their norm on average, where the published
        step grows it at every round. The paper takes 20 rounds of 4.
    """

    n: int = 1
    steps: int = 20
    rounds: int = 5
    candidates: int = 4
    epsilon: float = 0.4
    radius: float = 0.3

    def __post_init__(self) -> None:
        if min(self.n, self.steps, self.rounds, self.candidates) < 1:
            raise InputError(f"{self}: give at least one of each.")
        if not (0 <= self.epsilon <= 1 and 0 < self.radius <= 1):
            raise InputError(f"{self}: give an epsilon in [0, 1] and a radius in (0, 1].")

    def init(self, target: Target, stream: Stream) -> TrajectoryState:
        Native().check(target.prior)
        blank = torch.zeros_like(target.prior.start(target.prior.noise(stream.at(step=FIRST), range(self.n))))
        low = torch.full((self.n,), -torch.inf, dtype=torch.float32)
        return TrajectoryState(target.prior.grid(self.steps), 0, 0, blank, blank, blank, blank, blank, low)

    def step(self, target: Target, state: TrajectoryState, stream: Stream) -> tuple[TrajectoryState, Info]:
        """A round of candidates; the last round of a level goes on to the next."""
        stream = stream.at(step=FIRST)
        ids = range(self.n * self.candidates)
        z = self._noises(state, stream).to(state.x)
        walk = stream.at(purpose=Purpose.WALK, draw=state.level)
        if state.level == 0:
            x = target.prior.start(z)
        else:
            x, x0 = (v.repeat_interleave(self.candidates, 0) for v in (state.x, state.x0))
            x = target.prior.move(x, x0, state.times[state.level - 1], state.times[state.level], z)
        x0 = target.denoise(x, state.times[state.level], chance(target, walk, ids, x))
        reward = target.score(x0, stream, ids)
        top = reward.reshape(self.n, self.candidates).max(1)
        rows = (torch.arange(self.n) * self.candidates + top.indices).to(x.device)
        better = (top.values > state.value) if state.round else torch.ones(self.n, dtype=torch.bool)
        mask = better.to(x.device).reshape(-1, *[1] * (x.ndim - 1))
        state = replace(
            state,
            pivot=torch.where(mask, z[rows], state.pivot),
            next_x=torch.where(mask, x[rows], state.next_x),
            next_x0=torch.where(mask, x0[rows], state.next_x0),
            value=torch.where(better, top.values, state.value),
            round=state.round + 1,
        )
        if state.round < self.rounds:
            return state, Info(rewards=reward, x0=state.next_x0)
        low = torch.full_like(state.value, -torch.inf)
        after = replace(state, level=state.level + 1, round=0, x=state.next_x, x0=state.next_x0, value=low)
        if not self.done(after):
            return after, Info(rewards=reward, x0=after.x0)
        keys = torch.tensor([stream.key(i) for i in range(self.n)], dtype=torch.int64)
        return after, Info(samples=Samples(x=after.x0, reward=state.value, keys=keys).top(KEEP), rewards=reward)

    def done(self, state: TrajectoryState) -> bool:
        """Whether the last level with noise is searched, whose clean guesses are the objects."""
        return state.level >= len(state.times) - 1

    def whole(self, target: Target, state: TrajectoryState) -> Meter:
        """All rounds of all levels."""
        one, rounds = self.cost(target, state), (len(state.times) - 1) * self.rounds
        return Meter(nfe=rounds * one.nfe, rewards=rounds * one.rewards)

    def cost(self, target: Target, state: TrajectoryState) -> Meter:
        """A round."""
        each = self.n * self.candidates
        return Meter(nfe=each * target.prior.cost, rewards=each * target.tries)

    def _noises(self, state: TrajectoryState, stream: Stream) -> Tensor:
        """Candidates `(n candidates, *shape)`; those of the first round are fresh."""
        ids = range(self.n * self.candidates)
        draws = stream.at(purpose=Purpose.METHOD, step=FIRST + state.level, draw=2 * state.round)
        e = draws.normal(ids, state.x.shape[1:])
        if state.round == 0:
            return e
        u = draws.at(draw=draws.draw + 1).uniform(ids, (2,))
        near = (u[:, 0] >= self.epsilon).reshape(-1, *[1] * (e.ndim - 1))
        b = (self.radius * u[:, 1]).reshape(near.shape)
        pivot = state.pivot.cpu().repeat_interleave(self.candidates, 0)
        return torch.where(near, (1 - b.square()).sqrt() * pivot + b * e, e)
