r"""Whether noise is typical of the prior: a calibrated test of whiteness.

A draw of N(0, I) has |z|^2 near d, and no structure. The norm alone sees neither a constant image nor a smooth field
on the shell |z|^2 = d, which no prior ever draws. But the share of the energy of z that lies in a subspace fixed
beforehand has an exact law, whatever the subspace, and independent of the norm, which has one too:

    |z|^2 ~ chi^2(d),    |P z|^2 / |z|^2 ~ Beta(k / 2, (d - k) / 2)    for every orthogonal projection P of rank k

So a list of subspaces where structure shows, and the largest coordinate in two bases, give exact p-values; with m of
them, min(1, m times the least) is a p-value of the whole, conservative by Bonferroni's inequality.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from scipy.fft import dct
from scipy.special import betainc, betaincc, erfc, gammainc, gammaincc
from torch import Tensor

from ..types import Event, InputError, Samples
from .latest import Latest

__all__ = ["Typicality", "whiteness"]


def whiteness(z: Tensor) -> Tensor:
    """P-values of the hypothesis that each z is a draw of N(0, I); below 0.01 is one prior draw in a hundred.

    z is read as (channels, height, width): the last two axes, or the last alone, are space, and all others are
    channels. Tested are:

    - |z|^2;
    - the share of the energy in each octave of frequencies 0, 1, 2-3, 4-7, ... (orthonormal DCT): along each axis,
      and along both axes of space together, where max(f_y, f_x) counts. Constant images, smooth and rough fields;
    - along each axis, the energy of sums against that of differences, of neighbours taken in disjoint pairs, and of
      the two halves. Correlation of neighbouring coordinates, noise that repeats itself;
    - the largest |coordinate| of z, and of its DCT along space. One bought coordinate, one wave of any frequency.

    What it cannot see: excess energy along one direction that is not on the list. The mean of a search that has
    converged is such a direction: it lies on the shell, and a p-value here says nothing against it. A held-out judge
    and the distance to the data do.

    Arguments:
        z: noise `(n, *shape)`, n draws.

    Returns:
        `(n,)` float64 on the CPU; 0 for noise that is not finite, or nothing but zeros.

    Raises:
        InputError: if z is no batch of draws.

    References:
        Inference-Time Alignment of Diffusion Models with Direct Noise Optimization (Tang et al., 2025),
        arXiv:2405.18881.

    Differences:
        The paper's regulariser bounds the probability of block means and covariances; these laws are exact.
    """
    if z.ndim < 2 or not z[0:1].numel():
        raise InputError(f"The noise has shape {tuple(z.shape)}: give draws (n, *shape), a single one as z[None].")
    space = min(z.ndim - 1, 2)
    noise = z.detach().to("cpu", torch.float64).reshape(len(z), -1, *(1, 1)[space:], *z.shape[-space:]).numpy()
    noise = np.ascontiguousarray(noise)
    with np.errstate(all="ignore"):  # noise that is not finite, or nothing but zeros
        whole, wave = np.square(noise).sum((1, 2, 3)), _waves(_waves(noise, 3), 2)
        share, dimensions = _shares(noise, np.square(_waves(wave, 1)))
        laws = np.stack([_norm(whole, noise[0].size), _largest(noise), _largest(wave)], 1)
        p = np.concatenate([laws, _share(share, dimensions)], 1)
    least = np.minimum(p.shape[1] * p.min(1), 1)
    return torch.from_numpy(np.where(np.isfinite(whole) & (whole > 0), least, 0.0))


SHORT = 256  # longest axis that a matrix transforms
Array = np.ndarray


def _waves(z: Array, axis: int) -> Array:
    """Orthonormal DCT along one axis of z `(n, c, h, w)`; of a short one by its matrix, which takes less time."""
    size = z.shape[axis]
    if size == 1:
        return z
    if size > SHORT:
        return np.asarray(dct(z, axis=axis, norm="ortho"))
    if axis == 3:
        return np.asarray(z @ _basis(size).T)
    return (_basis(size) @ z.reshape(*z.shape[:axis], size, -1)).reshape(z.shape)


@lru_cache(maxsize=64)
def _basis(size: int) -> Array:
    """Frequency x place."""
    return np.asarray(dct(np.eye(size), axis=0, norm="ortho"))


def _shares(z: Array, energy: Array) -> tuple[Array, Array]:
    """The share of the energy in each subspace `(n, m)`, and the dimensions `(2, m)` of it and of the rest.

    Octaves are against all others, of squared coefficients of z `(n, c, h, w)`; of pairs of its coordinates it is sums
    against differences.
    """
    (channel, row, column), inside, dimensions = _octaves(*z.shape[1:])
    cells = (channel.T @ (row.T @ (energy @ column)).reshape(len(z), z.shape[1], -1)).reshape(len(z), 1, -1)
    ones, others = [(cells @ inside)[:, 0]], [(cells @ (1 - inside))[:, 0]]  # each draw by itself: the same bits
    for first, second in _pairs(*z.shape[1:]):
        ones.append(np.square(z[first] + z[second]).sum((1, 2, 3))[:, None])
        others.append(np.square(z[first] - z[second]).sum((1, 2, 3))[:, None])
    one = np.concatenate(ones, 1)
    return one / (one + np.concatenate(others, 1)), dimensions


Place = tuple[slice, ...]


@lru_cache(maxsize=64)
def _pairs(c: int, h: int, w: int) -> list[tuple[Place, Place]]:
    """Where the coordinates of disjoint pairs are, in z `(n, c, h, w)`: neighbours along each axis, and its halves."""
    places = []
    for axis, size in enumerate((c, h, w), 1):
        half, ahead = size // 2, (slice(None),) * axis
        if half >= 2:
            places.append(((*ahead, slice(0, 2 * half, 2)), (*ahead, slice(1, 2 * half, 2))))
            places.append(((*ahead, slice(half)), (*ahead, slice(half, 2 * half))))
    return places


@lru_cache(maxsize=64)
def _octaves(c: int, h: int, w: int) -> tuple[list[Array], Array, Array]:
    """For each axis frequency x octave; of all octaves of all axes, cell x band; the dimensions of bands and pairs."""
    bands = [np.array([k.bit_length() for k in range(size)]) for size in (c, h, w)]  # 0, 1, 2, 2, 3, 3, 3, 3, ...
    octave = [(band[:, None] == np.arange(band.max() + 1)).astype(float) for band in bands]
    cells = np.indices([o.shape[1] for o in octave]).reshape(3, -1)
    inside = np.concatenate([_each(line) for line in [*cells, *([cells[1:].max(0)] if min(h, w) > 1 else [])]], 1)
    size = np.prod([o.sum(0)[cell] for o, cell in zip(octave, cells, strict=True)], 0)
    pairs = [math.prod((c, h, w)) // n * (n // 2) for n in (c, h, w) if n >= 4 for _ in range(2)]
    dimensions = [np.stack([size @ inside, size @ (1 - inside)]), np.array([pairs, pairs])]
    return octave, inside, np.concatenate(dimensions, 1)


def _each(line: Array) -> Array:
    """Cell x octave; of two octaves one, as the other is its complement."""
    count = line.max() + 1
    return (line[:, None] == np.arange(count if count > 2 else count - 1)).astype(float)


def _norm(energy: Array, k: int) -> Array:
    """Two-sided p-value of a sum of k squares of standard normal numbers."""
    return 2 * np.minimum(gammainc(k / 2, energy / 2), gammaincc(k / 2, energy / 2))


def _share(x: Array, dimensions: Array) -> Array:
    """Two-sided p-values of shares `(n, m)` of subspaces: of x ~ Beta(k / 2, rest / 2)."""
    a, b = dimensions / 2
    return 2 * np.minimum(betainc(a, b, x), betaincc(a, b, x))


def _largest(z: Array) -> Array:
    """P-value of the largest |coordinate|."""
    tail = erfc(np.abs(z).reshape(len(z), -1).max(1) / math.sqrt(2))
    return -np.expm1(z[0].size * np.log1p(-tail))


class Typicality:
    """Subscriber that adds to the history, beside |z|^2/d, the p-value `white` that the best noise is a prior draw.

    It looks when the best changes, at one noise. The best of a search was chosen, so small values do not surprise;
    values near 0 say that the reward was bought where the prior never goes. Methods without noise get no column.
    """

    def __init__(self) -> None:
        self._latest = Latest()

    def __call__(self, event: Event) -> None:
        if event.result is None:
            event.row.update(self._latest.of(event, _white))


def _white(event: Event, best: Samples) -> dict[str, float]:
    return {} if best.z is None else {"white": float(whiteness(best.z)[0])}
