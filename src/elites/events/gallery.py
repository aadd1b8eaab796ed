"""The objects of a report, whatever they are: pictures as data URIs that are small, and drawings as SVG and text."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL import Image

from .axes import MISSING, evenly, safe, scrolling, shown
from .record import Record
from .sheets import Sheet, Tile, opened, read_sheet
from .sketches import boxes, drawn_as, legend, scale, sketch

__all__ = ["STYLE", "best_objects", "contact_sheet", "look_of", "shelf", "tiles"]

BEST, STEPS, ACROSS = 12, 16, 8  # most best objects, steps, and objects of a step that are shown
FEW = 3  # objects of a step, where they are text
ROOM = 1_200_000  # bytes of a gallery
DETAIL = (400, 100, 25)  # most points of a line, until all drawings fit in the room
SMALL = 6_000  # bytes up to which a PNG stays one
TINY = 96  # side in pixels up to which an image is enlarged pixel by pixel
TEXTS = ("text", "code")

STYLE = """
.best{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(9rem,40vw),1fr));gap:1.4rem 1.2rem;padding:0;
margin:0;list-style:none}
.best.drawings{grid-template-columns:repeat(auto-fill,minmax(min(13rem,44%),1fr))}
.best.texts{grid-template-columns:repeat(auto-fill,minmax(min(24rem,100%),1fr));gap:1.6rem 2rem}
.best img{width:100%;max-width:12rem;height:auto}
.best .tiny,.sheet .tiny,.lineage .tiny{image-rendering:pixelated}
figure.object{margin:0}
.object img{display:block;background:var(--field);border-radius:.15rem}
.object figcaption{font-size:.8rem;line-height:1.35;padding-top:.35rem;font-variant-numeric:tabular-nums}
.object small{display:block;font-size:.75rem;color:var(--soft)}
.sheet{border-collapse:collapse}
.sheet th,.sheet td{border:0;padding:0 .55rem .7rem 0;vertical-align:top}
.sheet tbody th{position:sticky;left:0;z-index:1;background:var(--paper);padding-right:.9rem;text-align:right;
font-weight:400;color:var(--soft);font-variant-numeric:tabular-nums}
.sheet thead th{font-size:.8rem;text-align:left;color:var(--soft)}
.sheet img{width:5.4rem;height:auto}
.sheet .tiny{width:auto;max-width:5.4rem}
.sheet .wide{width:auto;height:4rem}
.sheet .drawn{width:6.2rem}
.sheet .words{width:14rem;font-size:.78rem}
.sheet .smiles,.sheet code.words{width:6.2rem}
.sheet figcaption{font-size:.72rem}
@media (max-width:34rem){.sheet tbody th{padding-right:.5rem}}
"""


@dataclass(frozen=True)
class Shown:
    """The HTML of some tiles, and what to say of all of them."""

    html: list[str]
    note: str
    legend: str


def shelf(folder: Path) -> dict[int, Path]:
    """The files of drawings in a folder, by their number."""
    found = sorted(f for f in folder.glob("*") if f.suffix in (".png", ".json") and f.stem.isdecimal())
    return {int(f.stem): f for f in found}


def tiles(given: Sequence[Tile], labels: Sequence[str], sides: Sequence[int], letters: int = 1_500) -> Shown:
    """HTML of tiles in one frame, with alternative texts.

    Arguments:
        given: pictures and packed drawings.
        labels: what each is, in words.
        sides: of the pictures in pixels, from the largest; the first with which all of them fit is taken.
        letters: most of a text.
    """
    drawings = [it for it in given if not isinstance(it, Image.Image)]
    frames = boxes(drawings)
    images = [it for it in given if isinstance(it, Image.Image)]
    uris = iter(_uris(images, sides))
    named = [(it, label) for it, label in zip(given, labels, strict=True) if not isinstance(it, Image.Image)]
    drawn: list[str] = []
    for points in DETAIL:
        drawn = [sketch(it, frames[drawn_as(it)], label, letters, points) for it, label in named]
        if sum(map(len, drawn)) <= ROOM:
            break
    sketches = iter(drawn)
    html = [
        _image(it, next(uris), label) if isinstance(it, Image.Image) else next(sketches)
        for it, label in zip(given, labels, strict=True)
    ]
    lined = [frames[k] for k in ("trajectory", "series") if k in frames]
    return Shown(html, scale(drawings, lined[0]) if len(lined) == 1 else "", legend(drawings))


def best_objects(run: Record) -> str:
    """The best objects with their rewards and keys; those of the last step that was drawn while a run goes on."""
    sheet, words = _best(run)
    if sheet is None:
        return ""
    groups = _alike(sheet.tiles)[:BEST]
    label = [f"object {first + 1}, reward {_reward(sheet, first)}" for first, *_ in groups]
    made = tiles([sheet.tiles[first] for first, *_ in groups], label, (320, 224, 144, 96), letters=800)
    items = ""
    for html, (first, *others) in zip(made.html, groups, strict=True):
        key = sheet.key(first)
        small = f"<small>step {key[0]}, candidate {key[1]}</small>" if key else ""
        small += f"<small>and {len(others)} more that look the same</small>" if others else ""
        caption = f"<figcaption>{_reward(sheet, first)}{small}</figcaption>"
        items += f'<li><figure class="object">{html}{caption}</figure></li>'
    note = f'<p class="note">{made.note}</p>' if made.note else ""
    return f'{words}{made.legend}<ol class="best {look_of(sheet.tiles)}">{items}</ol>{note}'


def contact_sheet(run: Record) -> str:
    """A row for each step that was drawn, its objects from best to worst; empty if there is none."""
    files = evenly(list(shelf(run.path / "steps").items()), STEPS)
    rows = [(step, sheet) for step, file in files if (sheet := read_sheet(file)) is not None]
    if not rows:
        return ""
    texts = any(not isinstance(t, Image.Image) and drawn_as(t) in TEXTS for _, sheet in rows for t in sheet.tiles)
    most = FEW if texts else ACROSS
    every = [
        (tile, f"step {step}, object {i + 1}, reward {_words(sheet, i)}")
        for step, sheet in rows
        for i, tile in enumerate(sheet.tiles[:most])
    ]
    made = tiles([t for t, _ in every], [label for _, label in every], (160, 96, 64, 40), letters=160)
    html = iter(made.html)
    out = ""
    for step, sheet in rows:
        out += f'<tr><th scope="row">{"probe" if step == 0 else f"{step:,}"}</th>'
        whole = len(sheet.tiles) < len(sheet.rewards)  # one picture of them all
        for i in range(len(sheet.tiles[:most])):
            wide = f' colspan="{min(len(sheet.rewards), most)}"' if whole else ""
            caption = f"<figcaption>{_words(sheet, i)}</figcaption>"
            out += f'<td{wide}><figure class="object">{next(html)}{caption}</figure></td>'
        out += "</tr>"
    head = f'<tr><th scope="col">step</th><th scope="col" colspan="{most}">its objects, best first</th></tr>'
    table = f'<table class="sheet"><thead>{head}</thead><tbody>{out}</tbody></table>'
    note = f'<p class="note">{made.note}</p>' if made.note else ""
    return made.legend + scrolling("Best by step", table) + note


def _best(run: Record) -> tuple[Sheet | None, str]:
    """What is to be shown as the best, and what to say of it."""
    if not run.result:
        files = shelf(run.path / "steps")
        step = max(files, default=0)
        sheet = read_sheet(files[step]) if files else None
        when = f"step {step:,}" if step else "the probe"
        return sheet, f'<p class="note">The best of {when}, the last that was drawn: the run has not ended.</p>'
    folder = run.path / "best"
    if (file := folder / "objects.json").exists() and (sheet := read_sheet(file)) is not None:
        return sheet, ""
    images = [(i, image) for i, f in list(shelf(folder).items())[:BEST] if f.suffix == ".png" and (image := opened(f))]
    rewards = [run.rewards[i] if i < len(run.rewards) else float("nan") for i, _ in images]
    keys = [(run.keys[i][0], run.keys[i][1]) for i, _ in images if i < len(run.keys)]
    return (Sheet([image for _, image in images], rewards, keys), "") if images else (None, "")


def _alike(given: Sequence[Tile]) -> list[list[int]]:
    """The indices of tiles, those of equal drawings together; pictures stay apart."""
    groups: dict[str, list[int]] = {}
    for i, it in enumerate(given):
        groups.setdefault(str(i) if isinstance(it, Image.Image) else repr(it), []).append(i)
    return list(groups.values())


def _reward(sheet: Sheet, i: int) -> str:
    return shown(sheet.rewards[i]) if i < len(sheet.rewards) else MISSING


def look_of(given: Sequence[Tile]) -> str:
    """The class of a gallery of tiles like these."""
    kinds = {"image" if isinstance(it, Image.Image) else drawn_as(it) for it in given}
    return "texts" if kinds & set(TEXTS) else "drawings" if kinds - {"image"} else ""


def _words(sheet: Sheet, i: int) -> str:
    """The reward of a tile; all of them, if the tile is all objects."""
    whole = len(sheet.tiles) < len(sheet.rewards)
    return "\u2002".join(shown(r) for r in (sheet.rewards if whole else sheet.rewards[i : i + 1]))


def _image(image: Image.Image, uri: str, alt: str) -> str:
    look = "tiny" if max(image.size) <= TINY else "wide" if image.width > 3 * image.height else "plain"
    return f'<img class="{look}" src="{uri}" width="{image.width}" height="{image.height}" alt="{safe(alt)}">'


def _uris(images: Sequence[Image.Image], sides: Sequence[int]) -> list[str]:
    """Data URIs of images shrunk to the first side with which all of them fit in the room."""
    out: list[str] = []
    for side in sides:
        out = [_uri(image, side) for image in images]
        if sum(map(len, out)) <= ROOM:
            break
    return out


def _uri(image: Image.Image, side: int) -> str:
    return _uri_of(image.mode, image.size, image.tobytes(), side)


@lru_cache(maxsize=512)  # a live page asks for the same pictures again and again
def _uri_of(mode: str, size: tuple[int, int], data: bytes, side: int) -> str:
    small = Image.frombytes(mode, size, data)
    small.thumbnail((8 * side, side))
    kind, code = "png", _encoded(small, "PNG")
    if len(code) > SMALL:
        kind, code = "jpeg", _encoded(small, "JPEG", quality=86)
    return f"data:image/{kind};base64,{base64.b64encode(code).decode()}"


def _encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
