"""Workers that are threads of this process: for rewards that wait for something else, and for tests."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any

from .crew import ANSWER, BROKEN, DONE, RAISED, READY, Message, Server, enter
from .serving import about, reason, traced

__all__ = ["ThreadCrew"]


class ThreadCrew:
    """A crew of threads. One that is given up cannot be ended: it goes on unheard until its call returns."""

    def __init__(self, workers: int, build: Callable[[], Server]) -> None:
        self.size = workers
        self.lives = [0] * workers
        self.about: list[dict[str, Any] | None] = [None] * workers
        self._build = build
        self._closed = False
        self._heard: queue.SimpleQueue[tuple[int, Message]] = queue.SimpleQueue()
        self._calls: list[queue.SimpleQueue[Any]] = [queue.SimpleQueue() for _ in range(workers)]
        for worker in range(workers):
            self._start(worker)

    def _start(self, worker: int) -> None:
        self.lives[worker] += 1
        self.about[worker] = None
        calls = self._calls[worker] = queue.SimpleQueue()
        args = (worker, self.lives[worker], calls, self._heard, self._build)  # not self, which then can go
        threading.Thread(target=_serve, args=args, name=f"elites-{worker}", daemon=True).start()

    def send(self, worker: int, call: Any) -> None:
        self._calls[worker].put((call,))

    def wait(self, seconds: float | None) -> list[Message]:
        out: list[Message] = []
        try:
            life, message = self._heard.get(timeout=0 if self._closed else seconds)
            while True:
                if life == self.lives[message.worker]:
                    if message.kind in (READY, DONE):
                        self.about[message.worker] = message.value
                    out.append(message)
                life, message = self._heard.get_nowait()
        except queue.Empty:
            return out

    def replace(self, worker: int) -> None:
        if not self._closed:
            self._calls[worker].put(None)
            self._start(worker)

    def close(self) -> None:
        self._closed = True
        for worker, calls in enumerate(self._calls):
            self.lives[worker] += 1
            calls.put(None)

    def __del__(self) -> None:
        self.close()


def _serve(
    worker: int,
    life: int,
    calls: queue.SimpleQueue[Any],
    heard: queue.SimpleQueue[tuple[int, Message]],
    build: Callable[[], Server],
) -> None:
    """A worker's life: build, then serve."""

    def tell(kind: int, value: Any = None) -> None:
        heard.put((life, Message(worker, kind, value)))

    enter(worker)
    try:
        server = build()
    except BaseException:  # a thread has nowhere to raise to
        tell(BROKEN, traced())
        return
    tell(READY, about(server))
    while (call := calls.get()) is not None:
        try:
            for answer in server(call[0]):
                tell(ANSWER, answer)
            tell(DONE, about(server))
        except BaseException as error:
            tell(RAISED, reason(error))
