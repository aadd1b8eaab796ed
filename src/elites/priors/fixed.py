r"""Known facts written into a prior: the current state, a goal, waypoints, the part of a picture that is given."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..levels import trainable
from ..stream import Id, Stream
from ..types import Gaussian, InputError

__all__ = ["Fixed"]


@dataclass(frozen=True, eq=False, repr=False)
class Fixed:
    r"""A prior with known entries of the clean object: inpainting of hard facts, in every walk and under every method.

        x0 <- m v + (1 - m) x0    after each call of the network, with m = 1 where v is known

    so that on a walk the known entries are alpha v + sigma z, as noisy as the rest, and in the object they are v to
    the bit. A network that was trained to see the facts without noise, as planners are, gets them so: with
    `clean=True`, v is written into x too, before each call.

        where = torch.zeros(32, 2, dtype=torch.bool)
        where[-1] = True  # the last point of a path
        prior = el.priors.Fixed(paths, where, torch.full((32, 2), 0.5))

    The network is told, and nothing makes it listen: where the facts are far from what it would draw, the rest may not
    fit them. A reward says the same softly, and a search then finds objects that are whole.

    Arguments:
        prior: any Gaussian prior.
        where: bool `(*shape)`, true where the clean latent is known.
        value: `(*shape)`, what is known there; the rest is not looked at.
        clean: whether the network sees the facts without noise; for one that was trained so.

    Raises:
        InputError: if `where` or `value` has another shape than the prior, `where` is not bool, all or nothing is
            known, or what is known is not finite.

    References:
        Planning with Diffusion for Flexible Behavior Synthesis (Janner, Du, Tenenbaum and Levine, 2022),
        arXiv:2205.09991.
        RePaint: Inpainting using Denoising Diffusion Probabilistic Models (Lugmayr et al., 2022), arXiv:2201.09865.
    """

    prior: Gaussian
    where: Tensor
    value: Tensor
    clean: bool = False

    def __post_init__(self) -> None:
        shape = tuple(self.prior.shape)
        if tuple(self.where.shape) != shape or tuple(self.value.shape) != shape:
            raise InputError(
                f"where has shape {tuple(self.where.shape)} and value {tuple(self.value.shape)}: give both the shape "
                f"of the prior, {shape}."
            )
        if self.where.dtype != torch.bool:
            raise InputError(f"where is of {self.where.dtype}: give torch.bool, true where the value is known.")
        if self.where.all() or not self.where.any():
            raise InputError("where is the same everywhere: leave something to the prior, and fix something.")
        if not torch.isfinite(self.value[self.where]).all():
            raise InputError("The known entries of value are not all finite: give numbers.")

    def __repr__(self) -> str:
        facts = [v.detach().cpu().numpy().tobytes() for v in (self.where.nonzero(), self.value[self.where].double())]
        told = (
            f"{int(self.where.sum())} of {self.where.numel()} known {hashlib.sha256(b''.join(facts)).hexdigest()[:12]}"
        )
        return f"Fixed({self.prior!r}, {told}, clean={self.clean})"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one object in latent space."""
        return self.prior.shape

    @property
    def schedule(self) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
        """Time to (alpha, sigma)."""
        return self.prior.schedule

    @property
    def kernel(self) -> Callable[..., tuple[Tensor, Tensor, Tensor]]:
        """The transition."""
        return self.prior.kernel

    @property
    def cost(self) -> int:
        """That of the prior."""
        return self.prior.cost

    @property
    def noisy(self) -> bool:
        """Whether the kernel draws noise."""
        return self.prior.noisy

    def noise(self, stream: Stream, ids: Sequence[Id]) -> Tensor:
        """Standard normal noise of the candidates."""
        return self.prior.noise(stream, ids)

    def decode(self, x0: Tensor) -> Any:
        """Clean latents, with what is known, to objects."""
        return self.prior.decode(self._told(x0))

    def grid(self, steps: int) -> Tensor:
        """The times of the prior."""
        return self.prior.grid(steps)

    def start(self, z: Tensor) -> Tensor:
        """Noise at the first time, around what is known."""
        x = self.prior.start(z)
        alpha, _ = self.schedule(self.grid(1)[0])
        return torch.where(self.where.to(x.device), x + float(alpha) * self.value.to(x), x)

    def denoise(self, x: Tensor, t: Tensor, z: Tensor | None = None) -> Tensor:
        """The clean guess, with what is known."""
        return self._told(self.prior.denoise(self._told(x) if self.clean else x, t, z))

    def move(self, x: Tensor, x0: Tensor, t: Tensor, s: Tensor, z: Tensor | None = None) -> Tensor:
        """The transition of the prior."""
        return self.prior.move(x, x0, t, s, z)

    def weights(self) -> dict[str, Tensor]:
        """Those of the prior."""
        return trainable(self.prior).weights()

    def with_weights(self, weights: Mapping[str, Tensor]) -> Fixed:
        """The same facts in a prior with other weights."""
        return replace(self, prior=trainable(self.prior).with_weights(weights))

    def module(self) -> nn.Module:
        """That of the prior."""
        return trainable(self.prior).module()

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the prior."""
        trainable(self.prior).save_pretrained(folder)

    def _told(self, x: Tensor) -> Tensor:
        if tuple(x.shape[1:]) != tuple(self.shape):  # else it would be broadcast
            raise InputError(f"The latents have shape {tuple(x.shape)}: the prior needs {(len(x), *self.shape)}.")
        return torch.where(self.where.to(x.device), self.value.to(x), x)
