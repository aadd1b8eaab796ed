"""Evidence about the best sample, beside the reward that found it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..types import Event, Setup

__all__ = ["DistanceToData", "Watch"]


@dataclass
class Watch:
    """Subscriber that adds a column to the history for each function of the best object.

    Arguments:
        columns: name to a callable on a batch of decoded objects, one number each: a judge that the search never
            sees, `DistanceToData`, anything. It is called when the best changes, and counts as no reward.
    """

    columns: Mapping[str, Callable[[Any], Any]]
    _setup: Setup | None = field(default=None, init=False, repr=False)  # kept, so that no other can have its id
    _seen: tuple[Any, ...] = field(default=(), init=False, repr=False)
    _values: dict[str, float] = field(default_factory=dict, init=False, repr=False)

    def __call__(self, event: Event) -> None:
        if event.best is None or not len(event.best) or event.result is not None:
            return
        key = (*event.best.keys[0].tolist(), "final" in event.row)
        if key != self._seen or event.setup is not self._setup:
            objects = event.setup.target.decode(event.best.x[:1])
            with torch.no_grad():
                self._values = {name: _one(name, f, objects) for name, f in self.columns.items()}
            self._seen, self._setup = key, event.setup
        event.row.update(self._values)


def _one(name: str, f: Callable[[Any], Any], objects: Any) -> float:
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


@dataclass(frozen=True, eq=False)
class DistanceToData:
    """Distance to the nearest of the data, in units of what held-out data has: 1 is like real data.

    Arguments:
        data: objects of the kind that the prior learned, `(n, ...)`.
        held_out: objects of the same kind that are not in `data`.
        features: objects to features `(n, ...)`; the objects themselves by default.
    """

    data: Tensor = field(repr=False)
    held_out: Tensor = field(repr=False)
    features: Callable[[Tensor], Tensor] | None = field(default=None, repr=False)
    unit: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "unit", float(self._nearest(self.held_out).mean()))

    def __call__(self, objects: Tensor) -> Tensor:
        return self._nearest(objects) / self.unit

    def _nearest(self, objects: Tensor) -> Tensor:
        points, data = self._flat(objects), self._flat(self.data)
        return torch.cdist(points, data, compute_mode="donot_use_mm_for_euclid_dist").min(1).values

    def _flat(self, objects: Tensor) -> Tensor:
        values = objects if self.features is None else self.features(objects)
        return values.detach().flatten(1).float().cpu()
