"""Rewards on images `(B, C, H, W)` in [0, 1]."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..types import InputError

__all__ = ["CompressedSize", "Match", "Symmetry"]


@dataclass(frozen=True)
class Symmetry:
    """Minus the mean squared difference between an image and its left-right mirror; 0 is symmetric."""

    def __call__(self, images: Tensor) -> Tensor:
        return -(images - images.flip(-1)).square().flatten(1).mean(1)


@dataclass(frozen=True)
class CompressedSize:
    """Minus the bytes of the image after zlib, at `levels` grey levels: rough, with ties and plateaus."""

    levels: int = 17

    def __call__(self, images: Tensor) -> Tensor:
        grey = (images * (self.levels - 1)).round().to(torch.uint8).cpu().numpy()
        return torch.tensor([-float(len(zlib.compress(g.tobytes(), 9))) for g in grey])


@dataclass(frozen=True, eq=False)
class Match:
    """Minus the mean squared distance to one image `(C, H, W)`; 0 is a hit."""

    image: Tensor = field(repr=False)

    def __call__(self, images: Tensor) -> Tensor:
        if images.shape[1:] != self.image.shape:
            raise InputError(f"The images are {tuple(images.shape[1:])}, the wanted one {tuple(self.image.shape)}.")
        return -(images - self.image.to(images)).square().flatten(1).mean(1)
