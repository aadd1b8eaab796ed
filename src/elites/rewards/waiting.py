"""Rewards of async functions, which wait for many answers at a time."""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any

import torch

from ..answers import gather, name_of
from ..types import InputError
from .basic import dress, goes_by_its_name, is_async

__all__ = ["Concurrent", "awaited", "concurrent"]

_FIRST = threading.Lock()


@dataclass(frozen=True, eq=False, repr=False)
class Concurrent:
    """An async function of one object as a reward of a batch, made by `concurrent`, which says what the fields are."""

    f: Callable[[Any], Coroutine[Any, Any, Any]]
    limit: int = 16
    timeout: float | None = None
    _turns: dict[asyncio.AbstractEventLoop, asyncio.Semaphore] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        if not is_async(self.f):
            raise InputError(f"{name_of(self.f)} is not async: give an `async def`, or use per_sample.")
        if self.limit < 1 or (self.timeout is not None and not self.timeout > 0):
            raise InputError(f"limit={self.limit}, timeout={self.timeout}: give positive numbers.")
        dress(self, self.f)

    def __repr__(self) -> str:
        return f"concurrent({name_of(self.f)})"  # the limits change no score

    def __reduce__(self) -> str | tuple[Any, ...]:
        if goes_by_its_name(self):
            return vars(self)["__qualname__"]
        return Concurrent, (self.f, self.limit, self.timeout)

    @property
    def width(self) -> int:
        """Calls at a time."""
        return self.limit

    def __call__(self, objects: Any) -> list[Any]:
        """The answers about all objects in order, an exception in the place of each that failed."""
        return gather(self.each(objects), len(objects))

    def each(self, objects: Any) -> Iterator[tuple[int, Any]]:
        """(Position, answer) as answers come; calls in flight are cancelled if nobody waits for them any more."""
        loop = _loop()
        turns = self._turns.setdefault(loop, asyncio.Semaphore(self.limit))
        pending = enumerate(objects)
        answers: SimpleQueue[tuple[int, Any] | None] = SimpleQueue()

        async def work() -> None:
            for i, obj in pending:
                async with turns:
                    answers.put((i, await self._answer(obj)))

        async def crew() -> None:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self.limit, len(objects))):
                    group.create_task(work())

        future = asyncio.run_coroutine_threadsafe(crew(), loop)
        future.add_done_callback(lambda _: answers.put(None))
        try:
            while (answer := answers.get()) is not None:
                yield answer
            future.result()
        finally:
            future.cancel()

    async def _answer(self, obj: Any) -> Any:
        try:
            async with asyncio.timeout(self.timeout) as clock:
                return await self.f(obj)
        except TimeoutError as error:
            return TimeoutError(f"it took more than {self.timeout:g} seconds") if clock.expired() else error
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():  # by us, and not by what f calls
                raise
            return error
        except (Exception, SystemExit) as error:  # a user's code may raise anything
            return error


def concurrent(
    *, limit: int = 16, timeout: float | None = None
) -> Callable[[Callable[[Any], Coroutine[Any, Any, Any]]], Concurrent]:
    """Turn an async function of one object into a reward of a batch, which waits for up to `limit` calls at a time.

        @concurrent(limit=8, timeout=30)
        async def score(image):
            reply = await client.post(url, content=encode(image))
            return reply.json()["score"]

    An exception fails the object that caused it and no other. All async rewards of a process share one event loop in
    a thread of its own, so that a client keeps its connections from batch to batch, a notebook's loop is not in the
    way, and no gradient passes.

    Arguments:
        limit: calls at a time, over all threads that ask.
        timeout: seconds after which a call is cancelled and its object fails, counted from its start; a call can be
            cancelled where it awaits, and nowhere else.

    Raises:
        InputError: if the limit is below 1, the seconds are not positive, or the function is not async.
    """
    return lambda f: Concurrent(f, limit, timeout)


def awaited(out: Any) -> Any:
    """What a reward of a batch returned, awaited if it was an async one."""
    if not inspect.isawaitable(out):
        return out

    async def wait() -> Any:
        return await out

    future = asyncio.run_coroutine_threadsafe(wait(), _loop())
    try:
        return future.result()
    finally:
        future.cancel()


def _loop() -> asyncio.AbstractEventLoop:
    """The event loop of this process."""
    with _FIRST:
        loop = _loop_of(os.getpid())
    try:
        inside = asyncio.get_running_loop() is loop
    except RuntimeError:
        return loop
    if inside:
        raise InputError("An async reward was called by another one, which would wait for itself: await its `.f`.")
    return loop


@functools.cache
def _loop_of(process: int) -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()

    def run() -> None:
        torch.set_grad_enabled(False)  # of this thread alone
        while True:
            try:
                loop.run_forever()
            except (KeyboardInterrupt, SystemExit):  # of a task, which keeps it for whoever awaits it
                continue

    threading.Thread(target=run, name="elites async rewards", daemon=True).start()
    return loop
