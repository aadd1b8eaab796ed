"""One line that says how a run is going."""

from __future__ import annotations

import math
import time

from rich.console import Console
from rich.live import Live
from rich.text import Text

from ..probe import describe
from ..types import Budget, Event, Meter

__all__ = ["Progress"]


class Progress:
    """Subscriber that shows step, best, mean, what is spent of the budget, objects per second and time left.

    A terminal gets one live line; anything else gets plain lines, `seconds` apart.

    Arguments:
        seconds: least time between two plain lines.
        console: where to write; standard error by default.
    """

    def __init__(self, *, seconds: float = 2.0, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False)
        self.seconds = seconds
        self._live: Live | None = None
        self._shown = -math.inf
        self._first: Meter | None = None

    def __call__(self, event: Event) -> None:
        """Show the event."""
        if event.result is not None:
            self._end(event)
            return
        if event.step == 0 and "sd" in event.row:
            self.console.print(describe(event.row), soft_wrap=True)
        self._first = self._first or event.meter
        line = self._line(event)
        if self.console.is_terminal:
            if self._live is None:
                self._live = Live(console=self.console, refresh_per_second=8, transient=True)
                self._live.start()
            self._live.update(Text(line, no_wrap=True, overflow="ellipsis"))
        elif time.monotonic() - self._shown >= self.seconds:
            self.console.print(line, soft_wrap=True)
            self._shown = time.monotonic()

    def _line(self, event: Event) -> str:
        row, meter = event.row, event.meter
        numbers = "  ".join(f"{name} {row[name]:.4g}" for name in ("best", "mean") if name in row)
        share, spent = _spent(event.setup.budget, meter, event.step)
        since = meter - (self._first or meter)
        speed = f"  {since.rewards / since.seconds:.3g} objects/s" if since.rewards and since.seconds > 0 else ""
        left = f"  {_clock(meter.seconds * (1 / share - 1))} left" if event.step and share > 0 else ""
        return f"step {event.step}  {numbers}  {spent}{speed}{left}"

    def close(self) -> None:
        """Give the terminal back; a run that ends with an error needs it."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _end(self, event: Event) -> None:
        self.close()
        result = event.result
        assert result is not None
        best = f"best {float(result.best.reward[0]):.6g}" if len(result.best) else "nothing scored"
        failures = f", {len(result.failures)} failures" if result.failures else ""
        self.console.print(
            f"step {event.step}: {best} after {result.meter.nfe:,} network evaluations and {result.meter.rewards:,} "
            f"rewards in {_clock(result.meter.seconds)}{failures}; {result.stopped}.",
            soft_wrap=True,
        )


def _spent(budget: Budget, meter: Meter, step: int) -> tuple[float, str]:
    """The share of the budget that is spent, by its scarcest limit, and how to say so."""
    parts = []
    for name, word in (("nfe", "nfe"), ("rewards", "rewards"), ("seconds", "s")):
        used, limit = getattr(meter, name), getattr(budget, name)
        if limit is not None:
            parts.append((used / limit, f"{used:,.0f}/{limit:,.0f} {word}"))
    if budget.steps is not None:
        parts.append((step / budget.steps, f"{step}/{budget.steps} steps"))
    return max(parts) if parts else (0.0, f"{meter.nfe:,} nfe")


def _clock(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d} min"
