r"""Value-based decoding: at every level each sample draws several children and goes on with one of them.

Samples do not compete with one another, so none takes over. A child is worth the reward of its clean guess, and that
guess is the next step's own, so that a walk of m steps with M children costs m M evaluations of the network.

At a temperature, child j of M is chosen with probability w_j / sum w, w = exp(v_j / temperature), and the sample's
weight grows by the mean of w over exp(v / temperature) of its parent: then the weighted samples are those of the
tilted law of the walk, without what failed on the way. At temperature 0 the best child is chosen, which is a greedy
search and no sampling.

References:
    Derivative-Free Guidance in Continuous and Discrete Diffusion Models with Soft Value-Based Decoding (Li et al.,
    2024), arXiv:2408.08252.
    Nested Sequential Monte Carlo Methods (Naesseth, Lindsten and Schon, 2015), arXiv:1502.02536, for the weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..stream import Purpose, Stream
from ..target import Target
from ..templates import FIRST, KEEP, Finite, chance
from ..types import Info, InputError, Meter, Samples
from .transitions import Native, Transition

__all__ = ["DecodingState", "ValueDecoding"]


@dataclass
class DecodingState:
    """Samples `(n, *shape)` at `times[i - 1]`, their clean guesses, values and log weights `(n,)`."""

    x: Tensor
    x0: Tensor
    times: Tensor
    i: int
    value: Tensor
    logw: Tensor


@dataclass(frozen=True)
class ValueDecoding(Finite):
    """Soft value-based decoding, and its greedy limit.

    The first children are draws of noise. The samples end in the clean guesses of the last level with noise.

    Arguments:
        n: samples.
        children: of each at a level.
        steps: noise levels asked of the prior.
        temperature: of the choice; 0 takes the best child, and nothing is weighted then.
        block: choose at every `block`-th level only, of children that walked on by themselves since.
        transition: `Native()` or `Glass()`.

    Raises:
        InputError: if a number is out of range; at the start, if the walk of the prior has no noise.

    References:
        Derivative-Free Guidance in Continuous and Discrete Diffusion Models with Soft Value-Based Decoding (Li et al.,
        2024), arXiv:2408.08252.
        CoDe: Blockwise Control for Denoising Diffusion Models (Singh, Mukherjee, Beirami and Jamali-Rad, 2025),
        arXiv:2502.00968: blocks.

    Differences:
        The guess of the chosen child is not computed again, the last level is searched too, and the weights make the
        soft choice exact; the published code takes the best of 20 children.
    """

    n: int = 1
    children: int = 20
    steps: int = 20
    temperature: float = 0.0
    block: int = 1
    transition: Transition = Native()  # noqa: RUF009 (frozen)

    def __post_init__(self) -> None:
        if min(self.n, self.children, self.steps, self.block) < 1 or not self.temperature >= 0:
            raise InputError(
                f"{self}: give at least one sample, child, step and level a block, and a temperature that is not "
                "negative."
            )

    def init(self, target: Target, stream: Stream) -> DecodingState:
        self.transition.check(target.prior)
        times = target.prior.grid(self.steps)
        nothing = target.prior.start(target.prior.noise(stream.at(step=FIRST), range(self.n)))
        zero = torch.zeros(self.n, dtype=torch.float64)
        return DecodingState(nothing, torch.zeros_like(nothing), times, 0, zero, zero.clone())

    def step(self, target: Target, state: DecodingState, stream: Stream) -> tuple[DecodingState, Info]:
        """Children of every sample, their guesses and rewards, and a choice."""
        stream = stream.at(step=FIRST)
        end, ids = self._end(state), range(self.n * self.children)
        x, x0 = (v.repeat_interleave(self.children, 0) for v in (state.x, state.x0))
        for j in range(state.i, end):
            walk = stream.at(purpose=Purpose.WALK, draw=2 * j)
            if j == 0:
                x = target.prior.start(target.prior.noise(stream, ids))
            else:
                before = walk.at(draw=2 * j - 1)
                x = self.transition(target, x, x0, state.times[j - 1], state.times[j], before, ids)
            x0 = target.denoise(x, state.times[j], chance(target, walk, ids, x))
        reward = target.score(x0, stream, ids)
        last = end == len(state.times) - 1
        chosen, value, gain = self._chosen(state, reward, last, stream)
        rows = chosen.to(x.device)
        state = DecodingState(x[rows], x0[rows], state.times, end, value, state.logw + gain)
        if not last:
            return state, Info(rewards=reward, x0=state.x0)
        keys = torch.tensor([stream.key(int(i)) for i in chosen], dtype=torch.int64)
        logw = None if self.temperature == 0 else state.logw
        samples = Samples(x=state.x0, reward=reward[chosen], keys=keys, logw=logw)
        return state, Info(samples=samples.top(KEEP), rewards=reward)

    def done(self, state: DecodingState) -> bool:
        """Whether the last level with noise is reached, whose clean guesses are the objects."""
        return state.i >= len(state.times) - 1

    def whole(self, target: Target, state: DecodingState) -> Meter:
        """All blocks."""
        spent = Meter()
        while not self.done(state):
            spent += self.cost(target, state)
            state = replace(state, i=self._end(state))
        return spent

    def cost(self, target: Target, state: DecodingState) -> Meter:
        """One block for all children."""
        levels, each = self._end(state) - state.i, self.n * self.children
        calls = levels + self.transition.calls() * (levels if state.i else 0)
        return Meter(nfe=each * calls * target.prior.cost, rewards=each * target.tries)

    def _end(self, state: DecodingState) -> int:
        return min(state.i + self.block, len(state.times) - 1) if state.i else 1

    def _chosen(
        self, state: DecodingState, reward: Tensor, last: bool, stream: Stream
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Rows `(n,)` of the children that go on, their values, and by how much the log weights grow."""
        each = reward.double().reshape(self.n, self.children)
        first = torch.arange(self.n) * self.children
        if self.temperature == 0:
            best = each.max(1)
            return first + best.indices, best.values, torch.zeros_like(best.values)
        w = each / self.temperature
        dead = (w == -torch.inf).all(1)  # every child failed: any will do, and at the end it has no weight
        chance = torch.where(dead[:, None], 0.0, w).softmax(1)
        u = stream.at(purpose=Purpose.METHOD, draw=state.i).uniform(range(self.n)).double()
        edges = chance.cumsum(1)
        picked = (edges <= (u * edges[:, -1])[:, None]).sum(1).clamp(max=self.children - 1)
        value = torch.where(dead, state.value, each.gather(1, picked[:, None])[:, 0])
        gain = w.logsumexp(1) - math.log(self.children) - state.value / self.temperature
        return first + picked, value, torch.where(dead & torch.tensor(not last), 0.0, gain)
