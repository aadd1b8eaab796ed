"""Any function from noise to objects as a prior: GANs, distilled models, whole pipelines, simulators."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..stream import Id, Stream
from .gaussian import check_device

__all__ = ["OneStep"]


@dataclass(frozen=True, eq=False)
class OneStep:
    """A prior whose walk is one step.

    Without a `decoder`, the latent is the noise itself and `f` decodes it, each time that somebody looks. Where `f` is
    costly, split it: then `f` is called once per candidate, as a network is, and only the decoder when somebody looks.

    Arguments:
        f: noise `(B, *shape)` to a tensor, array or list of B objects of any kind; to a tensor `(B, *latent)` of clean
            latents if there is a decoder.
        shape: of the noise of one object.
        decoder: clean latents `(B, *latent)` to objects.
        device: where the noise is wanted.
        cost: network evaluations per object of one call of `f`.
        name: how the prior is written in a run.
    """

    f: Callable[[Tensor], Any] = field(repr=False)
    shape: tuple[int, ...]
    decoder: Callable[[Tensor], Any] | None = field(default=None, repr=False)
    device: str | torch.device = "cpu"
    cost: int = 1
    name: str = ""
    noisy: bool = field(default=False, init=False, repr=False)

    def __post_init__(self) -> None:
        check_device(self.device)

    def noise(self, stream: Stream, ids: Sequence[Id]) -> Tensor:
        """Standard normal noise of the candidates."""
        return stream.normal(ids, self.shape)

    def decode(self, x0: Tensor) -> Any:
        """Objects of clean latents."""
        return self.f(x0) if self.decoder is None else self.decoder(x0)

    def grid(self, steps: int) -> Tensor:
        """One step, whatever was asked for."""
        return torch.tensor([1.0, 0.0], dtype=torch.float64)

    def start(self, z: Tensor) -> Tensor:
        """The noise."""
        return z.to(self.device)

    def denoise(self, x: Tensor, t: Tensor, z: Tensor | None = None) -> Tensor:
        """The clean latent: `f` of the noise if there is a decoder, else the noise."""
        return x if self.decoder is None else self.f(x)

    def move(self, x: Tensor, x0: Tensor, t: Tensor, s: Tensor, z: Tensor | None = None) -> Tensor:
        """The latent."""
        return x0
