"""A function of one object, spread over workers: several are scored at a time while the network draws others."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from queue import SimpleQueue
from typing import Any

from ..answers import NoScore, gather
from ..parallel.crew import Crew
from ..parallel.dispatch import Failed, WorkerError, spread
from ..parallel.pools import Pool
from ..types import InputError
from .basic import name_of
from .held import Held

__all__ = ["Spread"]


@dataclass(frozen=True, eq=False, repr=False)
class Spread:
    """A function of one object as a reward whose objects are scored by the workers of a pool.

        reward = Spread(dock, Processes(8, timeout=600))

    An exception fails the object that caused it and no other. With `Processes`, a call that takes longer than the
    pool's `timeout` is killed, and a worker that dies is replaced; an object over which `deaths` workers died has
    failed. Answers come as they are ready, so a run writes each down at once; the network draws meanwhile.

    Arguments:
        f: of one object, at the top of a module for workers that are processes; objects travel to it.
        pool: `Threads`, `Processes` or `Ray`, without `build`.

    Raises:
        InputError: if f is not callable, or the pool builds something else.
    """

    f: Callable[[Any], Any]
    pool: Pool
    _held: Held[_Desk] = field(default_factory=Held, init=False, repr=False)

    def __post_init__(self) -> None:
        if not callable(self.f):
            raise InputError(f"The function is a {type(self.f).__name__}: give a callable on one object.")
        if self.pool.build is not None:
            raise InputError("The pool of a reward builds the reward: leave out build=.")

    def __repr__(self) -> str:
        return f"Spread({name_of(self.f)})"

    @property
    def width(self) -> int:
        """Objects that it works on at a time."""
        return self.pool.workers

    def __call__(self, objects: Any) -> list[Any]:
        """The answers in order."""
        return gather(self.each(objects), len(objects))

    def each(self, objects: Any) -> Iterator[tuple[int, Any]]:
        """(Position, answer) as answers come."""
        desk = self._held.get(lambda: _Desk(self.pool, partial(_Clerk, self.f)))
        futures = {desk.submit(obj): i for i, obj in enumerate(objects)}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            for future in futures:
                future.cancel()

    def close(self) -> None:
        """End the workers; they start anew when they are needed again."""
        self._held.close()


class _Clerk:
    """What a worker does: the function, as a server."""

    about: dict[str, Any] = {"singly": True}  # noqa: RUF012 (never changed)

    def __init__(self, f: Callable[[Any], Any]) -> None:
        self.f = f

    def __call__(self, call: tuple[int, Any]) -> Iterator[list[tuple[int, Any]]]:
        try:
            answer = self.f(call[1])
        except (Exception, SystemExit) as error:  # a user's code may raise anything
            answer = Failed(f"{type(error).__name__}: {error}".strip(": "), 1)
        yield [(call[0], answer)]


class _Desk:
    """Crews of one worker each, and as many threads that wait for them."""

    def __init__(self, pool: Pool, serve: Callable[[], _Clerk]) -> None:
        self.single = replace(pool, workers=1, straggler=None)
        self.serve = serve
        self.threads = ThreadPoolExecutor(pool.workers, thread_name_prefix="elites-reward")
        self.free: SimpleQueue[Crew | None] = SimpleQueue()
        self.crews: list[Crew] = []
        self.lock = threading.Lock()
        for _ in range(pool.workers):
            self.free.put(None)

    def submit(self, obj: Any) -> Future[Any]:
        return self.threads.submit(self._score, obj)

    def _score(self, obj: Any) -> Any:
        crew = self.free.get()
        try:
            if crew is None:
                crew = self.single.start(self.serve)
                with self.lock:
                    self.crews.append(crew)
            ((_, ((_, answer),)),) = spread(crew, _One(), lambda _, ids: (0, obj), self.single.rules(), 1)
        except WorkerError as error:
            return error
        finally:
            self.free.put(crew)
        return NoScore(answer.reason) if isinstance(answer, Failed) else answer

    def close(self) -> None:
        self.threads.shutdown(wait=False, cancel_futures=True)
        with self.lock:
            for crew in self.crews:
                with suppress(Exception):
                    crew.close()


@dataclass
class _One:
    """A source of one item."""

    left: int = 1

    def take(self, n: int) -> list[int]:
        out, self.left = [0] * self.left, 0
        return out
