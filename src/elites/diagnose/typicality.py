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
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..types import Event, InputError, Setup
from .laws import beta_tails

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
    field_ = z.detach().to("cpu", torch.float64).reshape(len(z), -1, *(1, 1)[space:], *z.shape[-space:])
    whole, wave = field_.square().flatten(1).sum(1), _dct(_dct(field_, 3), 2)
    parts = [*_pairs(field_), *_bands(_dct(wave, 1).square(), whole)]
    p = [_norm(whole, field_[0].numel()), _largest(field_), _largest(wave)]
    if parts:
        one, other, k, rest = (torch.stack(column, -1) for column in zip(*parts, strict=True))
        p += [_share(one / (one + other), k / 2, rest / 2)]
    every = torch.column_stack(p)
    least = (every.shape[1] * every.amin(1)).clamp(max=1)
    return torch.where(torch.isfinite(whole) & (whole > 0), least, 0.0)


Part = tuple[Tensor, Tensor, Tensor, Tensor]  # energies (n,) in a subspace and in its complement, and their dimensions


def _part(one: Tensor, other: Tensor, k: int, rest: int) -> Part:
    return one, other, torch.tensor(float(k), dtype=one.dtype), torch.tensor(float(rest), dtype=one.dtype)


def _pairs(z: Tensor) -> Iterator[Part]:
    """Orthonormal sums of z_i and z_(i + lag) against differences, in disjoint pairs, of z `(n, c, h, w)`."""
    for axis in (1, 2, 3):
        size = z.shape[axis]
        for lag in sorted({1, size // 2}) if size >= 4 else ():
            blocks = z.narrow(axis, 0, size // (2 * lag) * 2 * lag).unflatten(axis, (-1, 2, lag))
            a, b = blocks.select(axis + 1, 0), blocks.select(axis + 1, 1)
            k = a[0].numel()
            yield _part((a + b).square().flatten(1).sum(1) / 2, (a - b).square().flatten(1).sum(1) / 2, k, k)


def _bands(energy: Tensor, whole: Tensor) -> Iterator[Part]:
    """Each octave against the rest, of squared coefficients `(n, c, h, w)`."""
    _, c, h, w = energy.shape
    d = c * h * w
    along = [(energy.sum((2, 3)), _octaves(c)), (energy.sum((1, 3)), _octaves(h)), (energy.sum((1, 2)), _octaves(w))]
    if min(h, w) > 1:
        along.append((energy.sum(1).flatten(1), torch.maximum(_octaves(h)[:, None], _octaves(w)[None]).flatten()))
    for lines, band in along:
        count, each = int(band.max()) + 1, d // len(band)
        for b in range(count if count > 2 else count - 1):  # of two, one is the complement of the other
            one, k = lines[:, band == b].sum(1), int((band == b).sum()) * each
            yield _part(one, (lines[:, band != b]).sum(1), k, d - k)


def _octaves(size: int) -> Tensor:
    """The octave of each frequency: 0, 1, 2, 2, 3, 3, 3, 3, ..."""
    return torch.tensor([k.bit_length() for k in range(size)])


def _dct(z: Tensor, axis: int) -> Tensor:
    """Orthonormal discrete cosine transform (DCT-II) along one axis, by one FFT of the same length."""
    size = z.shape[axis]
    if size == 1:
        return z
    z = z.movedim(axis, -1)
    turned = torch.fft.fft(torch.cat([z[..., ::2], z[..., 1::2].flip(-1)], -1))
    angle = torch.arange(size, dtype=torch.float64) * (-math.pi / (2 * size))
    out = (turned * torch.polar(torch.ones_like(angle), angle)).real * math.sqrt(2 / size)
    out[..., 0] /= math.sqrt(2)
    return out.movedim(-1, axis)


def _norm(energy: Tensor, k: int) -> Tensor:
    """Two-sided p-value of a sum of k squares of standard normal numbers."""
    half = torch.full_like(energy, k / 2)
    low, high = torch.special.gammainc(half, energy / 2), torch.special.gammaincc(half, energy / 2)
    return 2 * torch.minimum(low, high)


def _share(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Two-sided p-value of x ~ Beta(a, b)."""
    tail, _ = beta_tails(x, a, b)
    return 2 * torch.minimum(tail, 1 - tail).clamp(min=0)


def _largest(z: Tensor) -> Tensor:
    """P-value of the largest |coordinate|."""
    tail = torch.special.erfc(z.abs().flatten(1).amax(1) / math.sqrt(2))
    return -torch.expm1(z[0].numel() * torch.log1p(-tail))


@dataclass
class Typicality:
    """Subscriber that adds to the history, beside |z|^2/d, the p-value `white` that the best noise is a prior draw.

    It looks when the best changes, at one noise. The best of a search was chosen, so small values do not surprise;
    values near 0 say that the reward was bought where the prior never goes. Methods without noise get no column.
    """

    _setup: Setup | None = field(default=None, init=False, repr=False)
    _seen: tuple[Any, ...] = field(default=(), init=False, repr=False)
    _value: float = field(default=0.0, init=False, repr=False)

    def __call__(self, event: Event) -> None:
        if event.best is None or not len(event.best) or event.best.z is None or event.result is not None:
            return
        key = tuple(event.best.keys[0].tolist())
        if key != self._seen or event.setup is not self._setup:
            self._value = float(whiteness(event.best.z[:1])[0])
            self._seen, self._setup = key, event.setup
        event.row["white"] = self._value
