"""What has to be found: priors, rewards, and for each the evidence that a find is real.

A task gives, for a seed, the reward that the search sees and the truth that is reported; these differ where the reward
is noisy. `distance` is 1 for objects like those of the prior, and `judge` is a second opinion that no search saw.
`TUNED` were used, on other seeds, while defaults were chosen; `HELD_OUT` were written down before and not looked at.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

import elites as el

DECADES = (500, 2_000, 10_000, 50_000)  # network evaluations


@dataclass(frozen=True)
class Task:
    """A prior and a reward of a seed."""

    prior: Callable[[], Any]
    reward: Callable[[int], el.types.Reward]
    distance: Callable[[], Callable[[Any], Tensor]]
    kind: str
    budgets: tuple[int, ...] = DECADES
    truth: Callable[[int], el.types.Reward] | None = None
    judge: Callable[[int], el.types.Reward] | None = None
    smooth: bool = True


@cache
def digits() -> Any:
    return el.priors.digits()


@cache
def net(part: str) -> Any:
    return el.rewards.digits.classifier(part)


@cache
def images(part: str) -> Tensor:
    return el.rewards.digits.images(part)[0]


@cache
def like_digits() -> el.DistanceToData:
    return el.DistanceToData(images("prior"), images("held_out"))


@dataclass(frozen=True)
class Ink:
    """Minus the distance of the mean grey to one that is darker than any image of the data."""

    share: float = 0.46

    def __call__(self, x: Tensor) -> Tensor:
        return -(x.flatten(1).mean(1) - self.share).abs()


@dataclass(frozen=True, eq=False)
class Noisy:
    """A reward with noise of a given size; the noise is a function of the object, so that runs can be repeated."""

    reward: el.types.Reward
    size: float

    def __call__(self, x: Tensor) -> Tensor:
        digest = (x.double().flatten(1) * torch.arange(1, x[0].numel() + 1).sqrt()).sum(1)
        uniform = (digest * 1e6).sin() * 43_758.5453
        u = (uniform - uniform.floor()).clamp(1e-6, 1 - 1e-6)
        return self.reward(x) + self.size * torch.special.ndtri(u).float()


def _match(seed: int) -> el.types.Reward:
    held = images("held_out")
    return el.rewards.Match(held[7 * seed % len(held)])


def _digits(reward: Callable[[int], el.types.Reward], kind: str, **more: Any) -> Task:
    return Task(digits, reward, like_digits, kind, DECADES[:3], **more)


DIGITS = {
    "margin": _digits(
        lambda seed: el.rewards.Margin(net("reward"), 3),
        "smooth",
        judge=lambda seed: el.rewards.Margin(net("judge"), 3),
    ),
    "symmetry": _digits(lambda seed: el.rewards.Symmetry(), "smooth"),
    "size": _digits(lambda seed: el.rewards.CompressedSize(), "plateaus", smooth=False),
    "match": _digits(_match, "one needle"),
    "ambiguity": _digits(
        lambda seed: el.rewards.Ambiguity(net("reward"), 2, 7),
        "two modes at once",
        judge=lambda seed: el.rewards.Ambiguity(net("judge"), 2, 7),
    ),
    "ink": _digits(lambda seed: Ink(), "outside the data"),
    "noisy margin": _digits(
        lambda seed: Noisy(el.rewards.Margin(net("reward"), 8), 1.0),
        "noisy",
        truth=lambda seed: el.rewards.Margin(net("reward"), 8),
        judge=lambda seed: el.rewards.Margin(net("judge"), 8),
        smooth=False,
    ),
}


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
    make = partial(Task, partial(modes, d), distance=lambda: ToModes(d))
    found = {
        f"needle, {d}": make(lambda seed: Point(_point(d, seed)), kind="one needle in a rare mode"),
        f"direction, {d}": make(lambda seed: _direction(d, seed), kind="linear"),
    }
    if d < 1000:
        found[f"ripples, {d}"] = make(lambda seed: Point(_point(d, seed), 0.05), kind="many local maxima")
    if d == 2:
        found["inside, 2"] = make(lambda seed: Inside(_point(d, seed)), kind="sparse", smooth=False)
    return found


MODES = {name: task for d in (2, 64, 1024) for name, task in _modes(d).items()}
TASKS: dict[str, Task] = {f"digits {name}": task for name, task in DIGITS.items()} | MODES
HELD_OUT = ("digits ink", "digits noisy margin")
