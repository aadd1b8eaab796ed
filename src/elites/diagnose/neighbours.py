r"""Distance to the data: far from all of it, or on top of one object that was learnt by heart.

Both are read against held-out data, objects of the same kind that the prior never saw: they show how near an honest
new object is to the data. Distances are Euclidean between features, and say no more than the features do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial

import torch
from torch import Tensor

from ..types import InputError

__all__ = ["DistanceToData", "Memorised"]

PAIRS = 1 << 22  # distances held at once
OBJECTS = 4096  # that the features are asked for at once


@dataclass(frozen=True, eq=False)
class DistanceToData:
    """Distance to the nearest of the data, in units of what held-out data has: 1 is like real data.

    Arguments:
        data: objects of the kind that the prior learned, `(n, ...)`.
        held_out: objects of the same kind that are not in `data`.
        features: objects to features `(n, ...)`; the objects themselves by default.
        k: the distance is that to the k-th nearest: with more than 1 a single odd object of the data, or one that
            was copied, counts for little.

    Raises:
        InputError: if there are fewer data than k, nothing is held out, or held-out objects are all among the data.

    References:
        Out-of-Distribution Detection with Deep Nearest Neighbors (Sun, Ming, Zhu and Li, 2022), arXiv:2204.06507, for
        the k-th neighbour.
    """

    data: Tensor = field(repr=False)
    held_out: Tensor = field(repr=False)
    features: Callable[[Tensor], Tensor] | None = field(default=None, repr=False)
    k: int = 1
    unit: float = field(default=0.0, init=False)
    _data: Tensor = field(init=False, repr=False)
    _held: Tensor = field(init=False, repr=False)
    _near: Tensor = field(init=False, repr=False)  # distances of held-out objects

    def __post_init__(self) -> None:
        _check(self.data, self.held_out, self.k)
        object.__setattr__(self, "_data", _features(self.data, self.features))
        object.__setattr__(self, "_held", _features(self.held_out, self.features))
        object.__setattr__(self, "_near", _nearest(self._held, self._data, min(max(self.k, 2), len(self._data))))
        unit = float(self._near[:, self.k - 1].contiguous().mean())
        if not 0 < unit < float("inf"):
            raise InputError(f"Held-out data is at a distance of {unit:g} from the data: hold out other objects.")
        object.__setattr__(self, "unit", unit)

    def __call__(self, objects: Tensor) -> Tensor:
        """Distances `(n,)` float64 on the CPU, of objects `(n, ...)`; NaN for those that are not finite."""
        return (_nearest(_features(objects, self.features), self._data, self.k)[:, -1] / self.unit).double()

    @cached_property
    def memorised(self) -> Callable[[Tensor], Tensor]:
        """P-values that objects are new, by `Memorised` on the same features.

        Raises:
            InputError: as `Memorised` does.
        """
        data, held = _learnt(self._data, self._held, self._near)
        return partial(_newness, data, held, self.features)


@dataclass(frozen=True, eq=False)
class Memorised:
    r"""P-values of the hypothesis that an object is new: small for copies of an object of the data.

    With distances d1 to the nearest and d2 to the second nearest of the data, a copy has a small d1, and a small
    d1 / d2: close to one object, and not only in a crowd. Either rank among m held-out objects is a p-value,

        p = (1 + how many held-out objects have a number at most as large) / (m + 1),

    exact if the object and the held-out ones are exchangeable. The larger of the two is given, so that both numbers
    have to be small: of new objects at most a share u has p <= u.

        copied = Memorised(data, held_out)(objects) <= 0.01    # flags at most one new object in a hundred

    The rate is that of objects which are like held-out data. Smooth or average objects lie nearer to all of the data,
    which the ratio is there for. Objects that lie in the data several times count once; where near copies of one
    another fill the data, d1 / d2 is never small and nothing is flagged.

    Arguments:
        data: the objects that the prior learned, `(n, ...)`.
        held_out: objects of the same kind that are not in `data` `(m, ...)`; no p-value is below 1 / (m + 1).
        features: objects to features `(n, ...)`; the objects themselves by default.

    Raises:
        InputError: if there are fewer than two different data, or nothing is held out.

    References:
        Extracting Training Data from Diffusion Models (Carlini et al., 2023), arXiv:2301.13188: a copy is much nearer
        to one object of the data than to those around it.

    Differences:
        The paper compares with the mean distance of 50 neighbours and a threshold found by hand; here it is the second
        neighbour, and held-out data gives the threshold its rate.
    """

    data: Tensor = field(repr=False)
    held_out: Tensor = field(repr=False)
    features: Callable[[Tensor], Tensor] | None = field(default=None, repr=False)
    _data: Tensor = field(init=False, repr=False)
    _held: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        _check(self.data, self.held_out, 2)
        data, held = _learnt(_features(self.data, self.features), _features(self.held_out, self.features))
        object.__setattr__(self, "_data", data)
        object.__setattr__(self, "_held", held)

    def __call__(self, objects: Tensor) -> Tensor:
        """P-values `(n,)` float64 on the CPU, of objects `(n, ...)`; NaN for those that are not finite."""
        return _newness(self._data, self._held, self.features, objects)


def _learnt(data: Tensor, held_out: Tensor, near: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Features of data that differ, and d1 and d1 / d2 of held-out objects `(m, 2)`, each column rising.

    Arguments:
        near: distances of held-out objects to the nearest of the data, if they are known.
    """
    different = torch.unique(data, dim=0)
    if len(different) < 2:
        raise InputError("All of the data are the same object: give data that differ.")
    if len(different) < len(data):
        data, near = different, None
    numbers = _numbers(_nearest(held_out, data, 2) if near is None else near)
    if not numbers.isfinite().all():
        raise InputError("Some held-out objects are not finite: leave them out.")
    return data, numbers.sort(0).values


