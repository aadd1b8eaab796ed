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
        self._build = build
        self._heard: queue.SimpleQueue[tuple[int, Message]] = queue.SimpleQueue()
        self._calls: list[queue.SimpleQueue[Any]] = [queue.SimpleQueue() for _ in range(workers)]
        for worker in range(workers):
            self._start(worker)

    def _start(self, worker: int) -> None:
        self.lives[worker] += 1
        calls = self._calls[worker] = queue.SimpleQueue()
        args = (worker, self.lives[worker], calls)
        threading.Thread(target=self._serve, args=args, name=f"elites-{worker}", daemon=True).start()

    def _serve(self, worker: int, life: int, calls: queue.SimpleQueue[Any]) -> None:
        def tell(kind: int, value: Any = None) -> None:
            self._heard.put((life, Message(worker, kind, value)))

        enter(worker)
        try:
            server = self._build()
        except BaseException:
            tell(BROKEN, traced())
            return
        tell(READY, about(server))
        while (call := calls.get()) is not None:
            try:
                for answer in server(call[0]):
                    tell(ANSWER, answer)
                tell(DONE, about(server))
            except BaseException as error:  # a thread has nowhere to raise to
                tell(RAISED, reason(error))

    def send(self, worker: int, call: Any) -> None:
        self._calls[worker].put((call,))

    def wait(self, seconds: float | None) -> list[Message]:
        out: list[Message] = []
        try:
            life, message = self._heard.get(timeout=seconds)
            while True:
                if life == self.lives[message.worker]:
                    out.append(message)
                life, message = self._heard.get_nowait()
        except queue.Empty:
            return out

    def replace(self, worker: int) -> None:
        self._calls[worker].put(None)
        self._start(worker)

    def close(self) -> None:
        for worker, calls in enumerate(self._calls):
            self.lives[worker] += 1
            calls.put(None)
