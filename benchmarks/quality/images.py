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


class Slant:
    """Correlation of the rows and columns of the ink: 1 leans to one side as far as ink can."""

    def __call__(self, x: Tensor) -> Tensor:
        ink = x.squeeze(1).double().clamp(min=0) + 1e-6
        ink = ink / ink.sum((1, 2), keepdim=True)
        place = torch.arange(ink.shape[-1], dtype=torch.float64)
        down, along = ink.sum(2), ink.sum(1)
        y, x = down @ place, along @ place
        both = torch.einsum("nij,i,j->n", ink, place, place) - x * y
        return (both / ((down @ place.square() - y * y) * (along @ place.square() - x * x)).sqrt()).float()


class Crossings:
    """How often a pixel with ink has one without to its right or below."""

    def __call__(self, x: Tensor) -> Tensor:
        ink = x.squeeze(1) > 0.5
        return ((ink[:, 1:] != ink[:, :-1]).sum((1, 2)) + (ink[:, :, 1:] != ink[:, :, :-1]).sum((1, 2))).float()


class Noisy:
    """A reward with noise of a given size, drawn anew at every call."""

    def __init__(self, reward: el.types.Reward, size: float, seed: int) -> None:
        self.reward, self.size = reward, size
        self.draws = torch.Generator().manual_seed(3000 + seed)

    def __call__(self, x: Tensor) -> Tensor:
        return self.reward(x) + self.size * torch.randn(len(x), generator=self.draws)


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
    "slant": _digits(lambda seed: Slant(), "outside the data"),
    "crossings": _digits(lambda seed: Crossings(), "plateaus"),
    "noisy margin": _digits(
        lambda seed: Noisy(el.rewards.Margin(net("reward"), 8), 1.0, seed),
        "noisy",
        truth=lambda seed: el.rewards.Margin(net("reward"), 8),
        judge=lambda seed: el.rewards.Margin(net("judge"), 8),
    ),
}
