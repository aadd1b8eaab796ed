"""Rewards on exact mixtures of ten narrow modes, in few and in many dimensions."""

import math
from dataclasses import dataclass
from functools import cache, partial

import torch
from torch import Tensor

import elites as el
from benchmarks.quality.task import LONG, SHORT, Task

__all__ = ["MODES"]


@cache
def modes(d: int) -> el.priors.Mixture:
    """Ten narrow modes of falling weight, on a circle of radius 2 or a sphere of root mean square 0.9."""
    draw = torch.randn(10, d, generator=torch.Generator().manual_seed(7))
    means = 0.9 * math.sqrt(d) * draw / draw.norm(dim=1, keepdim=True)
    if d == 2:
        turn = 2 * math.pi * torch.arange(10) / 10
        means = 2 * torch.stack([turn.cos(), turn.sin()], 1)
    weights = 0.7 ** torch.arange(10.0)
    return el.priors.mixture(means, 0.15, weights / weights.sum())


@dataclass(frozen=True)
class ToModes:
    """Root mean square distance to the nearest mode, in units of what samples of the walk have."""

    d: int

    def __call__(self, x: Tensor) -> Tensor:
        return self._raw(x) / _unit(self.d)

    def _raw(self, x: Tensor) -> Tensor:
        return torch.cdist(x.double(), modes(self.d).means.double()).min(1).values / math.sqrt(self.d)


@cache
def _unit(d: int) -> float:
    target = el.Target(modes(d), lambda x: x[:, 0], walk=el.Plain(steps=10), batch=64)
    stream = el.Stream(3)
    found = target.evaluate(stream.normal(range(64), (d,)), stream, range(64))
    return float(ToModes(d)._raw(found.x).mean())


@dataclass(frozen=True, eq=False)
class Point:
    """Minus the mean squared distance to a point near the rarest mode; with ripples, many local maxima."""

    point: Tensor
    ripple: float = 0.0

    def __call__(self, x: Tensor) -> Tensor:
        off = x.float() - self.point
        waves = self.ripple * (1 - (2 * math.pi * off / 0.15).cos())
        return -(off.square() + waves).mean(1)


@dataclass(frozen=True, eq=False)
class Inside(Point):
    """As `Point`, but only within a ball around it; outside nothing is known."""

    radius: float = 0.6

    def __call__(self, x: Tensor) -> Tensor:
        value = super().__call__(x)
        return torch.where(value > -(self.radius**2), value, torch.tensor(-1.0))


def _point(d: int, seed: int) -> Tensor:
    own = torch.Generator().manual_seed(1000 + seed)
    return modes(d).means[-1].float() + 0.15 * torch.randn(d, generator=own)


@dataclass(frozen=True, eq=False)
class Direction:
    """w . x with a unit w."""

    w: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return x.float() @ self.w


def _direction(d: int, seed: int) -> Direction:
    w = torch.randn(d, generator=torch.Generator().manual_seed(2000 + seed))
    return Direction(w / w.norm())


def _modes(d: int) -> dict[str, Task]:
    make = partial(Task, partial(modes, d), distance=lambda: ToModes(d), budgets=LONG if d == 64 else SHORT)
    found = {
        f"needle, {d}": make(lambda seed: Point(_point(d, seed)), kind="one needle in a rare mode"),
        f"direction, {d}": make(lambda seed: _direction(d, seed), kind="linear"),
    }
    if d < 1000:
        found[f"ripples, {d}"] = make(lambda seed: Point(_point(d, seed), 0.05), kind="many local maxima")
    if d == 2:
        found["inside, 2"] = make(lambda seed: Inside(_point(d, seed)), kind="sparse")
    return found


MODES = {name: task for d in (2, 64, 1024) for name, task in _modes(d).items()}
