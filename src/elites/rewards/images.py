"""Rewards on images `(B, C, H, W)` in [0, 1]."""

from __future__ import annotations

import io
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..types import InputError
from .basic import per_sample

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["CompressedSize", "JPEGSize", "Match", "PNGSize", "Symmetry", "picture", "pixels"]


def pixels(images: Any) -> Tensor:
    """Images as a tensor `(B, 3, H, W)` or `(B, 1, H, W)` of real numbers.

    Raises:
        InputError: if they are something else.
    """
    x = torch.as_tensor(images)
    if x.ndim != 4 or x.shape[1] not in (1, 3) or not x.is_floating_point():
        raise InputError(f"The images are {x.dtype} of shape {tuple(x.shape)}: give (B, 3 or 1, H, W) in [0, 1].")
    return x


def picture(image: Tensor) -> Image:
    """A Pillow image of one tensor `(C, H, W)` in [0, 1], by the convention of published scorers: 255 x, rounded.

    Raises:
        InputError: if a pixel is not finite.
    """
    from PIL import Image

    if not torch.isfinite(image).all():
        raise InputError("The image has pixels that are not finite.")
    grey = (image.float() * 255).round().clamp(0, 255).to(torch.uint8).cpu().permute(1, 2, 0).numpy()
    return Image.fromarray(grey[..., 0] if grey.shape[2] == 1 else grey)


def _kilobytes(image: Image, encoding: str, **options: int) -> float:
    buffer = io.BytesIO()
    image.save(buffer, encoding, **options)
    return buffer.tell() / 1000


@dataclass(frozen=True)
class JPEGSize:
    """Compressibility: minus the kilobytes (1,000 bytes) of each image as a JPEG file.

    Images are `(B, C, H, W)` in [0, 1] with 1 or 3 channels, clipped and rounded to bytes; sizes depend on H, W and a
    little on the version of the encoder. An image with a pixel that is not finite fails. There is no gradient. A
    weight of -1 makes it incompressibility.

    Arguments:
        quality: of the encoder, 1 to 100.

    Raises:
        InputError: if the quality is another number, or the images are something else.

    References:
        Training Diffusion Models with Reinforcement Learning (Black et al., 2023), arXiv:2305.13301.
    """

    quality: int = 95

    def __post_init__(self) -> None:
        if self.quality not in range(1, 101):
            raise InputError(f"JPEGSize(quality={self.quality}): give a whole number from 1 to 100.")

    def __call__(self, images: Any) -> list[Any]:
        return per_sample(lambda image: -_kilobytes(picture(image), "JPEG", quality=self.quality))(pixels(images))


@dataclass(frozen=True)
class PNGSize:
    """As `JPEGSize`, of PNG: minus the kilobytes (1,000 bytes) of each image, where nothing but rounding is lost."""

    def __call__(self, images: Any) -> list[Any]:
        return per_sample(lambda image: -_kilobytes(picture(image), "PNG"))(pixels(images))


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
