"""The pictures of a report, as data URIs that are small however large the objects are."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from .axes import number, safe, shown

__all__ = ["STYLE", "best_objects", "contact_sheet"]

BEST, STEPS, ROW = 16, 24, 16  # most best objects, steps, and objects of a step that are pictured
ROOM = 1_500_000  # bytes of the best objects, and of the contact sheet
SMALL = 6_000  # bytes up to which a PNG stays one
TINY = 96  # side in pixels up to which an image is enlarged pixel by pixel

STYLE = """
.best{display:flex;flex-wrap:wrap;gap:1.4rem 1.2rem;padding:0;margin:0;list-style:none}
.best img{width:9rem;max-width:40vw;height:auto}
.best .tiny,.sheet .tiny{image-rendering:pixelated}
figure.object{margin:0}
.object img{display:block;background:var(--line)}
.object figcaption{font-size:.8rem;line-height:1.35;padding-top:.3rem;font-variant-numeric:tabular-nums}
.object small{display:block;font-size:.75rem;color:var(--soft)}
.sheet{border-collapse:collapse}
.sheet th,.sheet td{border:0;padding:0 .55rem .7rem 0;vertical-align:top}
.sheet th{position:sticky;left:0;z-index:1;background:var(--paper);padding-right:.9rem;text-align:right;
font-weight:400;color:var(--soft);font-variant-numeric:tabular-nums}
.sheet thead th{font-size:.8rem;text-align:left}
.sheet img{width:6rem;height:auto}
.sheet .tiny{width:auto;max-width:6rem}
.sheet .wide{width:auto;height:4rem}
.sheet figcaption{font-size:.72rem}
"""


def best_objects(folder: Path, rewards: Sequence[float], keys: Sequence[Sequence[int]]) -> str:
    """The pictures in best/ with their rewards and keys; empty if there are none."""
    files = sorted((folder / "best").glob("*.png"))[:BEST]
    numbered = [(int(f.stem), image) for f in files if f.stem.isdecimal() and (image := _opened(f)) is not None]
    items = ""
    for (i, image), uri in zip(numbered, _uris([image for _, image in numbered], (320, 224, 144, 96)), strict=True):
        reward = shown(number(rewards[i])) if i < len(rewards) else "–"
        key = f"<small>step {keys[i][0]}, candidate {keys[i][1]}</small>" if i < len(keys) else ""
        items += f"<li>{_figure(image, uri, f'best object {i + 1}, reward {reward}', reward + key)}</li>"
    return f'<ol class="best">{items}</ol>' if items else ""


def contact_sheet(folder: Path) -> str:
    """A row for each pictured step, its objects from best to worst; empty if no step is pictured."""
    files = sorted((int(f.stem), f) for f in (folder / "steps").glob("*.png") if f.stem.isdecimal())
    count = min(len(files), STEPS)
    files = [files[round(i * (len(files) - 1) / max(count - 1, 1))] for i in range(count)]
    rows = [(step, *_tiles(image)) for step, file in files if (image := _opened(file)) is not None]
    uris = iter(_uris([image for _, images, _ in rows for image in images], (160, 96, 64, 40)))
    out = ""
    for step, images, rewards in rows:
        label = "probe" if step == 0 else f"{step:,}"
        out += f'<tr><th scope="row">{label}</th>'
        wide = f' colspan="{len(rewards)}"' if len(images) < len(rewards) else ""
        for i, image in enumerate(images):
            words = "&ensp;".join(shown(r) for r in (rewards if wide else rewards[i : i + 1]))
            out += (
                f"<td{wide}>{_figure(image, next(uris), f'step {step}, object {i + 1}, reward {words}', words)}</td>"
            )
        out += "</tr>"
    head = f'<tr><th scope="col">step</th><th scope="col" colspan="{ROW}">its objects, best first</th></tr>'
    return f'<table class="sheet"><thead>{head}</thead><tbody>{out}</tbody></table>' if out else ""


def _figure(image: Image.Image, uri: str, alt: str, caption: str) -> str:
    look = "tiny" if max(image.size) <= TINY else "wide" if image.width > 3 * image.height else "plain"
    size = f'width="{image.width}" height="{image.height}"'
    return (
        f'<figure class="object"><img class="{look}" src="{uri}" {size} alt="{safe(alt)}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _opened(file: Path) -> Image.Image | None:
    """The image in a file, or nothing if it is damaged."""
    try:
        with Image.open(file) as image:
            image.load()
            words = getattr(image, "text", {})
            plain = image if image.mode in ("L", "RGB") else image.convert("RGB")
            plain.info = {"rewards": words.get("rewards", "[]")}
            return plain.copy()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def _tiles(image: Image.Image) -> tuple[list[Image.Image], list[float]]:
    """The objects of a strip and their rewards; the whole strip if it cannot be cut into equal parts."""
    try:
        told = json.loads(image.info["rewards"])
    except (ValueError, RecursionError):
        told = []
    rewards = [number(r) for r in told[:ROW]] if isinstance(told, list) else []
    if not rewards or image.width % len(rewards):
        return [image], rewards
    wide = image.width // len(rewards)
    return [image.crop((i * wide, 0, (i + 1) * wide, image.height)) for i in range(len(rewards))], rewards


def _uris(images: Sequence[Image.Image], sides: Sequence[int]) -> list[str]:
    """Data URIs of images shrunk to the first side with which all of them fit in the room."""
    out: list[str] = []
    for side in sides:
        out = [_uri(image, side) for image in images]
        if sum(map(len, out)) <= ROOM:
            break
    return out


def _uri(image: Image.Image, side: int) -> str:
    small = image.copy()
    small.thumbnail((8 * side, side))
    kind, data = "png", _encoded(small, "PNG")
    if len(data) > SMALL:
        kind, data = "jpeg", _encoded(small, "JPEG", quality=86)
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _encoded(image: Image.Image, kind: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
