"""Tiers of priors: which have noise levels, and where on a walk one is; which have weights to train."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from .types import Gaussian, InputError, Prior

__all__ = ["Trainable", "gaussian", "time_of", "trainable"]

HALVINGS = 80

Schedule = Callable[[Tensor], tuple[Tensor, Tensor]]


class Trainable(Gaussian, Protocol):
    """A Gaussian prior whose network has weights; fine-tuning needs it."""

    def weights(self) -> dict[str, Tensor]:
        """The weights to train, by name."""

    def with_weights(self, weights: Mapping[str, Tensor]) -> Trainable:
        """The same prior with these weights; gradients go through to them."""

    def module(self) -> nn.Module:
        """The torch module of the network."""

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the network with its weights."""


def gaussian(prior: Prior, instead: str) -> Gaussian:
    """The prior, if it has a noise schedule and a kernel.

    Arguments:
        prior: any prior.
        instead: what to do if it has not, for the message.

    Raises:
        InputError: if it has not.
    """
    if not callable(getattr(prior, "schedule", None)) or not callable(getattr(prior, "kernel", None)):
        raise InputError(f"{type(prior).__name__} has no noise schedule: {instead}.")
    return prior  # type: ignore[return-value]


def trainable(prior: Prior) -> Trainable:
    """The prior, if its network has weights.

    Raises:
        InputError: if it has no noise schedule or no weights.
    """
    if not callable(getattr(gaussian(prior, "give a Gaussian prior"), "with_weights", None)):
        raise InputError(f"{type(prior).__name__} has no weights to train: give a prior with a network.")
    return prior  # type: ignore[return-value]


def time_of(schedule: Schedule, ratio: float | Tensor, ends: Tensor) -> Tensor:
    """The 0-dim float64 time where sigma / alpha is `ratio`, between the ends.

    Arguments:
        schedule: time to (alpha, sigma), with a ratio that rises with time.
        ratio: not negative; infinite where alpha is 0.
        ends: the highest and the lowest time `(2,)`, as of `prior.grid(1)`; beyond them an end is returned.
    """
    high, low = (float(t) for t in ends)
    return torch.tensor(_bisected(schedule, float(ratio), high, low), dtype=torch.float64)


@lru_cache(4096)  # every walk has the same few levels
def _bisected(schedule: Schedule, ratio: float, high: float, low: float) -> float:
    for _ in range(HALVINGS):
        middle = (high + low) / 2
        if middle in (high, low):
            break
        alpha, sigma = (float(v) for v in schedule(torch.tensor(middle, dtype=torch.float64)))
        if sigma > ratio * alpha if ratio < float("inf") else alpha <= 0:
            high = middle
        else:
            low = middle
    return (high + low) / 2
