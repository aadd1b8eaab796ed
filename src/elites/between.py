"""Between two steps: whether a run ends before its budget does, waits for a person, or goes on with a saved one."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from .run import Start

__all__ = ["Ender", "Heir", "Pauser", "asked", "between", "inherit"]

WAIT = 0.2  # seconds between two questions of a run that waits


@runtime_checkable
class Ender(Protocol):
    """A subscriber that may end the run, such as an alarm."""

    def ends(self) -> str:
        """Asked after each event and while the run waits: why it is to end, or nothing to go on."""


@runtime_checkable
class Pauser(Protocol):
    """A subscriber that may let the run wait, such as a page that a person watches."""

    def pauses(self) -> bool:
        """Asked after each event and while the run waits, after `ends` of all: whether it is to wait."""


@runtime_checkable
class Heir(Protocol):
    """A subscriber that has to know what a saved run has seen before it goes on, such as an alarm."""

    def inherits(self, start: Start) -> None:
        """Told before the first event, where the run has a history."""


def inherit(on: Sequence[object], start: Start) -> None:
    """Tell the subscribers that ask for it where a saved run stood."""
    for subscriber in on:
        if start.history and isinstance(subscriber, Heir):
            subscriber.inherits(start)


def asked(on: Sequence[object]) -> tuple[list[Ender], list[Pauser]]:
    """The subscribers that `between` is to ask: looked up once, as it is slow."""
    return [s for s in on if isinstance(s, Ender)], [s for s in on if isinstance(s, Pauser)]


def between(enders: Sequence[Ender], pausers: Sequence[Pauser], stop: Callable[[], bool] | None) -> tuple[str, float]:
    """Why a run is to end, empty to go on, and the seconds that it has waited before that was known."""
    began: float | None = None
    while True:
        why = next((why for s in enders if (why := s.ends())), "")
        if stop is not None and stop():
            why = "interrupted"
        if why or not any(s.pauses() for s in pausers):
            return why, 0.0 if began is None else time.monotonic() - began
        began = time.monotonic() if began is None else began
        time.sleep(WAIT)
