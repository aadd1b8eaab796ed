r"""Gradient guidance as regularised optimisation: generate, take the reward's gradient, guide the next generation.

Each round linearises the reward f at its samples, asks for a little more, y = delta + g . z with g = grad f(z), and
draws fresh samples of the law given that a measurement g . x0 with variance lambda delta came out as y. With h the
variance sigma_t^2 and x0 the clean guess,

    look-ahead loss    2 beta (y - g . x0) J^T g,                 J = d x0 / d x_t
    raw gradient       alpha_t / (lambda delta + h |g|^2) (y - g . x0) g

is added to the score. The first stays where the network's guesses can move, and so keeps the structure of the data;
the second does not. Rounds settle at the maximum of f(x) - lambda / 2 |x - mu|^2 in the metric of the prior's inverse
covariance: the regularisation is all that the strength is.

References:
    Gradient Guidance for Diffusion Models: An Optimization Perspective (Guo, Yuan, Yang, Chen and Wang, 2024),
    arXiv:2404.14743.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from ..levels import gaussian
from ..stream import Id, Stream
from ..target import Target
from ..templates import FIRST, KEEP, Finite, Plain, Walk, WalkState, chance, fresh
from ..types import Info, InputError, Meter, Prior, Samples
from .guidance import NONE
from .slopes import finite, of_clean

__all__ = ["AheadLoss", "Constant", "Lookahead", "LookaheadState", "Published", "RawGradient", "Tweedie"]


class Weight(Protocol):
    """beta `(B,)` of the look-ahead loss."""

    def __call__(self, alpha: float, h: float, variance: float, inner: Tensor, square: Tensor) -> Tensor:
        """From the schedule, the measurement's variance, g . J^T g and |J^T g|^2, both `(B,)`."""


@dataclass(frozen=True)
class Tweedie:
    """1/2 over the variance of the measurement given x_t, where that of g . x0 is h / alpha g . J^T g.

    With it the guided score is exact for normal priors. The covariance of x0 given x_t is at most h / alpha^2, so that
    the variance is at least h |J^T g|^2: where the Jacobian of a learned network says less, this counts.
    """

    def __call__(self, alpha: float, h: float, variance: float, inner: Tensor, square: Tensor) -> Tensor:
        return 0.5 / (variance + torch.maximum(h / alpha * inner, h * square))


@dataclass(frozen=True)
class Published:
    """alpha^2 / 2 over alpha^2 variance + h |J^T g|^2, as in the published code.

    It is the same where the covariance of the prior is a projection.
    """

    def __call__(self, alpha: float, h: float, variance: float, inner: Tensor, square: Tensor) -> Tensor:
        return alpha**2 / 2 / (alpha**2 * variance + h * square)


@dataclass(frozen=True)
class Constant:
    """The same beta at all levels."""

    beta: float = 1.0

    def __call__(self, alpha: float, h: float, variance: float, inner: Tensor, square: Tensor) -> Tensor:
        return torch.full_like(inner, self.beta)


class Push(Protocol):
    """What is added to the score."""

    @property
    def pulls(self) -> int:
        """Gradients through the network."""

    def __call__(
        self, target: Target, x: Tensor, t: Tensor, aim: Aim, ids: Sequence[Id], walk: Stream
    ) -> tuple[Tensor, Tensor]:
        """Clean guesses of x at t, and the push `(B, *shape)`."""


@dataclass(frozen=True, eq=False)
class Aim:
    """The measurement of a round: gradients g `(n, *shape)`, levels y `(n,)` and its variance."""

    g: Tensor
    y: Tensor
    variance: float


@dataclass(frozen=True)
class AheadLoss:
    """The gradient of the look-ahead loss, with a weight: `Tweedie()`, `Published()` or `Constant(beta)`."""

    weight: Weight = Tweedie()

    @property
    def pulls(self) -> int:
        return 1

    def __call__(
        self, target: Target, x: Tensor, t: Tensor, aim: Aim, ids: Sequence[Id], walk: Stream
    ) -> tuple[Tensor, Tensor]:
        alpha, sigma = (float(v) for v in gaussian(target.prior, NONE).schedule(t))

        def inner(leaf: Tensor, rows: Sequence[Id]) -> tuple[Tensor, Tensor]:
            x0 = target.denoise(leaf, t, chance(target, walk, rows, leaf))
            return (aim.g[_rows(rows)].to(x0) * x0).flatten(1).sum(1), x0.detach()

        seen, parts, pulled = target.grad(inner, x, ids)
        pulled = finite(pulled)
        along = (aim.g[_rows(ids)].to(pulled) * pulled).flatten(1).sum(1)
        beta = self.weight(alpha, sigma**2, aim.variance, along, pulled.flatten(1).square().sum(1))
        by = 2 * beta * (aim.y[_rows(ids)].to(seen) - seen)
        return torch.cat(parts), _scaled(pulled, by)


@dataclass(frozen=True)
class RawGradient:
    """The gradient of the reward itself, which leaves the structure of the data: for comparison."""

    @property
    def pulls(self) -> int:
        return 0

    def __call__(
        self, target: Target, x: Tensor, t: Tensor, aim: Aim, ids: Sequence[Id], walk: Stream
    ) -> tuple[Tensor, Tensor]:
        alpha, sigma = (float(v) for v in gaussian(target.prior, NONE).schedule(t))
        x0 = target.denoise(x, t, chance(target, walk, ids, x))
        g = aim.g[_rows(ids)].to(x0)
        beta = alpha / (aim.variance + sigma**2 * g.flatten(1).square().sum(1))
        return x0, _scaled(g, beta * (aim.y[_rows(ids)].to(x0) - (g * x0).flatten(1).sum(1)))


