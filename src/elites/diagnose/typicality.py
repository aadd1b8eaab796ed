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
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from scipy.special import betainc, betaincc
from torch import Tensor

from ..types import Event, InputError, Setup

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
    parts = [_bands(_dct(wave, 1).square()), *_pairs(field_)]
    one, other, dimensions = (torch.cat([part[i] for part in parts], 1) for i in range(3))
    p = [_norm(whole, field_[0].numel()), _largest(field_), _largest(wave), _share(one / (one + other), dimensions)]
    every = torch.column_stack(p)
    least = (every.shape[1] * every.amin(1)).clamp(max=1)
    return torch.where(torch.isfinite(whole) & (whole > 0), least, 0.0)


Part = tuple[Tensor, Tensor, Tensor]  # energies (n, m) in m subspaces and in others, and the dimensions (2, m) of both


def _pairs(z: Tensor) -> Iterator[Part]:
    """Orthonormal sums of z_i and z_(i + lag) against differences, in disjoint pairs, of z `(n, c, h, w)`."""
    for axis in (1, 2, 3):
        size = z.shape[axis]
        for lag in sorted({1, size // 2}) if size >= 4 else ():
            a, b = z.narrow(axis, 0, size // (2 * lag) * 2 * lag).unflatten(axis, (-1, 2, lag)).unbind(axis + 1)
            one, other = ((half.square().flatten(1).sum(1, keepdim=True) / 2) for half in (a + b, a - b))
            yield one, other, torch.full((2, 1), float(a[0].numel()), dtype=z.dtype)


def _bands(energy: Tensor) -> Part:
    """Each octave against the rest, of squared coefficients `(n, c, h, w)`."""
    octave, inside, dimensions = _octaves(*energy.shape[1:])
    cells = torch.einsum("nchw,ca,hb,we->nabe", energy, *octave).flatten(1)
    return cells @ inside, cells @ (1 - inside), dimensions


@lru_cache(maxsize=64)
def _octaves(c: int, h: int, w: int) -> tuple[list[Tensor], Tensor, Tensor]:
    """For each axis frequency x octave; of all octaves of all axes, cell x band; and the dimensions `(2, bands)`."""
    bands = [torch.tensor([k.bit_length() for k in range(size)]) for size in (c, h, w)]  # 0, 1, 2, 2, 3, 3, 3, 3, ...
    octave = [(band[:, None] == torch.arange(int(band.max()) + 1)).double() for band in bands]
    cells = torch.cartesian_prod(*[torch.arange(o.shape[1]) for o in octave])
    along = [cells[:, 0], cells[:, 1], cells[:, 2]] + ([cells[:, 1:].amax(1)] if min(h, w) > 1 else [])
    inside = torch.cat([_each(line) for line in along], 1)
    size = torch.stack([o.sum(0)[cells[:, i]] for i, o in enumerate(octave)]).prod(0)
    return octave, inside, torch.stack([size @ inside, size @ (1 - inside)])


def _each(line: Tensor) -> Tensor:
    """Cell x octave; of two octaves one, as the other is its complement."""
    count = int(line.max()) + 1
    return (line[:, None] == torch.arange(count if count > 2 else count - 1)).double()


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


def _share(x: Tensor, dimensions: Tensor) -> Tensor:
    """Two-sided p-values of shares `(n, m)` of subspaces: of x ~ Beta(k / 2, rest / 2)."""
    a, b = (dimensions / 2).numpy()
    return 2 * torch.from_numpy(np.minimum(betainc(a, b, x.numpy()), betaincc(a, b, x.numpy())))


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
