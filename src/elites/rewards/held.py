"""What a reward needs at work, such as connections or processes, and what no copy of it may share."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

__all__ = ["Held"]


class _Closing(Protocol):
    def close(self) -> None: ...


T = TypeVar("T", bound=_Closing)


class Held(Generic[T]):
    """Something made when it is first needed, and closed when its holder is gone or the program ends.

    Copies, pickles and forks start with nothing, and make their own.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: T | None = None
        self._owner = 0
        self._end: Callable[[], Any] | None = None

    def __reduce__(self) -> tuple[type[Held], tuple[()]]:
        return (Held, ())

    def get(self, make: Callable[[], T]) -> T:
        """What is held, made now if need be."""
        with self._lock:
            if self._made is None or self._owner != os.getpid():
                self._made, self._owner = make(), os.getpid()
                self._end = weakref.finalize(self, _close, self._made, self._owner)
            return self._made

    def close(self) -> None:
        """Close what is held; the next `get` makes another."""
        with self._lock:
            if self._end is not None:
                self._end()
            self._made = self._end = None


def _close(made: _Closing, owner: int) -> None:
    if os.getpid() == owner:
        made.close()
