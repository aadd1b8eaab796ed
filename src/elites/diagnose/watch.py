"""Evidence about the best sample, beside the reward that found it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from ..types import Event, InputError, Samples
from .latest import Latest

__all__ = ["Watch"]

OWN = {"step", "failures", "nfe", "rewards", "grads", "seconds", "count", "max", "mean", "q10", "median", "q90"}
OWN |= {"best", "shell", "preview", "final", "alarm", "alarm.p"}


@dataclass
class Watch:
    """Subscriber that adds a column to the history for each function of the best object.

    Arguments:
        columns: name to a callable on a batch of decoded objects, one number each: a judge that the search never
            sees, `DistanceToData`, anything. It is called when the best changes, and counts as no reward.

    Raises:
        InputError: if a column has the name of one that the run itself fills.
    """

    columns: Mapping[str, Callable[[Any], Any]]
    _latest: Latest = field(default_factory=Latest, init=False, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.columns, Mapping):
            raise InputError(f"Watch has a {type(self.columns).__name__}: give a dict of names to functions.")
        if taken := sorted(OWN & set(self.columns)):
            raise InputError(f"The run fills the column {taken[0]!r} itself: give what is watched another name.")

    def __call__(self, event: Event) -> None:
        if event.result is None:
            event.row.update(self._latest.of(event, self._measured))

    def _measured(self, event: Event, best: Samples) -> dict[str, float]:
        with torch.no_grad():
            return {name: one(name, f, event.winner) for name, f in self.columns.items()}


def one(name: str, f: Callable[[Any], Any], objects: Any) -> float:
    """The number of one object; evidence that fails is NaN and a warning, and never ends the run."""
    try:
        value = torch.as_tensor(f(objects), dtype=torch.float64).reshape(-1)
        if len(value) == 1:
            return float(value[0])
        reason = f"it returned {len(value)} numbers for one object"
    except Exception as error:  # a user's code may raise anything
        reason = f"{type(error).__name__}: {error}"
    warnings.warn(f"{name!r} is missing for a step: {reason}.", stacklevel=4)
    return float("nan")
