"""Where workers live: threads, processes, or a Ray cluster.

A pool says how many workers there are, where, and when one is given up. It starts them when they are first needed and
keeps them until it is closed, so several runs can share them. Populations give the same result on every pool, bit for
bit, with any number of workers.
"""

from __future__ import annotations

import math
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ..types import InputError
from .crew import Crew, Server
from .dispatch import Rules
from .processes import ProcessCrew
from .ray import RayCrew
from .threads import ThreadCrew

__all__ = ["Pool", "Processes", "Ray", "Threads"]


@dataclass(frozen=True)
class Pool(ABC):
    """Workers, each of which builds what it needs once.

    Arguments:
        workers: how many.
        build: a function without arguments, at the top of a module, that a worker calls once for what it works with:
            the `Target`, for the pool of a target.
        timeout: seconds without an answer before a worker is given up and replaced; `None` waits for ever.
        straggler: while others idle, a job that takes this many times as long as its like is done by another worker
            too, and the first answer counts; `None` waits.
        deaths: workers that may die over the same object before it has failed.

    Raises:
        InputError: if a number is not positive.
    """

    workers: int
    build: Callable[[], Any] | None = None
    timeout: float | None = None
    straggler: float | None = 10.0
    deaths: int = 2
    _open: list[Crew] = field(default_factory=list, init=False, repr=False, compare=False)
    _lock: Any = field(default_factory=threading.Lock, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        numbers = {"workers": self.workers, "timeout": self.timeout, "deaths": self.deaths}
        for name, value in numbers.items():
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise InputError(f"{name}={value}: give a positive number.")
        if self.straggler is not None and not self.straggler > 1:
            raise InputError(f"straggler={self.straggler}: give a factor above 1, or None.")

    @abstractmethod
    def start(self, serve: Callable[[], Server]) -> Crew:
        """A new crew, each worker of which serves with what `serve` returns."""

    def rules(self, again: int = 0) -> Rules:
        """When a worker is given up, with so many further tries of a silent object."""
        return Rules(self.timeout, self.straggler, self.deaths, again)

    @contextmanager
    def crew(self, serve: Callable[[], Server]) -> Iterator[Crew]:
        """The crew, for one user at a time; it is started the first time, and dropped if something goes wrong."""
        with self._lock:
            if not self._open:
                self._open.append(self.start(serve))
            try:
                yield self._open[0]
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """End the workers; they start anew when they are needed again."""
        while self._open:
            self._open.pop().close()

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_open", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _open=[], _lock=threading.Lock())


@dataclass(frozen=True)
class Threads(Pool):
    """Threads of this process: for rewards that wait for something else. A hung thread cannot be ended."""

    def start(self, serve: Callable[[], Server]) -> Crew:
        return ThreadCrew(self.workers, serve)


@dataclass(frozen=True)
class Processes(Pool):
    """Processes of this machine, which are killed when they hang and replaced when they die.

    Arguments:
        threads: CPU threads of each.
    """

    threads: int = 1

    def start(self, serve: Callable[[], Server]) -> Crew:
        return ProcessCrew(self.workers, serve, self.threads)


@dataclass(frozen=True)
class Ray(Pool):
    """Actors of a Ray cluster; without an address, of one that is started on this machine (extra `ray`).

    Arguments:
        address: of the cluster, such as "auto" or "ray://head:10001".
        cpus, gpus: of each worker; Ray shows a worker only the accelerators that are its own.
        threads: CPU threads of each.
    """

    address: str | None = None
    cpus: float = 1.0
    gpus: float = 0.0
    threads: int = 1

    def start(self, serve: Callable[[], Server]) -> Crew:
        return RayCrew(self.workers, serve, self.address, self.cpus, self.gpus, self.threads)
