r"""Particles that propose their steps with the gradient of the reward, and are weighted for it exactly.

With psi(x_t) = reward(x0(x_t)) / temperature as the log of a twisting function, and x_s = m + c z the step of the
prior, a particle moves by

    x_s = m + c (d + z),    d = c scale grad psi,    log p - log q = -(|z + d|^2 - |z|^2) / 2

so that whatever the gradient is, the weighted particles are samples of the tilted law of the walk: a poor one only
makes the weights uneven. Everything that belongs to a particle, its gradient too, moves with it when it is resampled.

References:
    Practical and Asymptotically Exact Conditional Sampling in Diffusion Models (Wu, Trippe, Naesseth, Blei and
    Cunningham, 2023), arXiv:2306.17775.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

from torch import Tensor

from ..levels import gaussian
from ..resample import ess
from ..stream import Purpose, Stream
from ..target import Target
from ..types import InputError, Meter
from .particles import Particles, ParticleState, Seen
from .slopes import through
from .transitions import Native

__all__ = ["Guided", "Tempered", "Twisted"]


@dataclass(frozen=True)
class Guided(Particles):
    """What twisted and tempered particles share: a proposal along the gradient, and its weight.

    Arguments:
        ahead: whether the gradient is taken where the step would land without noise, at its noise level, instead of
            where it starts: one more call of the network, and exact where the clean guess is affine in x.
        limit: most that a step is moved by its gradient, root mean square in units of the step's own noise.
    """

    ahead: bool = False
    limit: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.limit > 0 or not isinstance(self.transition, Native):
            raise InputError(f"{self}: give a positive limit, and the native transition, whose density is known.")

    @property
    @abstractmethod
    def uphill(self) -> bool:
        """Whether there is a gradient at all."""

    def init(self, target: Target, stream: Stream) -> ParticleState:
        if self.uphill:
            gaussian(target.prior, "its steps have no density to follow a gradient in, use FeynmanKac")
        return super().init(target, stream)

    def look(self, target: Target, state: ParticleState, asked: bool, stream: Stream) -> Seen:
        t, ids = state.times[state.i], range(self.n)
        if self.ahead or not self.uphill:
            return super().look(target, state, asked, stream)
        walk = stream.at(purpose=Purpose.WALK, draw=2 * state.i)
        seen = Seen(*through(target, state.x, t, ids, stream, walk))
        return seen if asked else Seen(seen.x0, None, seen.slope)

    def propose(
        self, target: Target, state: ParticleState, seen: Seen, s: Tensor, stream: Stream
    ) -> tuple[Tensor, Tensor | None]:
        if not self.uphill:
            return super().propose(target, state, seen, s, stream)
        t, ids, prior = state.times[state.i], range(self.n), gaussian(target.prior, "use FeynmanKac")
        c = float(prior.kernel(prior.schedule, t, s)[2])
        if c == 0:
            return super().propose(target, state, seen, s, stream)
        slope = seen.slope
        if self.ahead:
            landing = prior.move(state.x, seen.x0, t, s)
            walk = stream.at(draw=stream.draw + 1)  # that of the next level's clean guess
            slope = through(target, landing, s, ids, stream, walk)[2]
        assert slope is not None
        d = c * state.scale / self.temperature * slope
        size = d.flatten(1).square().mean(1).sqrt().clamp(min=1e-30).reshape(-1, *[1] * (d.ndim - 1))
        d = d * (self.limit / size).clamp(max=1)
        z = stream.normal(ids, prior.shape).to(d)
        ratio = -(d * (z + d / 2)).flatten(1).double().sum(1)
        return prior.move(state.x, seen.x0, t, s, z + d), ratio

    def looks(self) -> int:
        return 2 if self.ahead and self.uphill else 1

    def scores(self) -> int:
        return 2 if self.ahead and self.uphill else 1

    def cost(self, target: Target, state: ParticleState) -> Meter:
        cost = super().cost(target, state)
        if not self.uphill:
            return cost
        levels = len(state.times) - 1
        asked, last = self.resample.allowed(state.i, levels), state.i >= levels - 1
        scored = (1 if not self.ahead else asked + (not last)) + last
        return Meter(nfe=cost.nfe, rewards=self.n * target.tries * scored, grads=self.n)


@dataclass(frozen=True)
class Twisted(Guided):
    """The twisted diffusion sampler: exact samples of prior x exp(reward / temperature) with few particles.

    Arguments:
        n, steps, temperature, resample: as of `Particles`.
        ahead, limit: where the gradient is taken, and how far it may move a step.

    Raises:
        RewardError: if the reward or the decoder has no gradient.

    References:
        Practical and Asymptotically Exact Conditional Sampling in Diffusion Models (Wu, Trippe, Naesseth, Blei and
        Cunningham, 2023), arXiv:2306.17775.

    Differences:
        `ahead=True` is not in the paper. The twist of the last level needs no variance of its own, since the walk
        ends in its clean guess.
    """

    @property
    def uphill(self) -> bool:
        return True

    def weigh(self, state: ParticleState, reward: Tensor) -> tuple[Tensor, float, dict[str, Tensor]]:
        return reward, 1.0, {}


@dataclass(frozen=True)
class Tempered(Guided):
    """Twisted particles whose reward counts more and more, as fast as the weights bear.

    Phi_i = lambda_i reward / temperature, where lambda_i is the largest in [lambda_{i-1}, (i + 1) / m], with m the
    levels of the walk, at which the effective sample size is at least `keep` times what it was. A large reward then
    takes over the particles over many levels, and not where their guesses are still alike.

    Arguments:
        n, steps, temperature, resample: as of `Particles`.
        ahead, limit: as of `Twisted`.
        keep: share of the effective sample size that a level may leave.
        gradient: whether steps follow the gradient; without, any reward will do.

    References:
        Test-time Alignment of Diffusion Models without Reward Over-optimization (Kim, Kim and Park, 2025),
        arXiv:2501.05803.

    Differences:
        The paper's default raises lambda on a fixed schedule, (1 + gamma)^i - 1; its code leaves the gradient behind
        when particles are resampled, which is a bias, and returns the particle of the largest weight.
    """

    keep: float = 0.9
    gradient: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.keep < 1:
            raise InputError(f"{self}: give a keep between 0 and 1.")

    @property
    def uphill(self) -> bool:
        return self.gradient

    def init(self, target: Target, stream: Stream) -> ParticleState:
        state = super().init(target, stream)
        state.scale = 0.0
        return state

    def weigh(self, state: ParticleState, reward: Tensor) -> tuple[Tensor, float, dict[str, Tensor]]:
        least = self.keep * ess(state.logw)

        def size(scale: float) -> float:
            return ess(state.logw + scale * reward - state.potential)

        low, high = state.scale, max(state.scale, (state.i + 1) / (len(state.times) - 1))
        if size(high) >= least:
            return high * reward, high, {}
        for _ in range(40):
            middle = (low + high) / 2
            low, high = (middle, high) if size(middle) >= least else (low, middle)
        return low * reward, low, {}
