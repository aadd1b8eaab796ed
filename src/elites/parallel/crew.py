"""What a set of workers is: numbered, each with something that it built once, each serving one call at a time.

A call is answered by a stream of messages. A crew only moves messages and replaces workers; what to do about silence,
deaths and stragglers is decided in `dispatch`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

__all__ = [
    "ANSWER",
    "BROKEN",
    "DONE",
    "LOST",
    "RAISED",
    "READY",
    "Crew",
    "Message",
    "Server",
    "enter",
    "worker_number",
]

READY, ANSWER, DONE, RAISED, LOST, BROKEN = range(6)

Server = Callable[[Any], Iterable[Any]]  # what a worker builds: a call to its answers

_here = threading.local()
_process: list[int] = []  # the number of a worker that is a process


@dataclass(frozen=True)
class Message:
    """What is heard from a worker.

    `READY` and `DONE` carry what the server says of itself, `ANSWER` an answer, `RAISED` what the server raised,
    `LOST` why the worker died, `BROKEN` why it could not be built. A worker that was started anew is ready once more
    when it says so.
    """

    worker: int
    kind: int
    value: Any = None


class Crew(Protocol):
    """Workers 0 to size - 1."""

    @property
    def size(self) -> int:
        """How many there are."""

    @property
    def lives(self) -> list[int]:
        """How often each was started: what a worker knew is gone when its number changes."""

    @property
    def about(self) -> list[dict[str, Any] | None]:
        """What each said of itself last, as far as `wait` has told; `None` until it is ready."""

    def send(self, worker: int, call: Any) -> None:
        """Begin a call on an idle worker.

        Raises:
            InputError: if the call cannot be sent.
        """

    def wait(self, seconds: float | None) -> list[Message]:
        """What was heard, waiting at most so long for something; a lost worker has been replaced by then."""

    def replace(self, worker: int) -> None:
        """Give up a worker and what it does, and start another under its number."""

    def close(self) -> None:
        """End all workers for good: from here on, `wait` hears nothing and `replace` starts none."""


def worker_number() -> int | None:
    """The number of the worker that runs this, from 0, or `None` in the driver; a factory can pick a device by it."""
    return getattr(_here, "number", _process[0] if _process else None)


def enter(number: int, *, process: bool = False) -> None:
    """This thread, or the whole process, is a worker from here on."""
    _here.number = number
    if process:
        _process.append(number)
