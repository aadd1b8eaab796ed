r"""How different the objects of a set are from one another: distances between them, and how many they effectively are.

Two sets of the same size can be compared, and no others: a set of winners with as many prior samples. Winners of a
search are alike by intention; a low number says that one good object was found many times, not that it is unreal.

References:
    The Vendi Score: A Diversity Evaluation Metric for Machine Learning (Friedman and Dieng, 2022), arXiv:2210.02410.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..stream import Purpose
from ..types import InputError

if TYPE_CHECKING:
    from ..stream import Stream

__all__ = ["Diversity", "vendi"]

MOST = 4000  # objects of the reference whose pairs are looked at


@dataclass(frozen=True, eq=False)
class Diversity:
    """Diversity of a set of objects, beside that of sets of prior samples.

        diversity = Diversity(prior_objects)
        value = diversity.effective(winners)
        quantile(value, diversity.among(len(winners), Diversity.effective, stream), higher=True)

    Arguments:
        reference: prior samples, or data, `(m, ...)`.
        features: objects to features `(n, ...)`; the objects themselves by default.
        width: of the kernel, as a share of the median distance between two of the reference; two at that distance
            then have the similarity exp(-1 / (2 width^2)), 0.14 by default.

    Raises:
        InputError: if fewer than two of the reference differ, or the width is not positive.
    """

    reference: Tensor = field(repr=False)
    features: Callable[[Tensor], Tensor] | None = field(default=None, repr=False)
    width: float = 0.5
    unit: float = field(default=0.0, init=False)  # mean and median distance of two of the reference
    median: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        if not self.width > 0:
            raise InputError(f"The kernel has a width of {self.width}: give a positive share of the median distance.")
        pairs = torch.pdist(self._flat(self.reference[:MOST]))
        if not len(pairs) or not 0 < float(pairs.median()) < float("inf"):
            raise InputError("The reference has no two objects that differ: give more prior samples, all finite.")
        object.__setattr__(self, "unit", float(pairs.mean()))
        object.__setattr__(self, "median", float(pairs.median()))

    def distance(self, objects: Tensor) -> float:
        """Mean distance between two of the objects `(n, ...)`, over that of the reference: 1 is like the prior.

        Raises:
            InputError: if there are fewer than two objects.
        """
        if len(objects) < 2:
            raise InputError("Fewer than two objects have no distance between them: give more.")
        return float(torch.pdist(self._flat(objects)).mean()) / self.unit

    def effective(self, objects: Tensor) -> float:
        """Effective number of different objects of `(n, ...)`, from 1 to n: their Vendi score under a Gaussian kernel.

        The similarity of two objects at a distance r is exp(-r^2 / (2 h^2)), h = width times the median distance in
        the reference.
        """
        flat = self._flat(objects)
        off = torch.cdist(flat, flat, compute_mode="donot_use_mm_for_euclid_dist")
        return vendi((-(off**2) / (2 * (self.width * self.median) ** 2)).exp())

    def among(
        self, size: int, measure: Callable[[Diversity, Tensor], float], stream: Stream, sets: int = 200
    ) -> Tensor:
        """`Diversity.distance` or `.effective` of sets of that size drawn from the reference: `(sets,)` float64.

        Sets have no object twice, and share objects with one another: with a reference hardly larger than a set, their
        values lie too close together.

        Raises:
            InputError: if the reference is smaller than a set.
        """
        if not 1 <= size <= len(self.reference) or sets < 1:
            raise InputError(
                f"{sets} sets of {size} from {len(self.reference)} of the reference: give a larger reference."
            )
        order = stream.at(purpose=Purpose.CHECK).uniform(range(sets), (len(self.reference),)).argsort(1)[:, :size]
        flat, plain = self._flat(self.reference), copy(self)
        object.__setattr__(plain, "features", None)  # they are asked for once
        return torch.tensor([measure(plain, flat[rows]) for rows in order], dtype=torch.float64)

    def _flat(self, objects: Tensor) -> Tensor:
        values = objects if self.features is None else self.features(objects)
        return values.detach().flatten(1).double().cpu()


def vendi(similarity: Tensor) -> float:
    """The exponential of the entropy of the eigenvalues of K / n: n for n objects with nothing in common, 1 for one.

    It takes the eigenvalues of a matrix, so a minute for some ten thousand objects.

    Arguments:
        similarity: K `(n, n)`, symmetric, positive semidefinite, ones on its diagonal.

    Raises:
        InputError: if it is not such a matrix, or not finite.
    """
    k = similarity.detach().double().cpu()
    if k.ndim != 2 or k.shape[0] != k.shape[1] or not len(k):
        raise InputError(f"The similarities have shape {tuple(k.shape)}: give (n, n).")
    if not k.isfinite().all() or not torch.allclose(k, k.T) or not torch.allclose(k.diag(), torch.ones(len(k)).to(k)):
        raise InputError("Similarities are symmetric, finite, and 1 of an object with itself: give a kernel's matrix.")
    shares = torch.linalg.eigvalsh(k / len(k)).clamp(min=0)
    return float((-torch.xlogy(shares, shares)).sum().exp())
