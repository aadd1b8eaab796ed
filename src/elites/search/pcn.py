r"""Preconditioned Crank-Nicolson: sampling the tilted prior instead of maximising.

With D the decoder, R the reward and T the temperature, the law of noise

    pi(z)  ~  N(z; 0, I) exp(R(D(z)) / T)

is the prior of good objects: its draws are as different from one another as the prior and the reward allow. A chain
proposes a step that keeps the prior, and takes it with a probability in which only the reward is left:

    z' = sqrt(1 - b^2) z + b e,    e ~ N(0, I),    taken with probability min(1, exp((R' - R) / T))

The proposal does not degenerate with the number of dimensions, and nothing has to be known about the reward.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..stream import Id, Purpose, Stream
from ..target import Target
from ..templates import Search
from ..types import InputError, Samples

__all__ = ["PCN", "PCNState"]

LEAST = 1e-4  # b that the adaptation may reach


@dataclass
class PCNState:
    """The chains.

    Attributes:
        shape: of one noise.
        z: noise `(n, d)` where each chain is.
        reward: `(n,)` of it, -inf for a chain that has not met a number yet.
        keys: `(n, 2)` int64, the step and the candidate that drew it.
        stride: b of the next proposals.
        steps: done.
        acceptance: mean probability that a proposal of the last step was taken, NaN if no chain had a reward before.
    """

    shape: tuple[int, ...]
    z: Tensor
    reward: Tensor
    keys: Tensor
    stride: float
    steps: int
    acceptance: float


@dataclass(frozen=True)
class PCN(Search):
    """Chains that sample N(z; 0, I) exp(R(D(z)) / temperature), one proposal a chain and step.

    The first proposals are prior draws, and so are those of a chain that has met failures only; failures are never
    taken, and a reward that is known is never scored again. During `burn` steps b follows the mean probability p of
    acceptance by Robbins and Monro, log b <- log b + t^-0.6 (p - aim) in step t, at most b = 1; then it stays, and
    the law is exact from there on: throw the burn-in away. Where the walk injects noise it is drawn anew for each
    proposal and accepted with it, which leaves the law of objects right.

    After every step `state.z` is one draw a chain, with `state.reward`; `samples` decodes them. They are correlated
    along the run, so decode every tenth step or so:

        for event in el.iterate(method, target, budget, seed):
            if event.step > method.burn and event.step % 10 == 0:
                kept.append(method.samples(target, event.state, seed))

    The columns `acceptance` and `stride` of the history say how well the chains move. There is no guard: the law
    above is no law on the shell, and chains go as far from it as the reward tells them to.

    Arguments:
        population: chains.
        temperature: T, in units of the reward.
        stride: b of the first proposals, in (0, 1].
        burn: steps in which b is adapted.
        aim: mean probability of acceptance to adapt to.

    Raises:
        InputError: if an argument is out of range.

    References:
        MCMC methods for functions: modifying old algorithms to make them faster (Cotter, Roberts, Stuart and White,
        2013), arXiv:1202.0709.
        A stochastic approximation method (Robbins and Monro, 1951).

    Differences:
        The paper fixes b; here it is adapted during the burn-in, for all chains together.
    """

    population: int = 16
    temperature: float = 1.0
    stride: float = 0.5
    burn: int = 200
    aim: float = 0.3

    def __post_init__(self) -> None:
        if self.population < 1 or self.burn < 0:
            raise InputError(
                f"PCN({self.population}, burn={self.burn}): give at least one chain and no negative burn."
            )
        if not (self.temperature > 0 and LEAST <= self.stride <= 1 and 0 < self.aim < 1):
            raise InputError(
                f"PCN(temperature={self.temperature}, stride={self.stride}, aim={self.aim}): give a positive "
                f"temperature, a stride from {LEAST} to 1 and an acceptance between 0 and 1."
            )

    def init(self, target: Target, stream: Stream) -> PCNState:
        shape, n = tuple(target.prior.shape), self.population
        return PCNState(
            shape,
            torch.zeros(n, torch.Size(shape).numel(), dtype=torch.float32),
            torch.full((n,), -torch.inf, dtype=torch.float32),
            torch.zeros(n, 2, dtype=torch.int64),
            self.stride,
            0,
            math.nan,
        )

    def ask(self, state: PCNState, stream: Stream, ids: Sequence[int]) -> Tensor:
        return self._proposals(state, stream, ids).reshape(len(ids), *state.shape)

    def tell(self, state: PCNState, ids: Sequence[int], rewards: Tensor, stream: Stream) -> PCNState:
        rows, before = list(ids), state.reward[list(ids)]
        known, good = torch.isfinite(before), torch.isfinite(rewards)
        odds = ((rewards - before) / self.temperature).where(good & known, torch.where(good, torch.inf, -torch.inf))
        taken = stream.at(purpose=Purpose.METHOD).uniform(ids).log() < odds
        acceptance = float(odds[known].clamp(max=0).exp().double().mean())  # NaN if no chain had a reward
        new = torch.tensor([stream.key(i) for i in ids], dtype=torch.int64)
        z, reward, keys = state.z.clone(), state.reward.clone(), state.keys.clone()
        z[rows] = torch.where(taken[:, None], self._proposals(state, stream, ids), z[rows])
        reward[rows] = torch.where(taken, rewards, before)
        keys[rows] = torch.where(taken[:, None], new, keys[rows])
        stride, steps = state.stride, state.steps + 1
        if steps <= self.burn and not math.isnan(acceptance):
            stride = min(max(stride * math.exp(steps**-0.6 * (acceptance - self.aim)), LEAST), 1.0)
        return PCNState(state.shape, z, reward, keys, stride, steps, acceptance)

    def learn(
        self, target: Target, state: PCNState, ids: Sequence[int], rewards: Tensor, stream: Stream
    ) -> tuple[PCNState, dict[str, Tensor | float]]:
        """Accept or not; the stride and the acceptance."""
        after = self.tell(state, ids, rewards, stream)
        scalars: dict[str, Tensor | float] = {"stride": state.stride}
        if not math.isnan(after.acceptance):
            scalars["acceptance"] = after.acceptance
        return after, scalars

    def samples(self, target: Target, state: PCNState, seed: int) -> Samples:
        """The objects where the chains are, decoded again: a walk a chain, which the target counts, and no reward.

        Arguments:
            target, seed: of the run.
            state: of the run, after any step.

        Returns:
            One sample for each chain that has met a number.
        """
        good = torch.isfinite(state.reward)
        z, keys = state.z[good].reshape(-1, *state.shape), state.keys[good]
        ids: list[Id] = [(int(step), int(candidate)) for step, candidate in keys]
        x = target.generate(z, Stream(seed), ids) if ids else z
        return Samples(x=x, reward=state.reward[good], keys=keys, z=z)

    def _proposals(self, state: PCNState, stream: Stream, ids: Sequence[int]) -> Tensor:
        """Proposals `(len(ids), d)` of the chains `ids`."""
        rows = list(ids)
        e = stream.normal(ids, (state.z.shape[1],))
        moved = math.sqrt(1 - state.stride**2) * state.z[rows] + state.stride * e
        return torch.where(torch.isfinite(state.reward[rows])[:, None], moved, e)
