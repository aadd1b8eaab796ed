"""Rewards on the bundled digits."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

import elites as el
from benchmarks.quality.task import Task

__all__ = ["DIGITS"]


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
    return Task(digits, reward, like_digits, kind, **more)


DIGITS = {
    "margin": _digits(
        lambda seed: el.rewards.Margin(net("reward"), 3),
        "smooth",
        judge=lambda seed: el.rewards.Margin(net("judge"), 3),
    ),
    "symmetry": _digits(lambda seed: el.rewards.Symmetry(), "smooth"),
    "size": _digits(lambda seed: el.rewards.CompressedSize(), "plateaus"),
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
    ),
}