@dataclass(frozen=True)
class Pushed(Walk):
    """A walk whose score has a push added."""

    push: Push = AheadLoss()
    aim: Aim = Aim(torch.zeros(0), torch.zeros(0), 1.0)

    def advance(
        self, target: Target, state: WalkState, s: Tensor, stream: Stream, ids: Sequence[Id]
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        t, prior = state.times[state.i], gaussian(target.prior, NONE)
        alpha, sigma = (float(v) for v in prior.schedule(t))
        if alpha > 0:
            x0, push = self.push(target, state.x, t, self.aim, ids, stream)
            guess = x0 + sigma**2 / alpha * push
        else:  # the pure noise of a flow says nothing about the object
            guess = target.denoise(state.x, t, chance(target, stream, ids, state.x))
        noise = fresh(target, stream.at(draw=stream.draw + 1), ids, state.x)
        return prior.move(state.x, guess, t, s, noise), guess, {}

    def pulls(self, prior: Prior) -> int:
        return self.push.pulls * self.calls(prior)


@dataclass
class LookaheadState:
    """Samples `(n, *shape)` of the last round, their rewards `(n,)`, and rounds so far."""

    x: Tensor
    reward: Tensor
    round: int


@dataclass(frozen=True)
class Lookahead(Finite):
    r"""Rounds of gradient guidance: the optimum of f(x) - lambda / 2 |x - mu|^2, reached by sampling.

    The first round is unguided. Every sample follows the gradient at itself, or all follow that at their mean. Fresh
    noise is drawn each round, so that samples of a round are as diverse as the prior leaves them across g.

    Arguments:
        n: samples of a round.
        steps: noise levels asked of the prior; the exactness is that of many.
        rounds: generations.
        regularisation: lambda; smaller goes further from the prior.
        delta: how much more reward a round asks for; it sets the pace, and with few rounds the end.
        push: `AheadLoss()` or `RawGradient()`.
        mean: whether all follow the gradient at the batch mean, as in the paper; its code takes each sample's own.

    Raises:
        InputError: if a number is out of range; at the start, if the prior has no noise schedule.
        RewardError: if the reward or the decoder has no gradient.

    References:
        Gradient Guidance for Diffusion Models: An Optimization Perspective (Guo, Yuan, Yang, Chen and Wang, 2024),
        arXiv:2404.14743: algorithm 1.

    Differences:
        lambda is given instead of the variance sigma^2 = lambda delta, since it is what decides where rounds settle;
        the weight is exact for any normal prior by default.
    """

    n: int = 16
    steps: int = 50
    rounds: int = 20
    regularisation: float = 0.05
    delta: float = 0.2
    push: Push = AheadLoss()
    mean: bool = False

    def __post_init__(self) -> None:
        if min(self.n, self.steps, self.rounds) < 1 or not (self.regularisation > 0 and self.delta > 0):
            raise InputError(f"{self}: give at least one sample, step and round, a positive lambda and delta.")

    def init(self, target: Target, stream: Stream) -> LookaheadState:
        gaussian(target.prior, NONE)
        blank = torch.zeros_like(target.prior.start(target.prior.noise(stream.at(step=FIRST), range(self.n))))
        return LookaheadState(blank, torch.full((self.n,), -torch.inf, dtype=torch.float32), 0)

    def step(self, target: Target, state: LookaheadState, stream: Stream) -> tuple[LookaheadState, Info]:
        """A generation."""
        ids = range(self.n)
        walk: Walk = Plain(self.steps)
        if state.round:
            walk = Pushed(self.steps, push=self.push, aim=self.aim(target, state.x, stream))
        z = target.prior.noise(stream, ids)
        x = target.with_walk(walk).generate(z, stream, ids)
        reward = target.score(x, stream, ids)
        keys = torch.tensor([stream.key(i) for i in ids], dtype=torch.int64)
        samples = Samples(x=x, reward=reward, keys=keys)
        after = LookaheadState(x, reward, state.round + 1)
        return after, Info(samples=samples.top(KEEP), rewards=reward, x0=x)

    def aim(self, target: Target, x: Tensor, stream: Stream) -> Aim:
        """What the samples x `(n, *shape)` of a round make the next one ask for."""
        at = x.mean(0, keepdim=True) if self.mean else x
        g = of_clean(target, at, range(len(at)), stream)
        y = self.delta + (g * at).flatten(1).sum(1)
        g, y = (v.expand(self.n, *v.shape[1:]) for v in (g, y))
        return Aim(g, y, self.regularisation * self.delta)

    def done(self, state: LookaheadState) -> bool:
        """Whether all rounds are over."""
        return state.round >= self.rounds

    def whole(self, target: Target, state: LookaheadState) -> Meter:
        """All rounds."""
        first, later = self.cost(target, state), self.cost(target, replace(state, round=1))
        more = self.rounds - 1
        return first + Meter(nfe=more * later.nfe, rewards=more * later.rewards, grads=more * later.grads)

    def cost(self, target: Target, state: LookaheadState) -> Meter:
        """A round."""
        levels, guided = len(target.prior.grid(self.steps)) - 1, state.round > 0
        at = 1 if self.mean else self.n
        return Meter(
            nfe=self.n * levels * target.prior.cost,
            rewards=target.tries * (self.n + guided * at),
            grads=guided * (at + self.n * levels * self.push.pulls),
        )


def _rows(ids: Sequence[Id]) -> Tensor:
    return torch.tensor([int(i) for i in ids])  # type: ignore[arg-type]


def _scaled(v: Tensor, by: Tensor) -> Tensor:
    return v * by.to(v).reshape(-1, *[1] * (v.ndim - 1))
