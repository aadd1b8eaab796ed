"""What was measured on the best sample of a run, until another one is the best."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..types import Event, Samples, Setup

__all__ = ["Latest"]


class Latest:
    """Numbers of the best sample; they are worked out once for each, and once more for the finalists."""

    def __init__(self) -> None:
        self._setup: Setup | None = None  # kept, so that no other can have its id
        self._seen: tuple[Any, ...] = ()
        self.values: dict[str, float] = {}

    def of(self, event: Event, measure: Callable[[Event, Samples], dict[str, float]]) -> dict[str, float]:
        """The numbers of the best so far; none while nothing could be ranked."""
        best = event.best
        if best is None or not len(best):
            return {}
        key = (*best.keys[0].tolist(), "final" in event.row)
        if key != self._seen or event.setup is not self._setup:
            self.values = measure(event, best[:1])
            self._seen, self._setup = key, event.setup
        return self.values
