r"""Rewards of a set: how near the objects of a batch are to reference objects, as a law and not one by one.

A set has one distance D, and a search needs a number for each object. It is the credit of leaving one out,

    r_i = D(S without i) - D(S)

what the distance would lose without i: positive where the set is nearer to the reference with the object in it. So a
copy of what is there already gains little, and what fills a gap gains much.

A credit belongs to a batch: S is what one call of the reward sees, at most `decode_batch` objects of a target, and in
a search at most `batch`. Other chunks, workers, retries, or a run that goes on from the middle of a batch give other
numbers, unlike with any other reward. So give a target the population as `batch=` (`decode_batch` is the same unless
given), compare credits within a batch, and do not use them again for other runs. The order within a batch changes
nothing. Credits have no gradient: theirs would be of their sum, which is not the distance (see `MMD`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..types import InputError

__all__ = ["MMD", "Frechet"]

Features = Callable[[Any], Tensor]
LEAST = 3  # objects of a set: without one there are two, of which there is still a spread


def flat(objects: Any) -> Tensor:
    """The numbers of each object in a row `(n, D)`."""
    return torch.as_tensor(objects).flatten(1)


@dataclass(frozen=True, eq=False)
class MMD:
    r"""Credits of a set for its maximum mean discrepancy from reference objects, squared.

        D(S) = |mean_i phi(x_i) - mean_j phi(y_j)|^2
             = mean_ij k(x_i, x_j) + mean_ij k(y_i, y_j) - 2 mean_ij k(x_i, y_j)
        k(x, y) = phi(x) . phi(y) = mean over the bandwidths h of exp(-|x - y|^2 / (2 h^2))

    D is 0 for the reference itself. All credits together cost one matrix of kernels of the n objects, and one of these
    with the m reference objects. They add up to n / (n - 1)^2 times the variance of phi over the set, whatever the
    reference is.

    Arguments:
        reference: objects, as many as are needed to show their law, at least 2.
        bandwidths: h, in the unit of the features; by default the median distance of two of (the first 1,000)
            reference objects. Narrow ones see details; an object far from all others sees none, and a wide one
            besides, such as ten times the median, sees it.
        features: objects to rows `(n, D)`; by default their own numbers.

    Raises:
        InputError: if there are fewer than 2 reference objects or 3 of the set, a bandwidth is not positive, or the
            features are no rows or of another width than those of the reference.

    References:
        A Kernel Two-Sample Test (Gretton et al., 2012), JMLR 13.

    Differences:
        Credits are those of the distance of the set as it is, with k(x_i, x_i), and not of the unbiased `estimate`:
        this one does not see an object that is too far on the side where the set lacks objects.
    """

    reference: Any = field(repr=False)
    bandwidths: Sequence[float] | None = None
    features: Features = field(default=flat, repr=False)

    def __post_init__(self) -> None:
        _check(self.reference)
        if self.bandwidths is not None and not (self.bandwidths and all(h > 0 for h in self.bandwidths)):
            raise InputError(f"MMD(bandwidths={self.bandwidths}): give positive numbers.")

    @functools.cached_property
    def _known(self) -> tuple[Tensor, Sequence[float], float]:
        """Reference rows, bandwidths, and the mean kernel of the reference."""
        y = _reference(self.features, self.reference)
        widths = self.bandwidths or [float(torch.pdist(y[:1000]).median())]
        if not all(h > 0 for h in widths):
            raise InputError("Half of the reference objects are the same, so MMD has no bandwidth: give bandwidths.")
        own = torch.cat([_kernel(part, y, widths).mean(1) for part in y.split(1000)])
        return y, widths, float(own.mean())

    def distance(self, objects: Any) -> Tensor:
        """D of a set, 0-dim float64, with the gradient of the features."""
        y, widths, own = self._known
        x = _rows(self.features(objects), y.shape[1]).to(y.device)
        return _kernel(x, x, widths).mean() + own - 2 * _kernel(x, y, widths).mean()

    def estimate(self, objects: Any) -> Tensor:
        """Unbiased estimate of D between the laws that the set and the reference were drawn from, 0-dim float64.

        Without k(x_i, x_i) and k(y_j, y_j), it is about 0 where the laws are the same, and may be negative.
        """
        y, widths, own = self._known
        x = _rows(self.features(objects), y.shape[1]).to(y.device)
        n, m = len(x), len(y)
        if n < 2:
            raise InputError("One object gives no estimate of MMD: give a set of 2 or more.")
        within = (n * _kernel(x, x, widths).mean() - 1) / (n - 1)  # k(x, x) = 1
        return within + (m * own - 1) / (m - 1) - 2 * _kernel(x, y, widths).mean()

    def __call__(self, objects: Any) -> Any:
        """Credits `(B,)` of a batch, float64; an object whose features are not finite fails and is not in the set."""
        y, widths, _ = self._known

        def credits(x: Tensor) -> Tensor:
            n = len(x)
            near, far = _kernel(x, x, widths).sum(1), _kernel(x, y, widths).mean(1)
            among, across = near.sum(), far.sum()
            # without i: its row and its column leave the first mean, where they share k(x_i, x_i) = 1
            first = (among - 2 * near + 1) / (n - 1) ** 2 - among / n**2
            return first - 2 * ((across - far) / (n - 1) - across / n)

        return _credited(self.features, objects, y, credits)


@dataclass(frozen=True, eq=False)
class Frechet:
    r"""Credits of a set for its Frechet distance from reference objects, both taken as normal laws.

        D(S) = |m - m_ref|^2 + tr(C + C_ref - 2 (C C_ref)^{1/2})

    with means m and covariances C (divided by n - 1) of the features; with those of an Inception network D is the FID.
    With few objects D is too large, and with no more of them than features much too large: compare sets of one size.
    All credits of n objects cost n + 1 decompositions of an n x d matrix.

    Arguments:
        reference: objects, as many as are needed to show their law, at least 2.
        features: objects to rows `(n, d)`; by default their own numbers.

    Raises:
        InputError: if there are fewer than 2 reference objects or 3 of the set, or the features are no rows or of
            another width than those of the reference.

    References:
        GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium (Heusel et al., 2017),
        arXiv:1706.08500.
        The distance between two random vectors with given dispersion matrices (Olkin and Pukelsheim, 1982), Linear
        Algebra and its Applications 48.
    """

    reference: Any = field(repr=False)
    features: Features = field(default=flat, repr=False)

    def __post_init__(self) -> None:
        _check(self.reference)

    @functools.cached_property
    def _known(self) -> tuple[Tensor, Tensor, Tensor]:
        """Mean of the reference rows, a root `(d, d)` of their covariance, and its trace."""
        y = _reference(self.features, self.reference)
        covariance = torch.atleast_2d(torch.cov(y.T))
        values, vectors = torch.linalg.eigh(covariance)
        return y.mean(0), vectors * values.clamp(min=0).sqrt(), covariance.trace()

    def distance(self, objects: Any) -> Tensor:
        """D of a set of at least 2 objects, 0-dim float64."""
        mean = self._known[0]
        with torch.no_grad():
            x = _rows(self.features(objects), len(mean)).to(mean.device)
            if len(x) < 2:
                raise InputError("One object has no covariance: give a set of 2 or more.")
            return self._of(x)

    def _of(self, x: Tensor) -> Tensor:
        mean, root, trace = self._known
        spread = (x - x.mean(0)) / (len(x) - 1) ** 0.5
        # tr (C C_ref)^{1/2} is the sum of the singular values of spread @ root, for root root^T = C_ref
        shared = torch.linalg.svdvals(spread @ root).sum()
        return (x.mean(0) - mean).square().sum() + spread.square().sum() + trace - 2 * shared

    def __call__(self, objects: Any) -> Any:
        """Credits `(B,)` of a batch, float64; an object whose features are not finite fails and is not in the set."""

        def credits(x: Tensor) -> Tensor:
            without = [self._of(torch.cat([x[:i], x[i + 1 :]])) for i in range(len(x))]
            return torch.stack(without) - self._of(x)

        return _credited(self.features, objects, self._known[0][None], credits)


def _check(reference: Any) -> None:
    if len(reference) < 2:
        raise InputError(f"There are {len(reference)} reference objects: give at least 2, which have a law.")


def _reference(features: Features, reference: Any) -> Tensor:
    with torch.no_grad():
        y = _rows(features(reference), None)
    if not torch.isfinite(y).all():
        raise InputError("The reference has features that are not finite: leave those objects out.")
    return y


def _rows(features: Any, width: int | None) -> Tensor:
    rows = torch.as_tensor(features)
    if rows.ndim != 2 or rows.shape[1] != (width or rows.shape[1]):
        raise InputError(f"The features have shape {tuple(rows.shape)}: give rows (n, {width or 'D'}).")
    return rows.double()


def _kernel(x: Tensor, y: Tensor, bandwidths: Sequence[float]) -> Tensor:
    """Mean over the bandwidths `(n, m)`."""
    x, y = x - y.mean(0), y - y.mean(0)  # small numbers, of which differences are exact
    squares = (x.square().sum(1)[:, None] + y.square().sum(1) - 2 * x @ y.T).clamp(min=0)
    return sum(((-squares / (2 * h**2)).exp() for h in bandwidths), torch.zeros(())) / len(bandwidths)


def _credited(features: Features, objects: Any, like: Tensor, credits: Callable[[Tensor], Tensor]) -> Any:
    """Credits of the objects whose features are finite, and why the others failed."""
    with torch.no_grad():
        x = _rows(features(objects), like.shape[1]).to(like.device)
        if len(x) != len(objects):
            raise InputError(f"The features of {len(objects)} objects are {len(x)} rows: give one for each.")
        sound = torch.isfinite(x).all(1)
        n = int(sound.sum())
        if n < LEAST:
            raise InputError(f"A set of {n} has no credits: score at least {LEAST} together (batch=, decode_batch=).")
        values = credits(x[sound])
    if n == len(x):
        return values
    left = iter(values.tolist())
    return [next(left) if ok else ValueError("its features are not finite") for ok in sound.tolist()]