def _newness(data: Tensor, held: Tensor, features: Callable[[Tensor], Tensor] | None, objects: Tensor) -> Tensor:
    """P-values `(n,)` float64 on the CPU that objects are new; NaN for those that are not finite."""
    numbers = _numbers(_nearest(_features(objects, features), data, 2))
    as_low = torch.searchsorted(held.T.contiguous(), numbers.T.contiguous(), right=True)
    p = (1 + as_low.double()) / (len(held) + 1)
    return torch.where(numbers.isfinite().all(1), p.amax(0), torch.nan)


def _numbers(near: Tensor) -> Tensor:
    """d1 and d1 / d2 `(n, 2)` of distances to the nearest."""
    first, second = near[:, 0].double(), near[:, 1].double()
    return torch.stack([first, first / second], 1)


def _check(data: Tensor, held_out: Tensor, k: int) -> None:
    """Refuse what no distance can be read from."""
    if not 1 <= k <= len(data):
        raise InputError(f"There are {len(data)} data for {k} neighbours: give more data, and at least one neighbour.")
    if not len(held_out):
        raise InputError("No object is held out: give some that are not in the data.")


def _features(objects: Tensor, features: Callable[[Tensor], Tensor] | None) -> Tensor:
    """Features `(n, d)` float32 on the CPU, of a bounded number of objects at once."""
    if features is None:
        return torch.as_tensor(objects).detach().flatten(1).float().cpu()
    with torch.no_grad():
        parts = [features(objects[i : i + OBJECTS]) for i in range(0, max(len(objects), 1), OBJECTS)]
    return torch.cat([part.detach().flatten(1).float().cpu() for part in parts])


def _nearest(points: Tensor, data: Tensor, k: int) -> Tensor:
    """Distances `(n, k)` to the k nearest of the data, rising; NaN for points that are not finite."""
    if points.shape[1] != data.shape[1]:
        raise InputError(f"Objects have {points.shape[1]} numbers and the data {data.shape[1]}: give the same kind.")
    wide = min(len(data), PAIRS // 64)
    tall, out = max(1, PAIRS // wide), torch.empty(len(points), k)
    for i in range(0, len(points), tall):
        some, best = points[i : i + tall], torch.empty(0)
        for j in range(0, len(data), wide):
            # by differences: a matrix product would lose the digits of small distances
            each = torch.cdist(some, data[j : j + wide], compute_mode="donot_use_mm_for_euclid_dist")
            each = torch.cat([best, each], 1) if j else each
            best = each.topk(min(k, each.shape[1]), 1, largest=False).values
        out[i : i + tall] = best
    return torch.where(points.isfinite().all(1)[:, None], out, torch.nan)
