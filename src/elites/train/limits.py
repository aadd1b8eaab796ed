"""When to stop: how far a tuned model may leave the one that it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from ..levels import gaussian
from ..stream import Stream
from ..target import Target
from ..types import InputError, Meter
from .chains import chain

__all__ = ["Limit", "OffSupport", "PathKL", "Typical"]


class Limit(Protocol):
    """What is measured after each round, and what it may be."""

    def measure(self, now: Target, base: Target, stream: Stream) -> float:
        """The number for the model `now`, tuned from `base`."""

    def broken(self, value: float) -> str:
        """Why to stop, in a sentence; empty to go on."""

    def cost(self, target: Target) -> Meter:
        """Of a measurement."""


def _check(n: int, steps: int, most: float) -> None:
    if min(n, steps) < 1 or not most > 0:
        raise InputError(f"A limit has n={n}, steps={steps}, most={most}: give positive numbers.")


@dataclass(frozen=True)
class PathKL:
    """The Kullback-Leibler divergence of the tuned model's chains from those of the base: KL(tuned || base) in nats.

    It bounds that of the objects before the last step, which draws no noise and so has none of its own. For the exact
    tilt by r / tau it is the gain E[r] / tau minus log Z.

    Arguments:
        most: in nats.
        n: chains that it is measured on.
        steps: of them.
    """

    most: float = 10.0
    n: int = 8
    steps: int = 20

    def __post_init__(self) -> None:
        _check(self.n, self.steps, self.most)

    def measure(self, now: Target, base: Target, stream: Stream) -> float:
        total = 0.0
        for link in chain(now, self.steps, stream, range(self.n)):
            if link.c > 0:
                off = (link.x0 - base.denoise(link.x, link.t)).flatten(1)
                total += float(0.5 * (link.b / link.c) ** 2 * off.square().sum(1).mean())
        return total

    def broken(self, value: float) -> str:
        return "" if value <= self.most else f"the path KL is {value:.3g} nats, above {self.most:.3g}"

    def cost(self, target: Target) -> Meter:
        return Meter(nfe=2 * self.n * (len(target.prior.grid(self.steps)) - 1) * target.prior.cost)


@dataclass(frozen=True)
class OffSupport:
    """How far samples leave the structure of the data, as `diagnose.Subspace(...).off` measures it.

    Arguments:
        measure_of: clean latents `(n, *shape)` to numbers `(n,)`; their mean counts.
        most: of that mean.
        n: samples, by the walk of the target.
    """

    measure_of: Callable[[Tensor], Tensor]
    most: float
    n: int = 16

    def __post_init__(self) -> None:
        _check(self.n, 1, self.most)

    def measure(self, now: Target, base: Target, stream: Stream) -> float:
        ids = range(self.n)
        return float(self.measure_of(now.generate(stream.normal(ids, now.prior.shape), stream, ids)).double().mean())

    def broken(self, value: float) -> str:
        return "" if value <= self.most else f"samples are {value:.3g} off the support, above {self.most:.3g}"

    def cost(self, target: Target) -> Meter:
        return Meter(nfe=self.n * target.cost.nfe)


@dataclass(frozen=True)
class Typical:
    r"""Whether the base model could have drawn the samples: |z|^2 of the noise that it says they came from.

    Samples of the tuned model get a little noise, that of the lowest level, and walk back up by the base model's
    deterministic flow; so do samples of the base model from the same noise, and the ratio of the mean |z|^2 counts.
    Less than 1 says that samples are too simple for the base model, more that it cannot explain them.

    Arguments:
        least, most: of the ratio.
        n: samples, by the walk of the target.
        steps: of the way back.
    """

    least: float = 0.7
    most: float = 1.4
    n: int = 16
    steps: int = 20

    def __post_init__(self) -> None:
        _check(self.n, self.steps, self.most)
        if self.steps < 2:
            raise InputError("Typical(steps=1) sees one level alone: give at least two.")

    def measure(self, now: Target, base: Target, stream: Stream) -> float:
        return self._energy(now, base, stream) / self._energy(base, base, stream)

    def _energy(self, now: Target, base: Target, stream: Stream) -> float:
        """Mean of z^2 where the base model takes samples of `now`."""
        ids, prior = range(self.n), gaussian(base.prior, "give a Gaussian prior")
        x = now.generate(stream.normal(ids, prior.shape), stream, ids)
        times = prior.grid(self.steps)[:-1].flip(0)
        levels = [tuple(float(v) for v in prior.schedule(t)) for t in times]
        (alpha, sigma), noise = levels[0], stream.at(draw=stream.draw + 1).normal(ids, prior.shape)
        x = alpha * x + sigma * noise.to(x)
        for t, (alpha, sigma), (further, more) in zip(times[:-1], levels, levels[1:], strict=False):
            x0 = base.denoise(x, t)
            x = further * x0 + more / sigma * (x - alpha * x0)
        alpha, sigma = levels[-1]
        if alpha > 0:  # something is left of the object at the top
            x = x - alpha * base.denoise(x, times[-1])
        return float((x / sigma).double().square().mean())

    def broken(self, value: float) -> str:
        if self.least <= value <= self.most:
            return ""
        return f"|z|^2 is {value:.3g} of the base model's, not within {self.least:.3g} and {self.most:.3g}"

    def cost(self, target: Target) -> Meter:
        back = (len(target.prior.grid(self.steps)) - 1) * target.prior.cost
        return Meter(nfe=2 * self.n * (target.cost.nfe + back))
