r"""Adjoint matching: the unbiased tilt of a model by a differentiable reward, learned by regression.

The law prior x exp(r / tau) of clean objects is what a model samples whose transitions have the control that minimises
sum_t 1/2 |u|^2 - r(x_0) / tau, provided that chains forget their noise. On chains of the current model,

    a_0 = - grad r(x_0) / tau
    a_t = J^T a_s,        J = d m(x_t) / d x_t of the base model

is the lean adjoint, and u = - c a_s is what to regress on: in clean guesses, x0(x_t) = x0_base(x_t) - (c^2 / b) a_s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..stream import Id, Stream
from ..target import Target
from ..templates import KEEP
from ..types import Info, InputError, Meter, Samples
from .chains import chain
from .lessons import Lesson, Recorded

__all__ = ["AdjointMatching"]

STILL = 1e-9  # share of the guess that a transition takes, below which it teaches nothing


@dataclass(frozen=True)
class AdjointMatching:
    r"""Teach the model the control that tilts it by exp(reward / temperature), from gradients of the reward.

    Chains are those of `DDIM(1.0)` whatever the kernel of the prior, and the tuned model holds for any kernel. Nothing
    is differentiated through a chain: a round costs two calls of the network a level and a backward pass of the base
    model. The noise at the top of the schedule has to hide the object (alpha near 0), or the tilt is too weak.

    Arguments:
        n: chains of a round.
        temperature: tau, in units of the reward.
        steps: levels of the chains.

    Raises:
        InputError: if a number is not positive.
        RewardError: if the reward or the decoder has no gradient.

    References:
        Adjoint Matching: Fine-tuning Flow and Diffusion Generative Models with Memoryless Stochastic Optimal Control
        (Domingo-Enrich, Drozdzal, Karrer and Chen, 2024), arXiv:2409.08861.

    Differences:
        The discrete chain is taken as it is: the adjoint that a transition answers to is that of where it leads, which
        is exact for any number of steps. All levels are taught, each weighted as in the path KL; the last one, which
        draws no noise, keeps the guess of the base model.
    """

    n: int = 32
    temperature: float = 1.0
    steps: int = 20

    def __post_init__(self) -> None:
        if min(self.n, self.steps) < 1 or not self.temperature > 0:
            raise InputError(f"{self}: give at least one chain and step, and a positive temperature.")

    def init(self, target: Target, stream: Stream) -> int:
        return 0

    def gather(
        self, now: Target, base: Target, state: int, times: int, stream: Stream
    ) -> tuple[int, Lesson | None, Info]:
        """Chains of the model as it is, and what the base model's adjoint asks of them."""
        ids = range(self.n)
        links = list(chain(now, self.steps, stream, ids))
        x = links[-1].after
        reward, slope = self._slope(now, x, stream, ids)
        keys = torch.tensor([stream.key(i) for i in ids], dtype=torch.int64)
        info = Info(samples=Samples(x=x, reward=reward, keys=keys).top(KEEP), rewards=reward)
        adjoint = -slope / self.temperature
        good = torch.isfinite(adjoint).flatten(1).all(1) & torch.isfinite(reward).to(x.device)
        if not good.any():
            return state, None, info
        adjoint = torch.where(good.reshape(-1, *[1] * (x.ndim - 1)), adjoint, 0.0)
        wanted = []
        for link in reversed(links):
            pulled, guess = _pull(base, link.x, link.t, adjoint, ids)
            wanted.append(guess - (link.c**2 / link.b) * adjoint if link.c > 0 else guess)
            adjoint = link.a * adjoint + link.b * pulled
        weights = torch.tensor([(k.b / k.c) ** 2 if k.c > 0 else 0.0 for k in links])
        weights = torch.where(weights > 0, weights, weights.max().clamp(min=1.0))
        moves = [i for i, k in enumerate(links) if abs(k.b) > STILL]  # a walk may end on the level that it is on
        rows = good.nonzero()[:, 0]
        lesson = Recorded(
            torch.stack([links[i].t for i in moves]),
            torch.stack([links[i].x[rows] for i in moves]),
            torch.stack([wanted[::-1][i][rows] for i in moves]),
            weights[moves],
        )
        return state, lesson, info

    def done(self, state: int) -> bool:
        return False

    def cost(self, target: Target, state: int) -> Meter:
        """Chains of both models, the gradients of the reward, and those of the base model's guesses."""
        levels = len(target.prior.grid(self.steps)) - 1
        calls = self.n * levels
        return Meter(nfe=2 * calls * target.prior.cost, rewards=target.tries * self.n, grads=calls + self.n)

    def _slope(self, target: Target, x: Tensor, stream: Stream, ids: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Rewards `(n,)` of clean latents, and their gradients."""

        def value(leaf: Tensor, rows: Sequence[Id]) -> tuple[Tensor, Tensor]:
            reward = target.score(leaf, stream, rows)
            return torch.where(torch.isfinite(reward), reward, 0.0), reward.detach()

        _, parts, slope = target.grad(value, x, ids)
        return torch.cat(parts), slope


def _pull(target: Target, x: Tensor, t: Tensor, v: Tensor, ids: Sequence[int]) -> tuple[Tensor, Tensor]:
    """v times the Jacobian of the clean guess at x, and the guess, `(B, *shape)`."""

    def value(leaf: Tensor, rows: Sequence[Id]) -> tuple[Tensor, Tensor]:
        x0 = target.denoise(leaf, t)
        return (v[[int(i) for i in rows]].to(x0) * x0).flatten(1).sum(1), x0.detach()  # type: ignore[arg-type]

    _, parts, pulled = target.grad(value, x, ids)
    return pulled, torch.cat(parts)
