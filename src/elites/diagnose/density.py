r"""How well the model denoises an object: its own loss at low noise, a proxy of the density it gives to the object.

Noise is added to a clean x0 and the network's guess is compared with it, in units of the noise:

    l(x0) = mean over levels and draws of   alpha^2 / sigma^2  |x0hat(alpha x0 + sigma z) - x0|^2 / d,   z ~ N(0, I).

This is the error of the predicted noise, |zhat - z|^2 / d, whatever the network predicts. With log-SNR spread evenly,
d / 2 times its integral over all log-SNR is, up to a constant, the bound on -log p(x0) of variational diffusion
models. A band of it at low noise asks for the density around x0 at that resolution: an object on the data's manifold
of dimension k costs about k / d, since noise along the manifold cannot be told from x0, and an object at a distance r
from it costs up to alpha^2 r^2 / (sigma^2 d) more, as the guess goes back to the manifold.

References:
    Variational Diffusion Models (Kingma, Salimans, Poole and Ho, 2021), arXiv:2107.00630, for the bound.
    Denoising Diffusion Models for Out-of-Distribution Detection (Graham et al., 2023), arXiv:2211.07740, for the
    loss of reconstruction as evidence.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..levels import gaussian, time_of
from ..schedule import Table
from ..stream import Purpose
from ..types import Gaussian, InputError

if TYPE_CHECKING:
    from ..stream import Id, Stream
    from ..target import Target

__all__ = ["DenoisingLoss"]


@dataclass(frozen=True)
class DenoisingLoss:
    """The error of the predicted noise at low noise, of each clean object; high is less real.

        loss = DenoisingLoss()
        quantile(loss(target, x, stream, ids), loss(target, prior_samples, stream, many), higher=False)

    What it sees: texture, strokes and steps that the model would smooth away, noise left in an object, an object off
    the manifold by more than about sigma / alpha. What it does not see: that an object is rare as a whole, a wrong
    composition of right parts, and anything that the network itself has learnt wrongly. Smooth and empty objects have
    a low loss, often lower than real ones: so a quantile near 1 is no praise, only one near 0 is a warning. Values
    depend on the levels, and are compared with prior samples of the same model.

    Arguments:
        levels: log-SNR, log(alpha^2 / sigma^2); 2 is sigma / alpha = 0.37, and 4 is 0.14.
        draws: of noise at each level.

    Raises:
        InputError: if there are no levels or no draws.
    """

    levels: tuple[float, ...] = (2.0, 4.0)
    draws: int = 4

    def __post_init__(self) -> None:
        if not self.levels or self.draws < 1 or not all(math.isfinite(v) for v in self.levels):
            raise InputError(f"{self}: give at least one level, a finite log-SNR, and at least one draw.")

    def __call__(self, target: Target, x0: Tensor, stream: Stream, ids: Sequence[Id]) -> Tensor:
        """Values `(n,)` float64 on the CPU, of clean latents x0 `(n, *shape)`, where `ids` draw the noise.

        It takes `draws * len(levels)` network evaluations of the target for each object, and no gradients.

        Raises:
            InputError: if the prior has no noise schedule or does not reach a level, or x0 does not have its shape.
        """
        prior = gaussian(target.prior, "its objects have no denoising loss")
        if tuple(x0.shape) != (len(ids), *prior.shape) or not len(ids):
            want = (max(len(ids), 1), *prior.shape)
            raise InputError(f"The clean latents have shape {tuple(x0.shape)}: the prior needs {want}.")
        times = [self._time(prior, level) for level in self.levels]
        stream = stream.at(purpose=Purpose.CHECK)
        x0 = x0.detach().to(prior.start(prior.noise(stream, ids[:1])).device)
        total, at_once = torch.zeros(len(x0), dtype=torch.float64), max(target.batch // len(x0), 1)
        with torch.no_grad():
            for i, t in enumerate(times):
                alpha, sigma = (float(v) for v in prior.schedule(t))
                for draws in torch.arange(i * self.draws, (i + 1) * self.draws).split(at_once):
                    z = torch.cat([stream.at(draw=int(k)).normal(ids, prior.shape).to(x0) for k in draws])
                    clean = x0.repeat(len(draws), *(1,) * (x0.ndim - 1))
                    error = target.denoise(alpha * clean + sigma * z, t) - clean
                    found = error.flatten(1).double().square().mean(1).cpu().reshape(len(draws), len(x0))
                    for one in found:  # in order, whatever the batch: the same bits
                        total += (alpha / sigma) ** 2 * one
        return total / (len(times) * self.draws)

    def _time(self, prior: Gaussian, level: float) -> Tensor:
        """Where the log-SNR is `level`."""
        t = time_of(prior.schedule, math.exp(-level / 2), prior.grid(1))
        alpha, sigma = (float(v) for v in prior.schedule(t))
        clean = isinstance(prior.schedule, Table) and float(t) < 0  # no network was trained between 0 and the end
        if clean or not (alpha > 0 and sigma > 0 and abs(2 * math.log(alpha / sigma) - level) < 1e-3):
            raise InputError(f"The schedule of the prior does not reach the log-SNR {level:g}: give other levels.")
        return t
