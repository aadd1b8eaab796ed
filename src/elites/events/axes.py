"""Numbers and words of a report: how they are written, and the axes that numbers lie on."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, TypeVar

__all__ = ["MISSING", "Axis", "brief", "clean", "evenly", "number", "safe", "scrolling", "shown", "thinned"]

MISSING = "–"  # what stands for NaN
POINTS = 400  # most points of a curve
T = TypeVar("T")


def clean(text: object, most: int = 4000, lines: bool = False) -> str:
    """Text of a stranger without characters that steer direction or control, and cut if long.

    Lines are joined, unless `lines` says that they stay.
    """
    words = str(text)
    words = words if len(words) <= most else words[:most] + "…"
    if lines:
        return "\n".join(clean(line, most + 1) for line in words.split("\n"))
    kept = (" " if c in "\n\r\t" else c for c in words)
    return "".join(c for c in kept if c in "\u200c\u200d" or unicodedata.category(c) not in ("Cc", "Cf", "Cs"))


def safe(text: object, most: int = 4000, lines: bool = False) -> str:
    """Text of a stranger for HTML: `clean`, and escaped."""
    return escape(clean(text, most, lines))


def scrolling(label: str, html: str) -> str:
    """HTML that may be wider than the page, in a frame that a keyboard reaches."""
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{safe(label)}">{html}</div>'


def number(value: Any) -> float:
    """A float of whatever stood in a file; NaN for what is no number, or none that can be drawn."""
    try:
        out = float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan
    return out if abs(out) < 1e100 else math.nan


def shown(value: float) -> str:
    """A number for people; a dash for NaN."""
    if not math.isfinite(value):
        return MISSING
    if abs(value) < 1e9 and (value == round(value) or abs(value) >= 1e4):
        text = f"{value:,.0f}"
    else:
        text = f"{value:#.4g}".rstrip(".")
    return text.replace("-", "−")


def brief(value: float) -> str:
    """A number for a sentence, to three digits; a dash for NaN."""
    return f"{value:.3g}".replace("-", "−") if math.isfinite(value) else MISSING


@dataclass(frozen=True)
class Axis:
    """A range of numbers with a label."""

    label: str
    low: float
    high: float
    whole: bool = False

    @classmethod
    def around(
        cls, label: str, values: Iterable[float], *, least: float = 0.0, pad: float = 0.04, whole: bool = False
    ) -> Axis:
        """The axis that holds all finite values, `least` wide at least, and never of no width."""
        good = [v for v in values if math.isfinite(v)] or [0.0, 1.0]
        low, high = min(good), max(good)
        scale = max(abs(low), abs(high))
        if high - low <= max(1e-6 * scale, 1e-100):  # all equal, up to the noise of float32
            least = max(least, 1.0 if whole else 0.2 * scale or 1.0)
        if high - low < least:
            middle = (low + high) / 2
            low, high = (low, low + least) if whole else (middle - least / 2, middle + least / 2)
        margin = pad * (high - low)
        return cls(label, low - margin, high + margin, whole)

    def place(self, value: float) -> float:
        """The value as a fraction of the axis."""
        return (value - self.low) / (self.high - self.low)

    def ticks(self, about: int = 5) -> list[tuple[float, str]]:
        """Round values with their labels."""
        raw = (self.high - self.low) / about
        power = 10.0 ** math.floor(math.log10(raw))
        step = next((m * power for m in (1, 2, 5) if m * power >= raw), 10 * power)
        step = max(step, 1.0) if self.whole else step
        digits = max(0, -math.floor(math.log10(step) + 1e-9))
        found = (k * step for k in range(math.ceil(self.low / step), math.floor(self.high / step) + 1))
        return [(v, self._label(v, digits)) for v in found]

    def _label(self, value: float, digits: int) -> str:
        text = f"{value:,.{digits}f}"
        return (text if len(text) <= 9 else f"{value:.4g}").replace("-", "−")


def evenly(items: Sequence[T], most: int) -> list[T]:
    """At most `most` items, the first and the last of them, and others as far apart as they can be."""
    count = min(len(items), most)
    return [items[round(i * (len(items) - 1) / max(count - 1, 1))] for i in range(count)]


def thinned(y: Sequence[float], most: int = POINTS) -> list[int]:
    """At most `most` indices of a curve, and its ends, that keep its peaks and its troughs."""
    n = len(y)
    if n <= most:
        return list(range(n))
    kept: list[int] = []
    buckets = most // 2 - 1
    for b in range(buckets):
        part = range(b * n // buckets, (b + 1) * n // buckets)
        good = [i for i in part if math.isfinite(y[i])]
        kept += sorted({min(good, key=y.__getitem__), max(good, key=y.__getitem__)}) if good else part[:1]
    return sorted({0, *kept, n - 1})
