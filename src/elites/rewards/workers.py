"""A function of one object, spread over workers: several are scored at a time while the network draws others."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from queue import SimpleQueue
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..answers import NoScore, Scored, gather, name_of
from ..parallel.crew import Crew
from ..parallel.dispatch import Failed, spread
from ..parallel.pools import Pool
from ..types import InputError
from .basic import is_async
from .held import Held

__all__ = ["Spread"]


@dataclass(frozen=True, eq=False, repr=False)
class Spread:
    """A function of one object as a reward whose objects are scored by the workers of a pool.

        reward = Spread(dock, Processes(8, timeout=600))

    An exception fails the object that caused it and no other. With `Processes`, a call that takes longer than the
    pool's `timeout` is killed, and a worker that dies is replaced; an object over which `deaths` workers died has
    failed. Answers come as they are ready, so a run writes each down at once; the network draws meanwhile. Tensors
    arrive on the CPU, and no gradient passes.

    Arguments:
        f: of one object, at the top of a module for workers that are processes; objects travel to it.
        pool: `Threads`, `Processes` or `Ray`, without `build`.

    Raises:
        InputError: if f is not callable, or is async, or the pool builds something else.
    """

    f: Callable[[Any], Any]
    pool: Pool
    _held: Held[_Desk] = field(default_factory=Held, init=False, repr=False)

    def __post_init__(self) -> None:
        if not callable(self.f):
            raise InputError(f"The function is a {type(self.f).__name__}: give a callable on one object.")
        if is_async(self.f):
            raise InputError(f"{name_of(self.f)} is an async function: use concurrent() instead of Spread.")
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
        """(Position, answer) as answers come; whoever leaves early ends the calls that nobody waits for."""
        desk = self._held.get(lambda: _Desk(self.pool, partial(_Clerk, self.f)))
        over = threading.Event()
        done: SimpleQueue[tuple[int, Future[Any]]] = SimpleQueue()
        futures: list[Future[Any]] = []
        try:
            for i, obj in enumerate(objects):
                futures.append(desk.submit(obj, over))
                futures[i].add_done_callback(partial(_put, done, i))
            for _ in futures:
                i, future = done.get()
                yield i, _Over() if future.cancelled() else future.result()
        finally:
            over.set()
            for future in futures:
                future.cancel()

    def close(self) -> None:
        """End the workers and what they do; they start anew when they are needed again."""
        self._held.close()


def _put(done: SimpleQueue[tuple[int, Future[Any]]], i: int, future: Future[Any]) -> None:
    done.put((i, future))


class _Clerk:
    """What a worker does: the function, as a server."""

    about: dict[str, Any] = {"singly": True}  # noqa: RUF012 (never changed)

    def __init__(self, f: Callable[[Any], Any]) -> None:
        self.f = f

    def __call__(self, call: tuple[int, Any]) -> Iterator[list[tuple[int, Any]]]:
        number, obj = call
        try:
            answer = self.f(obj.tensor if isinstance(obj, _Array) else obj)
            if isinstance(answer, BaseException):
                raise answer
        except (Exception, SystemExit) as error:  # a user's code may raise anything
            answer = Failed(f"{type(error).__name__}: {error}".strip(": "), 1)
        yield [(number, _plain(answer))]


@dataclass(frozen=True, eq=False)
class _Array:
    """A tensor as it travels: by value, and without the rest of its batch."""

    array: np.ndarray

    @property
    def tensor(self) -> Tensor:
        return torch.from_numpy(self.array)


def _plain(answer: Any) -> Any:
    """An answer without tensors, which would travel through memory that is shared with the worker."""
    if isinstance(answer, Scored):
        return Scored(_plain(answer.values), {name: _plain(part) for name, part in answer.terms.items()})
    if isinstance(answer, Tensor):
        answer = answer.detach().cpu()
        return (answer.float() if answer.dtype == torch.bfloat16 else answer).numpy()
    return answer


class _Over(Exception):
    """Nobody waits for the answer any more."""

    def __str__(self) -> str:
        return "the reward was closed"


class _Clock:
    """Seconds; once `over` is true it raises, a single time."""

    def __init__(self, over: Callable[[], bool]) -> None:
        self.over, self.rung = over, False

    def __call__(self) -> float:
        if not self.rung and self.over():
            self.rung = True
            raise _Over
        return time.monotonic()


class _Desk:
    """Crews of one worker each, and as many threads that wait for them."""

    def __init__(self, pool: Pool, serve: Callable[[], _Clerk]) -> None:
        self.single = replace(pool, workers=1, straggler=None)
        self.serve = serve
        self.threads = ThreadPoolExecutor(pool.workers, thread_name_prefix="elites-reward")
        self.free: SimpleQueue[Crew | None] = SimpleQueue()
        self.crews: list[Crew] = []
        self.lock = threading.Lock()
        self.closed = False
        for _ in range(pool.workers):
            self.free.put(None)

    def submit(self, obj: Any, over: threading.Event) -> Future[Any]:
        if isinstance(obj, Tensor) and obj.dtype != torch.bfloat16:
            obj = _Array(np.array(obj.detach().cpu()))
        return self.threads.submit(self._score, obj, over)

    def _score(self, obj: Any, over: threading.Event) -> Any:
        crew = self.free.get()
        clock = _Clock(lambda: self.closed or over.is_set())
        try:
            if crew is None:
                with self.lock:
                    crew = self._start()
            ((_, ((_, answer),)),) = spread(crew, _One(), lambda _, ids: (0, obj), self.single.rules(), 1, clock)
        except Exception as error:  # such as an object that does not travel
            return error
        finally:
            self.free.put(crew)
        return NoScore(answer.reason) if isinstance(answer, Failed) else answer

    def _start(self) -> Crew:
        if self.closed:
            raise _Over
        crew = self.single.start(self.serve)
        self.crews.append(crew)
        return crew

    def close(self) -> None:
        self.closed = True
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
