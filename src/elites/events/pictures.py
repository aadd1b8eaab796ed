"""Objects as pictures, where they are any."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin
from torch import Tensor

__all__ = ["joined", "picture", "png", "strip"]

SMALL, LARGE = 64, 160  # sides of a thumbnail in pixels
FRAMES = 6  # most frames of a video


def picture(thing: Any) -> Image.Image | None:
    """The image of a PIL image, or of an array `(C, H, W)` or `(H, W, C)` in [0, 1] or uint8, where C is 1 or 3.

    A video `(F, C, H, W)` or `(F, H, W, C)` is some of its frames side by side. Anything else gives nothing.
    """
    if isinstance(thing, Image.Image):
        return thing if thing.mode in ("L", "RGB") else thing.convert("RGB")
    if not isinstance(thing, Tensor | np.ndarray) or thing.ndim not in (3, 4) or 0 in thing.shape:
        return None
    if thing.ndim == 4:
        some = np.unique(np.linspace(0, len(thing) - 1, min(FRAMES, len(thing))).round().astype(int))
        frames = [picture(thing[int(i)]) for i in some]
        return None if None in frames else _row([f for f in frames if f is not None])
    array = (
        (thing.detach().cpu().float().numpy() if thing.is_floating_point() else thing.cpu().numpy())
        if isinstance(thing, Tensor)
        else thing
    )
    if array.shape[0] in (1, 3):
        array = array.transpose(1, 2, 0)
    elif array.shape[2] not in (1, 3):
        return None
    if array.dtype.kind not in "fiub":
        return None
    whole = array.dtype == np.uint8  # already 0 to 255
    pixels = array if whole else (np.nan_to_num(array.astype(float)).clip(0, 1) * 255).round().astype(np.uint8)
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def strip(images: Sequence[Image.Image], rewards: Sequence[float], keys: Sequence[Sequence[int]] = ()) -> bytes:
    """PNG of thumbnails side by side, with their rewards and keys in its text."""
    text = PngImagePlugin.PngInfo()
    text.add_text("rewards", json.dumps([float(r) for r in rewards]))
    text.add_text("keys", json.dumps([[int(v) for v in key] for key in keys]))
    return _encoded(joined(images), text)


def joined(images: Sequence[Image.Image]) -> Image.Image:
    """Thumbnails side by side."""
    return _row([_thumbnail(image) for image in images])


def png(image: Image.Image, most: int | None = None) -> bytes:
    """PNG of one image, tiny ones enlarged by a whole factor, and ones above `most` pixels shrunk."""
    shrunk = max(image.size) < SMALL or (most is not None and max(image.size) > most)
    return _encoded(_thumbnail(image) if shrunk else image, None)


def _row(images: Sequence[Image.Image]) -> Image.Image:
    mode = "RGB" if len({i.mode for i in images}) > 1 else images[0].mode
    out = Image.new(mode, (sum(i.width for i in images), max(i.height for i in images)))
    left = 0
    for image in images:
        out.paste(image, (left, 0))
        left += image.width
    return out


def _thumbnail(image: Image.Image) -> Image.Image:
    side = max(image.size)
    if side < SMALL:
        factor = -(-SMALL // side)
        return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    if side <= LARGE:
        return image
    shrunk = (image.width * LARGE // side or 1, image.height * LARGE // side or 1)
    return image.resize(shrunk, Image.Resampling.LANCZOS)


def _encoded(image: Image.Image, text: PngImagePlugin.PngInfo | None) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=text)
    return buffer.getvalue()
