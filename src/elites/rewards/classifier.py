"""Rewards made of a classifier's logits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..types import InputError

__all__ = ["Ambiguity", "LogProbability", "Margin"]


@dataclass(frozen=True, eq=False)
class LogProbability:
    """log p(label | object): the log-softmax of a net from objects to logits `(B, classes)`; at most 0.

    Arguments:
        net: objects to logits `(B, classes)`; the gradient goes through it.
        label: the class, from 0.

    Raises:
        InputError: if the label is negative, or the logits have another shape or no such class.
    """

    net: Callable[[Tensor], Tensor] = field(repr=False)
    label: int

    def __post_init__(self) -> None:
        if self.label < 0:
            raise InputError(f"LogProbability(label={self.label}): labels start at 0.")

    def __call__(self, objects: Tensor) -> Tensor:
        logits = self.net(objects)
        if logits.ndim != 2 or logits.shape[1] <= self.label:
            raise InputError(f"The logits have shape {tuple(logits.shape)}: label {self.label} is not among them.")
        return logits.log_softmax(1)[:, self.label]


@dataclass(frozen=True, eq=False)
class Margin:
    """Logit of one class minus the logsumexp of all others, for a net from objects to logits `(B, classes)`."""

    net: Callable[[Tensor], Tensor] = field(repr=False)
    label: int

    def __call__(self, objects: Tensor) -> Tensor:
        logits = self.net(objects)
        others = torch.cat([logits[:, : self.label], logits[:, self.label + 1 :]], 1)
        return logits[:, self.label] - others.logsumexp(1)


@dataclass(frozen=True, eq=False)
class Ambiguity:
    """log p(first) + log p(second): an object that is both at once; at most -2 log 2."""

    net: Callable[[Tensor], Tensor] = field(repr=False)
    first: int
    second: int

    def __call__(self, objects: Tensor) -> Tensor:
        log_p = self.net(objects).log_softmax(1)
        return log_p[:, self.first] + log_p[:, self.second]
