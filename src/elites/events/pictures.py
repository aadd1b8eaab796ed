"""Objects as pictures, where they are any."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin
from torch import Tensor

from ..target import Target
from ..types import Event, Samples

__all__ = ["decoded", "due", "joined", "of_step", "pictures", "png", "strip", "tiles"]

SHOWN = 8  # objects pictured per step
SMALL, LARGE = 64, 160  # sides of a thumbnail in pixels


def pictures(objects: Any) -> list[Image.Image]:
    """Images of a batch `(n, C, H, W)` or `(n, H, W, C)`, in [0, 1] or uint8, or of a list of images or PIL images.

    C is 1 or 3. Objects of another kind give an empty list.
    """
    if isinstance(objects, list | tuple) and objects and all(isinstance(o, Image.Image) for o in objects):
        return [o.convert("RGB") for o in objects]
    if isinstance(objects, list | tuple) and objects and all(isinstance(o, Tensor | np.ndarray) for o in objects):
        return [p for o in objects for p in pictures(o[None])]
    if not isinstance(objects, Tensor | np.ndarray) or objects.ndim != 4:
        return []
    array = objects.detach().cpu().numpy() if isinstance(objects, Tensor) else objects
    if array.shape[1] in (1, 3):
        array = array.transpose(0, 2, 3, 1)
    elif array.shape[3] not in (1, 3):
        return []
    whole = array.dtype == np.uint8  # already 0 to 255
    pixels = array if whole else (np.nan_to_num(array.astype(float)).clip(0, 1) * 255).round().astype(np.uint8)
    return [Image.fromarray(p[..., 0] if p.shape[-1] == 1 else p) for p in pixels]


def _thumbnail(image: Image.Image) -> Image.Image:
    side = max(image.size)
    if side < SMALL:
        factor = -(-SMALL // side)
        return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    return (
        image
        if side <= LARGE
        else image.resize(
            (image.width * LARGE // side or 1, image.height * LARGE // side or 1), Image.Resampling.LANCZOS
        )
    )


def due(step: int) -> bool:
    """Whether a step is pictured: a tenth of a decade apart, so that a long run keeps a readable number of them."""
    return step < 2 or math.floor(10 * math.log10(step)) > math.floor(10 * math.log10(step - 1))


def decoded(target: Target, samples: Samples) -> list[Any]:
    """The objects of samples, a decoder batch at a time."""
    size = target.decode_batch
    return [obj for i in range(0, len(samples), size) for obj in target.decode(samples.x[i : i + size])]


def of_step(event: Event) -> tuple[list[Image.Image], list[float]]:
    """Images of the best objects of a step, with their rewards; none where objects are no images."""
    if event.info.samples is None:
        return [], []
    top = event.info.samples.top(SHOWN)
    return (pictures(decoded(event.setup.target, top)), top.reward.tolist()) if len(top) else ([], [])


def joined(images: Sequence[Image.Image]) -> Image.Image:
    """Thumbnails side by side."""
    small = [_thumbnail(image) for image in images]
    out = Image.new(small[0].mode, (sum(i.width for i in small), max(i.height for i in small)))
    left = 0
    for image in small:
        out.paste(image, (left, 0))
        left += image.width
    return out


def strip(images: Sequence[Image.Image], rewards: Sequence[float]) -> bytes:
    """PNG of thumbnails side by side, with their rewards in its text."""
    text = PngImagePlugin.PngInfo()
    text.add_text("rewards", json.dumps([float(r) for r in rewards]))
    return _encoded(joined(images), text)


def tiles(file: Path) -> tuple[list[Image.Image], list[float]]:
    """The thumbnails of a strip and their rewards; nothing of a file that is damaged or no strip."""
    try:
        with Image.open(file) as image:
            image.load()
            rewards = [float(r) for r in json.loads(getattr(image, "text", {}).get("rewards", "[]"))]
            wide = image.width // max(len(rewards), 1)
            plain = image if image.mode in ("L", "RGB") else image.convert("RGB")
            return [plain.crop((i * wide, 0, (i + 1) * wide, image.height)) for i in range(len(rewards))], rewards
    except (OSError, ValueError, TypeError, SyntaxError, Image.DecompressionBombError):
        return [], []


def png(image: Image.Image) -> bytes:
    """PNG of one image, tiny ones enlarged by a whole factor."""
    return _encoded(_thumbnail(image) if max(image.size) < SMALL else image, None)


def _encoded(image: Image.Image, text: PngImagePlugin.PngInfo | None) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=text)
    return buffer.getvalue()
