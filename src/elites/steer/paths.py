r"""Search over paths: samples that are nearly clean are noised again, each in several ways, and walked back.

    noise again    x_s = (alpha_s / alpha_t) x_t + sqrt(sigma_s^2 - (alpha_s sigma_t / alpha_t)^2) z,    s > t

and back along the walk a little further than where they came from. Among all children the best clean guesses go on,
until the clean end. What was found early, the coarse of an object, is kept as far as the noise leaves it.

References:
    Inference-Time Scaling for Diffusion Models beyond Scaling Denoising Steps (Ma, Tong, Jia, Hu, Su, Zhang, Yang, Li,
    Jaakkola, Jia and Xie, 2025), arXiv:2501.09732.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..levels import gaussian
from ..stream import Id, Purpose, Stream
from ..target import Target
from ..templates import FIRST, KEEP, Finite, chance, fresh
from ..types import Info, InputError, Meter, Samples

__all__ = ["Paths", "PathsState"]


@dataclass
class PathsState:
    """Samples `(n, *shape)` at `times[level]` with clean guesses, their rewards `(n,)`, and rounds so far."""

    times: Tensor
    x: Tensor
    x0: Tensor
    reward: Tensor
    level: int
    round: int


@dataclass(frozen=True)
class Paths(Finite):
    """Search over paths.

    Arguments:
        n: paths that go on.
        children: of each, in a round.
        steps: noise levels asked of the prior.
        start: part of the walk before the first round.
        back: part of the walk that a round goes back by noise.
        advance: levels that a round gains.

    Raises:
        InputError: if a number is out of range; at the start, if the prior has no schedule.

    References:
        Inference-Time Scaling for Diffusion Models beyond Scaling Denoising Steps (Ma et al., 2025), arXiv:2501.09732.

    Differences:
        Parents walk on and stay in the pool; the paper keeps children alone.
    """

    n: int = 2
    children: int = 4
    steps: int = 20
    start: float = 0.8
    back: float = 0.5
    advance: int = 1

    def __post_init__(self) -> None:
        if min(self.n, self.children, self.steps, self.advance) < 1:
            raise InputError(f"{self}: give at least one of each.")
        if not 0 < self.back <= self.start < 1:
            raise InputError(f"{self}: give 0 < back <= start < 1, shares of the walk.")

    def init(self, target: Target, stream: Stream) -> PathsState:
        gaussian(target.prior, "it cannot go back, use TreeSearch")
        times = target.prior.grid(self.steps)
        if len(times) < 3:
            raise InputError(f"The prior walks {len(times) - 1} levels: search over paths needs at least two.")
        x = target.prior.start(target.prior.noise(stream.at(step=FIRST), range(self.n)))
        low = torch.full((self.n,), -torch.inf, dtype=torch.float32)
        return PathsState(times, x, torch.zeros_like(x), low, 0, 0)

    def step(self, target: Target, state: PathsState, stream: Stream) -> tuple[PathsState, Info]:
        """The walk to the first level, or a round."""
        stream, n = stream.at(step=FIRST + state.round), self.n
        end = self._end(state)
        if state.round == 0:
            x, x0 = self._walked(target, state.x, None, state, 0, end, stream, range(n))
        else:
            ids, low = range(n, n + n * self.children), self._low(state)
            noised = self._noised(target, state, low, stream, ids)
            on = self._walked(target, state.x, state.x0, state, state.level, end, stream, range(n))
            back = self._walked(target, noised, None, state, low, end, stream, ids)
            x, x0 = (torch.cat(both) for both in zip(on, back, strict=True))
        reward = target.score(x0, stream, range(len(x)))
        order = torch.sort(reward, descending=True, stable=True).indices[:n]
        rows = order.to(x.device)
        after = PathsState(state.times, x[rows], x0[rows], reward[order], end, state.round + 1)
        if not self.done(after):
            return after, Info(rewards=reward, x0=after.x0)
        keys = torch.tensor([stream.key(int(i)) for i in order], dtype=torch.int64)
        return after, Info(samples=Samples(x=after.x0, reward=after.reward, keys=keys).top(KEEP), rewards=reward)

    def done(self, state: PathsState) -> bool:
        """Whether the last level with noise is reached, whose clean guesses are the objects."""
        return state.level >= len(state.times) - 2

    def whole(self, target: Target, state: PathsState) -> Meter:
        """The walk to the first level, and all rounds."""
        spent = Meter()
        while not self.done(state):
            spent += self.cost(target, state)
            state = replace(state, level=self._end(state), round=state.round + 1)
        return spent

    def cost(self, target: Target, state: PathsState) -> Meter:
        """The walk to the first level, or a round."""
        end = self._end(state)
        if state.round == 0:
            calls, scored = self.n * (end + 1), self.n
        else:
            back = self.children * (end - self._low(state) + 1)
            calls, scored = self.n * (end - state.level + back), self.n * (1 + self.children)
        return Meter(nfe=calls * target.prior.cost, rewards=scored * target.tries)

    def _end(self, state: PathsState) -> int:
        """The level where this step ends."""
        last = len(state.times) - 2
        if state.round == 0:  # there is a round, in whatever walk
            return min(max(round(self.start * (last + 1)), 1), max(last - 1, 1))
        return min(state.level + self.advance, last)

    def _low(self, state: PathsState) -> int:
        """The level that this round goes back to."""
        return max(state.level - max(round(self.back * (len(state.times) - 1)), 1), 0)

    def _noised(self, target: Target, state: PathsState, low: int, stream: Stream, ids: Sequence[Id]) -> Tensor:
        """Children `(n children, *shape)` at `times[low]`."""
        (alpha, sigma), (alpha_s, sigma_s) = (
            tuple(float(v) for v in gaussian(target.prior, "use TreeSearch").schedule(state.times[i]))
            for i in (state.level, low)
        )
        by = alpha_s / alpha
        z = stream.at(purpose=Purpose.METHOD).normal(ids, target.prior.shape).to(state.x)
        x = state.x.repeat_interleave(self.children, 0)
        return by * x + max(sigma_s**2 - (by * sigma) ** 2, 0.0) ** 0.5 * z

    def _walked(
        self,
        target: Target,
        x: Tensor,
        x0: Tensor | None,
        state: PathsState,
        level: int,
        end: int,
        stream: Stream,
        ids: Sequence[Id],
    ) -> tuple[Tensor, Tensor]:
        """x at `times[end]` and its clean guess, from x at `times[level]` and, if it is known, its guess."""
        walk = stream.at(purpose=Purpose.WALK)
        for j in range(level, end + 1):
            if x0 is not None and j > level:
                noise = fresh(target, walk.at(draw=2 * j - 1), ids, x)
                x = target.prior.move(x, x0, state.times[j - 1], state.times[j], noise)
            if x0 is None or j > level:
                x0 = target.denoise(x, state.times[j], chance(target, walk.at(draw=2 * j), ids, x))
        assert x0 is not None
        return x, x0
