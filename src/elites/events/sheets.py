"""Files of drawings: a PNG strip where all of them are pictures, JSON otherwise; with their rewards and keys."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from ..store import write
from .axes import number
from .drawings import Drawing, packed
from .pictures import strip

__all__ = ["Sheet", "Tile", "opened", "read_sheet", "write_sheet"]

MOST = 16  # objects of a sheet that are shown
LARGEST = 10_000_000  # bytes of a file that is read

Tile = Image.Image | dict[str, Any]


@dataclass(frozen=True)
class Sheet:
    """Some objects, the best first; strangers may have written its file.

    Attributes:
        tiles: a picture or a packed drawing each; one for all where a strip cannot be cut.
        rewards: of each object, NaN where it is not known.
        keys: step and candidate of each object; none if they are not known.
    """

    tiles: list[Tile]
    rewards: list[float]
    keys: list[tuple[int, int]]

    def key(self, i: int) -> tuple[int, int] | None:
        """Step and candidate of object `i`, if they are known."""
        return self.keys[i] if i < len(self.keys) else None


def write_sheet(
    stem: Path, drawings: Sequence[Drawing], rewards: Sequence[float], keys: Sequence[Sequence[int]]
) -> None:
    """Write drawings beside `stem`, with the suffix of what they are.

    Raises:
        StoreError: if the file cannot be written.
    """
    images = [it for it in drawings if isinstance(it, Image.Image)]
    if len(images) == len(drawings):
        write(stem.with_suffix(".png"), strip(images, rewards, keys), sync=False)
        stem.with_suffix(".json").unlink(missing_ok=True)
        return
    told = {"rewards": [float(r) for r in rewards], "keys": [[int(v) for v in key] for key in keys]}
    told["drawings"] = [packed(it) for it in drawings]
    write(stem.with_suffix(".json"), json.dumps(told, ensure_ascii=True).encode(), sync=False)
    stem.with_suffix(".png").unlink(missing_ok=True)


def read_sheet(file: Path) -> Sheet | None:
    """The drawings in a file; nothing if it is damaged."""
    if file.suffix == ".png":
        image = opened(file)
        return None if image is None else _cut(image)
    try:
        if file.stat().st_size > LARGEST:
            return None
        told = json.loads(file.read_text(encoding="utf-8", errors="replace"))
    except (OSError, ValueError, RecursionError):
        return None
    drawings = told.get("drawings") if isinstance(told, dict) else None
    if not isinstance(drawings, list):
        return None
    tiles = [tile for it in drawings[:MOST] if isinstance(it, dict) and (tile := _tile(it)) is not None]
    rewards = _numbers(told.get("rewards")) + [float("nan")] * len(tiles)
    return Sheet(tiles, rewards[: len(tiles)], _keys(told.get("keys"))) if tiles else None


def opened(file: Path | io.BytesIO) -> Image.Image | None:
    """The image in a file, or nothing if it is damaged."""
    try:
        with Image.open(file) as image:
            image.load()
            words = getattr(image, "text", {})
            plain = image if image.mode in ("L", "RGB") else image.convert("RGB")
            plain.info = {name: words.get(name, "[]") for name in ("rewards", "keys")}
            return plain.copy()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def _cut(image: Image.Image) -> Sheet:
    """The objects of a strip; the whole strip if it cannot be cut into equal parts."""
    told: dict[str, Any] = {"rewards": [], "keys": []}
    for name in told:
        with suppress(ValueError, RecursionError):
            told[name] = json.loads(image.info[name])
    rewards, keys = _numbers(told["rewards"]), _keys(told["keys"])
    if not rewards or image.width % len(rewards):
        return Sheet([image], rewards, keys)
    wide = image.width // len(rewards)
    tiles: list[Tile] = [image.crop((i * wide, 0, (i + 1) * wide, image.height)) for i in range(len(rewards))]
    return Sheet(tiles, rewards, keys)


def _tile(it: dict[str, Any]) -> Tile | None:
    if it.get("kind") != "image":
        return it
    with suppress(ValueError, TypeError):
        return opened(io.BytesIO(base64.b64decode(it["png"])))
    return None


def _numbers(told: object) -> list[float]:
    return [number(r) for r in told[:MOST]] if isinstance(told, list) else []


def _keys(told: object) -> list[tuple[int, int]]:
    rows = told[:MOST] if isinstance(told, list) else []
    good = all(isinstance(row, list) and len(row) == 2 and all(type(v) is int for v in row) for row in rows)
    return [(row[0], row[1]) for row in rows] if good else []
