r"""Particles: weighted samples of prior x exp(reward / temperature), carried along the noise levels of one walk.

All n particles walk together. At each level where it is asked for, the reward of their clean guesses tells a potential
Phi, the log weights grow by its change, and where they have become uneven the particles are resampled:

    log w <- log w + Phi_i - Phi_{i-1} + log p(x_i | x_{i-1}) - log q(x_i | x_{i-1})

with p the transition of the prior and q the one that was drawn from, if that is another. At the clean end
Phi = reward / temperature, whatever it was before, so that the weighted particles are samples of the tilted law of the
walk; and the product of the mean weights estimates its normaliser E[exp(reward / temperature)] without bias. Weights
that are not used for a resampling are kept: to drop them is a bias.

An intermediate reward that fails leaves a particle's weight as it was, and one that fails at the end has none.

References:
    A General Framework for Inference-time Scaling and Steering of Diffusion Models (Singhal, Horvitz, Teehan, Ren, Yu,
    McKeown and Ranganath, 2025), arXiv:2501.06848.
    Variance estimation in the particle filter (Lee and Whiteley, 2018), arXiv:1509.00394.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..resample import Multinomial, Resample, ess, normalised
from ..stream import Purpose, Stream
from ..target import Target
from ..templates import FIRST, KEEP, Finite, chance
from ..types import Info, InputError, Meter, Samples
from .transitions import Native, Transition

__all__ = ["ParticleState", "Particles"]


@dataclass
class ParticleState:
    """Where the particles are, what they weigh, and whom they come from.

    Attributes:
        x: `(n, *shape)` at `times[i]`; at the end, the clean latents.
        times: `(m + 1,)` of the walk.
        i: level.
        logw: log weights `(n,)` float64 since the last resampling.
        potential: Phi `(n,)` float64.
        scale: share of the reward that counts yet, of tempered particles.
        reward: the last reward `(n,)` of each.
        aux: more numbers of each particle `(n, ...)`, by name.
        roots: `(n,)`, which of the first particles each comes from.
        ancestry: parents `(i, n)` of the particles of each level in those of the level before.
        ess: effective sample sizes `(i,)`, before resampling.
        log_mean: log of the product of the mean weights until the last resampling.
        resampled, independent: how often, and how often of that by independent draws.
    """

    x: Tensor
    times: Tensor
    i: int
    logw: Tensor
    potential: Tensor
    scale: float
    reward: Tensor
    roots: Tensor
    ancestry: Tensor
    ess: Tensor
    log_mean: float = 0.0
    resampled: int = 0
    independent: int = 0
    aux: dict[str, Tensor] = field(default_factory=dict)

    @property
    def weights(self) -> Tensor:
        """`(n,)` float64, summing to one: the mean of f under the tilted law is `(weights * f(x)).sum()`."""
        return normalised(self.logw)

    @property
    def log_z(self) -> float:
        """Estimate of log E[exp(reward / temperature)] under the prior; its exponential has no bias."""
        return self.log_mean + float(self.logw.logsumexp(0)) - math.log(len(self.logw))

    @property
    def log_z_error(self) -> float:
        """Standard error of `log_z`, from how the weight is spread over the first particles of this one run.

        1 - (n / (n - 1))^(r + 1) (1 - sum_e W_e^2), with W_e the weight of the descendants of the first particle e
        after r multinomial resamplings, estimates the relative variance, exactly so on average. The other schemes add
        no independent draws and do not count in r, with which it errs on the large side. Where all particles come
        from one, it is 1 and says nothing.
        """
        n = len(self.roots)
        if n < 2:
            return 1.0
        family = torch.zeros(n, dtype=torch.float64).index_add_(0, self.roots, self.weights)
        rest = 1 - float(family.square().sum())
        return math.sqrt(max(0.0, 1 - (n / (n - 1)) ** (self.independent + 1) * rest))

    def pick(self, rows: Tensor) -> ParticleState:
        """The particles of these rows, with everything that belongs to each."""
        return replace(
            self,
            x=self.x[rows.to(self.x.device)],
            logw=self.logw[rows],
            potential=self.potential[rows],
            reward=self.reward[rows],
            roots=self.roots[rows],
            aux={name: v[rows.to(v.device)] for name, v in self.aux.items()},
        )


@dataclass(frozen=True)
class Seen:
    """What the network and the reward say at a level: clean guesses, rewards `(n,)`, and whatever moves them."""

    x0: Tensor
    reward: Tensor | None
    slope: Tensor | None = None

    def pick(self, rows: Tensor) -> Seen:
        """Of these particles."""
        return Seen(*(None if v is None else v[rows.to(v.device)] for v in vars(self).values()))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Particles(Finite, ABC):
    """n particles on one walk; leaves say what a reward at a level means, and may propose other steps.

    Arguments:
        n: particles; they share no memory limit with a batch, whose size the target decides.
        steps: noise levels asked of the prior.
        temperature: of the tilt exp(reward / temperature).
        resample: when and how; rewards of clean guesses are asked for only where it may happen.
        transition: `Native()` or `Glass()`.

    Raises:
        InputError: if a number is out of range; at the start, if the walk of the prior has no noise.
    """

    n: int = 16
    steps: int = 50
    temperature: float = 1.0
    resample: Resample = Resample()  # noqa: RUF009 (frozen)
    transition: Transition = Native()  # noqa: RUF009 (frozen)

    def __post_init__(self) -> None:
        if self.n < 1 or self.steps < 1 or not self.temperature > 0:
            raise InputError(f"{self}: give at least one particle and one step, and a positive temperature.")

    @abstractmethod
    def weigh(self, state: ParticleState, reward: Tensor) -> tuple[Tensor, float, dict[str, Tensor]]:
        """Phi `(n,)`, the scale and aux after rewards over temperature `(n,)` of clean guesses, float64 and finite."""

    def begin(self) -> dict[str, Tensor]:
        """First aux."""
        return {}

    def look(self, target: Target, state: ParticleState, asked: bool, stream: Stream) -> Seen:
        """Clean guesses, and their rewards if asked for."""
        t, ids = state.times[state.i], range(self.n)
        walk = stream.at(purpose=Purpose.WALK, draw=2 * state.i)
        x0 = target.denoise(state.x, t, chance(target, walk, ids, state.x))
        return Seen(x0, target.score(x0, stream, ids) if asked else None)

    def propose(
        self, target: Target, state: ParticleState, seen: Seen, s: Tensor, stream: Stream
    ) -> tuple[Tensor, Tensor | None]:
        """x at s, and log p - log q `(n,)` of the step if it was not drawn from the prior's transition."""
        t = state.times[state.i]
        return self.transition(target, state.x, seen.x0, t, s, stream, range(self.n)), None

    def looks(self) -> int:
        """Calls of `denoise` of `look`."""
        return 1

    def scores(self) -> int:
        """Rewards a particle of `look`, where asked."""
        return 1

    def init(self, target: Target, stream: Stream) -> ParticleState:
        self.transition.check(target.prior)
        zero, ids = torch.zeros(self.n, dtype=torch.float64), range(self.n)
        return ParticleState(
            x=target.prior.start(target.prior.noise(stream.at(step=FIRST), ids)),
            times=target.prior.grid(self.steps),
            i=0,
            logw=zero,
            potential=zero.clone(),
            scale=1.0,
            reward=torch.zeros(self.n, dtype=torch.float32),
            roots=torch.arange(self.n),
            ancestry=torch.zeros(0, self.n, dtype=torch.int64),
            ess=torch.zeros(0, dtype=torch.float64),
            aux=self.begin(),
        )

    def step(self, target: Target, state: ParticleState, stream: Stream) -> tuple[ParticleState, Info]:
        """Look, weigh, resample, move to the next level; the last one scores the objects."""
        stream = stream.at(step=FIRST)  # keyed by the level, as walks are
        levels = len(state.times) - 1
        asked = self.resample.allowed(state.i, levels)
        seen = self.look(target, state, asked, stream)
        if seen.reward is not None:
            state = self._weighed(state, seen.reward)
        effective = ess(state.logw)
        rows = self.resample(state.logw, self._uniform(state, stream)) if asked else None
        if rows is not None:
            before, state = state, state.pick(rows)
            mean = float(before.logw.logsumexp(0)) - math.log(self.n)
            state = replace(
                state,
                logw=torch.zeros_like(state.logw),
                log_mean=state.log_mean + mean,
                resampled=state.resampled + 1,
                independent=state.independent + isinstance(self.resample.scheme, Multinomial),
            )
            seen = seen.pick(rows)
        parents = torch.arange(self.n) if rows is None else rows
        walk = stream.at(purpose=Purpose.WALK, draw=2 * state.i + 1)
        x, ratio = self.propose(target, state, seen, state.times[state.i + 1], walk)
        state = replace(
            state,
            x=x,
            i=state.i + 1,
            logw=state.logw if ratio is None else state.logw + ratio.double().cpu(),
            ancestry=torch.cat([state.ancestry, parents[None]]),
            ess=torch.cat([state.ess, torch.tensor([effective], dtype=torch.float64)]),
        )
        if not self.done(state):
            return state, Info(rewards=seen.reward, scalars=self._scalars(state, effective), x0=seen.x0)
        return self._finish(target, state, stream)

    def done(self, state: ParticleState) -> bool:
        """Whether the clean end is reached."""
        return state.i >= len(state.times) - 1

    def whole(self, target: Target, state: ParticleState) -> Meter:
        """All levels."""
        levels = range(len(state.times) - 1)
        return sum((self.cost(target, replace(state, i=i)) for i in levels), Meter())

    def cost(self, target: Target, state: ParticleState) -> Meter:
        """One level for all particles."""
        levels, again = len(state.times) - 1, target.tries
        asked, last = self.resample.allowed(state.i, levels), state.i >= levels - 1
        calls = self.looks() + (0 if last else self.transition.calls())
        return Meter(
            nfe=self.n * calls * target.prior.cost,
            rewards=self.n * again * (self.scores() * asked + last),
        )

    def _finish(self, target: Target, state: ParticleState, stream: Stream) -> tuple[ParticleState, Info]:
        ids = range(self.n)
        reward = target.score(state.x, stream, ids)
        phi = reward.double() / self.temperature
        state = replace(state, logw=state.logw + phi - state.potential, potential=phi, reward=reward, scale=1.0)
        keys = torch.tensor([stream.key(i) for i in ids], dtype=torch.int64)
        samples = Samples(x=state.x, reward=reward, keys=keys, logw=state.logw)
        scalars = self._scalars(state, ess(state.logw))
        if not math.isinf(state.log_z):
            scalars |= {"log_z": state.log_z, "log_z_error": state.log_z_error}
        return state, Info(samples=samples.top(KEEP), rewards=reward, scalars=scalars)

    def _weighed(self, state: ParticleState, reward: Tensor) -> ParticleState:
        """The weights after rewards `(n,)` of clean guesses; a failed one changes nothing."""
        good = torch.isfinite(reward)
        if not good.any():
            return state
        told = torch.where(good, reward.double() / self.temperature, state.reward.double() / self.temperature)
        phi, scale, aux = self.weigh(state, told)
        phi = torch.where(good, phi, state.potential)
        aux = {k: torch.where(good.reshape(-1, *[1] * (v.ndim - 1)), v, state.aux[k]) for k, v in aux.items()}
        return replace(
            state,
            logw=state.logw + phi - state.potential,
            potential=phi,
            scale=scale,
            reward=torch.where(good, reward, state.reward),
            aux=state.aux | aux,
        )

    def _uniform(self, state: ParticleState, stream: Stream) -> Tensor:
        return stream.at(purpose=Purpose.METHOD, draw=state.i).uniform([0], (self.n,))[0]

    def _scalars(self, state: ParticleState, effective: float) -> dict[str, Tensor | float]:
        return {"ess": effective, "roots": float(len(state.roots.unique())), "scale": state.scale}
