r"""Noise ascent: follow the gradient of a differentiable reward through the whole walk, down to the noise.

With D the decoder of noise and R the reward, each chain climbs R(D(z)) from a prior draw by steps of a length that is
a share r of the radius of the shell, whatever the size of the gradient:

    g  =  grad_z (R(D(z)) - penalty(z)) / |...|
    v  <- b v + g
    z' =  retract(z + r sqrt(d) u),    u = the tangent part of g + b v, made a unit vector

If z' is better it is taken and r grows by a tenth. If not, or if it fails, the chain stays at z, forgets its momentum,
v <- g, and halves r. So no step has to be tuned to the reward or to the number of dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..stream import Id, Stream
from ..target import Target
from ..templates import KEEP
from ..types import Info, InputError, Meter, Samples
from .elites import Restart
from .guards import Guard, Typical
from .penalties import Penalty

__all__ = ["AscentState", "NoiseAscent"]

GROW, SHRINK, MOST = 1.1, 0.5, 0.5  # how the rate follows success and failure, and where it ends


@dataclass
class AscentState:
    """The chains.

    Attributes:
        shape: of one noise.
        begun: `(n,)` bool, whether a chain is somewhere; the others take fresh noise next, and have zeros below.
        z: noise `(n, d)` where each chain is.
        slope: `(n, d)` direction of the gradient there, a unit vector, or zeros where it is flat.
        velocity: v `(n, d)`.
        value: `(n,)` reward minus penalty there.
        rate: r `(n,)` of the next steps.
        stalled: steps `(n,)` int64 that led nowhere since the last one taken.
    """

    shape: tuple[int, ...]
    begun: Tensor
    z: Tensor
    slope: Tensor
    velocity: Tensor
    value: Tensor
    rate: Tensor
    stalled: Tensor


@dataclass(frozen=True)
class NoiseAscent:
    """Gradient ascent over the initial noise, through every step of the walk, from several independent starts.

    It needs a walk, a decoder and a reward that torch can differentiate. A step is one pass forward and one back for
    each chain: 2 S network evaluations on a walk of S, because the backward pass calls the network again instead of
    keeping S sets of activations; with `recompute=False` it keeps them, and spends S. The meter counts every call of
    the network, those of the backward pass too, and a gradient for each chain.

    The best iterate is kept by the reward alone, without the penalty. Failures are never climbed from: a chain whose
    step fails, or has a gradient that is not finite, stays where it was; one whose start fails draws another. After a
    stall a chain begins again from fresh noise; the run keeps the best of all. Noise that the walk injects is drawn
    anew at each step, and the gradient is that of the initial noise: prefer a deterministic walk.

    Arguments:
        population: chains.
        rate: r of the first steps, in (0, 0.5]: the length of a step over sqrt(d).
        momentum: b, in [0, 1).
        guard: where candidates may be: `Typical()` keeps to the shell, `Anywhere()` leaves it to the penalty.
        penalty: what the noise is charged for leaving its law, `ChiNorm()` or `Whiteness()`, or `None`.
        restart: `Restart(patience)`, in steps in a row that were not taken, or `None`.
        recompute: call the network again in the backward pass rather than keep its activations.

    Raises:
        InputError: if an argument is out of range.
        RewardError: in the first step, if the prior, its decoder or the reward has no gradient.

    References:
        Inference-Time Alignment of Diffusion Models with Direct Noise Optimization (Tang et al., 2025),
        arXiv:2405.18881.
        ReNO: Enhancing One-step Text-to-Image Models through Reward-based Noise Optimization (Eyring et al., 2024),
        arXiv:2406.04312.
        Adaptive Restart for Accelerated Gradient Schemes (O'Donoghue and Candes, 2012), arXiv:1204.3982, for momentum
        that is forgotten when the objective falls.

    Differences:
        DNO runs AdamW with rate 0.01 over the noise of all steps; ReNO runs Nesterov with rate 5 on clipped gradients,
        tuned for 65,536 dimensions. Here the momentum is ReNO's and the length of a step is fixed by the radius of the
        shell and by success. Both let the norm go and charge for it; here the shell is the default, and their
        regularisers are `guard=Anywhere(), penalty=ChiNorm()` and `guard=Anywhere(), penalty=Whiteness()`. DNO's
        hybrid gradient for rewards that have none is left out: use `Elites`.
    """

    population: int = 4
    rate: float = 0.1
    momentum: float = 0.9
    guard: Guard = Typical()  # noqa: RUF009 (frozen)
    penalty: Penalty | None = None
    restart: Restart | None = Restart(10)  # noqa: RUF009 (frozen)
    recompute: bool = True

    def __post_init__(self) -> None:
        if self.population < 1 or not 0 < self.rate <= MOST or not 0 <= self.momentum < 1:
            raise InputError(
                f"NoiseAscent({self.population}, rate={self.rate}, momentum={self.momentum}): give at least one "
                f"chain, a rate above 0 and up to {MOST}, and a momentum from 0 to below 1."
            )

    def init(self, target: Target, stream: Stream) -> AscentState:
        shape, n = tuple(target.prior.shape), self.population
        z = torch.zeros(n, torch.Size(shape).numel(), dtype=torch.float32)
        zero, none = z.new_zeros(n), torch.zeros(n, dtype=torch.int64)
        return AscentState(shape, none.bool(), z, z, z, zero, zero + self.rate, none)

    def step(self, target: Target, state: AscentState, stream: Stream) -> tuple[AscentState, Info]:
        """Try a step of each chain, and take those that lead up; reports what was tried, and the mean rate."""
        ids = range(self.population)
        z = self._trials(state, stream, ids)

        def reward(leaf: Tensor, ids: Sequence[Id]) -> tuple[Tensor, Tensor]:
            x = target.generate(leaf, stream, ids, recompute=self.recompute)
            return target.score(x, stream, ids), x.detach()

        noise = z.reshape(-1, *state.shape)
        rewards, x, gradient = target.grad(reward, noise, ids)
        charge, push = self._charge(z, stream)
        after = self._take(state, z, rewards - charge, gradient.flatten(1) - push)
        keys = torch.tensor([stream.key(i) for i in ids], dtype=torch.int64)
        samples = Samples(x=torch.cat(x), reward=rewards, keys=keys, z=noise).top(KEEP)
        return after, Info(samples=samples, rewards=rewards, scalars={"rate": state.rate.mean()})

    def done(self, state: AscentState) -> bool:
        """An ascent goes on until the budget is spent."""
        return False

    def cost(self, target: Target, state: AscentState) -> Meter:
        """One pass forward and one back for each chain."""
        n, passes = self.population, 2 if self.recompute else 1
        return Meter(nfe=n * passes * target.cost.nfe, rewards=n * target.cost.rewards, grads=n)

    def _trials(self, state: AscentState, stream: Stream, ids: Sequence[int]) -> Tensor:
        """Noise `(n, d)` of this step: one step up, or fresh."""
        u = _unit(self.guard.tangent(state.z, state.slope + self.momentum * state.velocity))
        moved = state.z + state.rate[:, None] * math.sqrt(state.z.shape[1]) * u
        start = stream.normal(ids, (state.z.shape[1],))
        return self.guard.place(torch.where(state.begun[:, None], moved, start))

    def _charge(self, z: Tensor, stream: Stream) -> tuple[Tensor, Tensor]:
        """Penalties `(n,)` and their gradients `(n, d)`, one chain after the other."""
        if self.penalty is None:
            return z.new_zeros(len(z)), torch.zeros_like(z)
        charges, pushes = [], []
        with torch.enable_grad():
            for row in z:
                leaf = row.double().requires_grad_()
                charge = self.penalty(leaf, stream)
                pushes.append(torch.autograd.grad(charge, leaf)[0])
                charges.append(charge.detach())
        return torch.stack(charges).float(), torch.stack(pushes).float()

    def _take(self, state: AscentState, z: Tensor, value: Tensor, gradient: Tensor) -> AscentState:
        """The chains after their trials."""
        up = torch.isfinite(value) & torch.isfinite(gradient).all(1) & (~state.begun | (value > state.value))
        row = up[:, None]
        slope = torch.where(row, _unit(self.guard.tangent(z, gradient)), state.slope)
        rate = torch.where(up, state.rate * GROW, state.rate * SHRINK).clamp(max=MOST).where(state.begun, self.rate)
        stalled = torch.where(up, 0, state.stalled + 1)
        on = state.begun | up
        if self.restart is not None:
            on = on & (stalled < self.restart.patience)
        there = on[:, None]
        return AscentState(
            state.shape,
            on,
            torch.where(row, z, state.z).where(there, 0.0),
            slope.where(there, 0.0),
            torch.where(row, self.momentum * state.velocity + slope, slope).where(there, 0.0),
            torch.where(up, value, state.value).where(on, 0.0),
            rate.where(on, self.rate),
            stalled.where(on, 0),
        )


def _unit(v: Tensor) -> Tensor:
    """Rows of length one; what is flat stays zero."""
    power = v.abs().amax(1, keepdim=True).frexp().exponent
    v = v.ldexp(-power).to(v.dtype)  # exact; without, the squares of 1e20 are infinite and those of 1e-25 are 0
    return v / v.norm(dim=1, keepdim=True).clamp(min=torch.finfo(v.dtype).tiny)
