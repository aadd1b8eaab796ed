r"""Requests to one address, shared by the rewards that ask over HTTP: parallel, paced, paid for, retried, with an end.

Every request has a total time, so a server that drips is no different from one that hangs; a reply has a largest size;
redirects are not followed; the proxies and passwords of the environment are not used. Time-outs, broken connections,
and the codes 408, 409, 425, 429 and 5xx are tried again after

    wait_k = min(30, 0.5 * 2^k) u seconds,    u ~ U(1/2, 1),    or what `Retry-After` says.

All of it runs in one event loop in a thread of its own, so the limits hold whoever asks, and nothing needs a lock.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import queue
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any

from .address import key_of, look
from .encoding import shorten

__all__ = ["Again", "Line", "Request", "refusal"]

TRANSIENT = {408, 409, 425, 429}  # and 5xx
FIRST, LONGEST = 0.5, 30.0  # seconds of the first wait and of the longest
LARGEST = 10_000_000  # bytes of a reply
SHORT = 8  # a key of fewer characters is a placeholder such as EMPTY, and no secret


class Again(Exception):
    """A fault that may be gone if one asks again.

    Arguments:
        fault: what it is if there is no other try.
        wait: seconds to wait; by default they grow from try to try.
        free: it counts as no try.
    """

    def __init__(self, fault: Exception, wait: float | None = None, free: bool = False) -> None:
        super().__init__(str(fault))
        self.fault, self.wait, self.free = fault, wait, free


@dataclass(frozen=True, eq=False)
class Request:
    """What to send, and how to read what comes back.

    Arguments:
        body: makes the JSON to send, for every try anew.
        read: of the status and the text of a reply that is not transient, the answers; raises `Again` or a fault.
        headers: besides those of every request.
    """

    body: Callable[[], bytes]
    read: Callable[[int, str], list[Any]]
    headers: Mapping[str, str] = field(default_factory=dict)


class Line:
    """An open line to one address. Arguments as of `Judge`."""

    def __init__(
        self,
        url: str,
        parallel: int,
        timeout: float,
        again: int,
        key_env: str | None,
        per_minute: int | None = None,
        budget: int | None = None,
    ) -> None:
        self.url, self.timeout, self.again, self.key_env, self.budget = url, timeout, again, key_env, budget
        self.spent = 0
        self._parallel = parallel
        self._pace = Pace(per_minute)
        opened: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._live(opened)), name="elites line", daemon=True
        )
        self._thread.start()
        opened.result()

    def each(self, requests: Iterable[tuple[Sequence[int], Request]]) -> Iterator[tuple[int, Any]]:
        """(Position, answer) as answers come; an exception for every position of a request that failed."""
        done: queue.SimpleQueue[tuple[Sequence[int], concurrent.futures.Future]] = queue.SimpleQueue()
        asked = []
        try:
            for rows, request in requests:
                future = asyncio.run_coroutine_threadsafe(self._ask(request), self._loop)
                future.add_done_callback(partial(_put, done, rows))
                asked.append(future)
            for _ in asked:
                rows, future = done.get()
                yield from zip(rows, _answers(future, len(rows)), strict=True)
        finally:
            for future in asked:
                future.cancel()

    def close(self) -> None:
        """End what is under way."""
        self._loop.call_soon_threadsafe(self._over.set)
        if threading.current_thread() is not self._thread:  # the collector of garbage may run in any thread
            self._thread.join(2)

    async def _live(self, opened: concurrent.futures.Future[None]) -> None:
        try:
            import httpx2

            limits = httpx2.Limits(max_connections=self._parallel, max_keepalive_connections=self._parallel)
            secure = not self.url.lower().startswith("http:")  # else no certificates are loaded, which takes a while
            self._client = httpx2.AsyncClient(verify=secure, timeout=self.timeout, limits=limits, trust_env=False)
        except Exception as error:
            opened.set_exception(error)
            return
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        self._slots = asyncio.Semaphore(self._parallel)
        opened.set_result(None)
        await self._over.wait()
        under_way = asyncio.all_tasks() - {asyncio.current_task()}
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        await self._client.aclose()

    async def _ask(self, request: Request) -> list[Any]:
        async with self._slots:
            left = self.timeout * (self.again + 1)  # seconds for tries and the waits between them
            tries = 0
            while True:
                await self._turn()
                began = time.monotonic()
                try:
                    return request.read(*await self._send(request, min(self.timeout, left)))
                except Again as error:
                    again = error
                left -= time.monotonic() - began
                tries += not again.free
                fault = again.fault
                wait = _wait(tries - 1) if again.wait is None else again.wait
                if tries > self.again:
                    raise type(fault)(f"{fault}" + f", after {tries} tries" * (tries > 1))
                if wait >= left:
                    raise type(fault)(f"{fault}, and no time is left for the {wait:.3g} s to wait before another try")
                await asyncio.sleep(wait)
                left -= wait

    async def _turn(self) -> None:
        """Wait until a request may go out, and pay for it."""
        self._afford()
        await asyncio.sleep(self._pace.take(time.monotonic()))
        self._afford()  # others have paid meanwhile
        self.spent += 1

    def _afford(self) -> None:
        if self.budget is not None and self.spent >= self.budget:
            raise RuntimeError(f"the budget of {self.budget} requests is spent")

    async def _send(self, request: Request, seconds: float) -> tuple[int, str]:
        import httpx2

        key = key_of(self.key_env)
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity", **request.headers}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        try:
            async with (
                asyncio.timeout(seconds),
                self._client.stream(
                    "POST",
                    self.url,
                    content=request.body(),
                    headers=headers,
                    extensions={"trace": look},
                    follow_redirects=False,
                ) as reply,
            ):
                status, content = reply.status_code, bytearray()
                async for chunk in reply.aiter_raw():
                    content += chunk
                    if len(content) > LARGEST:
                        raise ValueError(f"the reply is longer than {LARGEST:,} bytes")
                after = _seconds(reply.headers.get("Retry-After"))
        except (TimeoutError, httpx2.TimeoutException):
            raise Again(TimeoutError(f"there was no whole answer within {seconds:.2g} s")) from None
        except httpx2.TransportError as error:
            raise Again(ConnectionError(f"the connection failed ({type(error).__name__})")) from None
        text = content.decode("utf-8", "replace")
        if len(key) >= SHORT:
            text = text.replace(key, "***")  # a server may repeat what it was sent
        if status in TRANSIENT or status >= 500:
            raise Again(refusal(status, text), after)
        return status, text


@dataclass
class Pace:
    """A bucket of `per_minute` tokens; each comes back a minute after it was taken, so no minute sees more.

    Arguments:
        per_minute: tokens; `None` for no limit.
        minute: in seconds.
    """

    per_minute: int | None
    minute: float = 60.0
    taken: deque[float] = field(default_factory=deque)

    def take(self, now: float) -> float:
        """Take a token at time `now`, or the next that comes back; returns the seconds until it is there."""
        if self.per_minute is None:
            return 0.0
        start = now
        if len(self.taken) >= self.per_minute:
            start = max(now, self.taken.popleft() + self.minute)
        self.taken.append(start)
        return start - now


def refusal(status: int, text: str) -> Exception:
    """The fault of a reply that is not 200."""
    where = " (redirects are not followed)" if 300 <= status < 400 else ""
    return ConnectionError(f"HTTP {status}{where}: {shorten(text)}".strip(": "))


def _put(done: queue.SimpleQueue, rows: Sequence[int], future: concurrent.futures.Future) -> None:
    done.put((rows, future))


def _answers(future: concurrent.futures.Future, n: int) -> list[Any]:
    if future.cancelled():
        return [ConnectionError("the line was closed")] * n
    error = future.exception()
    if error is None:
        return future.result()
    return [error] * n


def _wait(k: int) -> float:
    return min(LONGEST, FIRST * 2**k) * random.SystemRandom().uniform(0.5, 1)


def _seconds(after: str | None) -> float | None:
    """`Retry-After`, in seconds or as a date; `None` if there is none that can be read."""
    if after is None:
        return None
    if after.strip().isdecimal():
        return float(after)
    try:
        return max(0.0, parsedate_to_datetime(after).timestamp() - time.time())
    except ValueError:
        return None
