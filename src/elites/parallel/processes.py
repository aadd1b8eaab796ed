"""Workers that are processes of this machine.

A worker is forked from a server process that has imported the library and nothing else, so that replacing one takes
milliseconds and no state of the driver, no thread and no accelerator context is copied. Each has one pipe to the
driver. It is killed when it is given up; it ends by itself when the driver is gone, also in the middle of a call.

(Pebble 5.2 was tried first. It survives hung and killed workers, but a job's answers come all at once, so that a kill
loses those that are finished, and no worker can be asked for what it made.)
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import queue
import selectors
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from ..types import InputError
from .crew import ANSWER, BROKEN, DONE, LOST, RAISED, READY, Message, Server, enter, worker_number
from .serving import about, reason, traced

__all__ = ["ProcessCrew"]


class ProcessCrew:
    """A crew of processes, with `threads` CPU threads each."""

    def __init__(self, workers: int, build: Callable[[], Server], threads: int = 1) -> None:
        if multiprocessing.parent_process() is not None and worker_number() is None:
            raise InputError(
                "A worker has begun the run again: put what your script does under if __name__ == '__main__'."
            )
        self.size = workers
        self.lives = [0] * workers
        self._build, self._threads = build, threads
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["elites"])
        self._selector = selectors.DefaultSelector()
        self._pipes: list[Connection | None] = [None] * workers
        self._processes: list[Any] = [None] * workers
        self._ready = [False] * workers
        self._closed = False
        atexit.register(self.close)  # before multiprocessing waits for its children
        for worker in range(workers):
            self._start(worker)

    @property
    def pids(self) -> list[int]:
        """Process identifiers of the workers."""
        return [p.pid for p in self._processes]

    def _start(self, worker: int) -> None:
        self.lives[worker] += 1
        self._ready[worker] = False
        ours, theirs = self._context.Pipe()
        args = (theirs, worker, self._build, self._threads)
        process = self._context.Process(target=_main, args=args, name=f"elites-{worker}", daemon=False)
        try:
            process.start()
        except (TypeError, AttributeError, ValueError) as error:
            raise InputError(
                f"The factory cannot be sent to a worker ({reason(error)}): give a function at the top of a module."
            ) from None
        except Exception as error:
            if "pickle" not in f"{type(error).__name__} {error}".lower():
                raise
            raise InputError(
                f"The factory cannot be sent to a worker ({reason(error)}): give a function at the top of a module."
            ) from None
        theirs.close()
        self._pipes[worker], self._processes[worker] = ours, process
        self._selector.register(ours, selectors.EVENT_READ, worker)

    def send(self, worker: int, call: Any) -> None:
        pipe = self._pipes[worker]
        assert pipe is not None
        with suppress(BrokenPipeError, ConnectionResetError):  # `wait` will find that it is gone
            pipe.send(call)

    def wait(self, seconds: float | None) -> list[Message]:
        out: list[Message] = []
        for found, _ in self._selector.select(seconds):
            worker, pipe = found.data, self._pipes[found.data]
            try:
                messages = pipe.recv()
            except (EOFError, OSError):
                out.append(self._lost(worker))
                continue
            for kind, value in messages:
                self._ready[worker] |= kind == READY
                out.append(Message(worker, kind, value))
        return out

    def _lost(self, worker: int) -> Message:
        process, ready = self._processes[worker], self._ready[worker]
        self._end(worker)
        code = process.exitcode
        why = f"signal {signal.Signals(-code).name}" if code and code < 0 else f"exit code {code}"
        if not ready:
            return Message(worker, BROKEN, f"a worker died before it was ready, with {why}")
        self._start(worker)
        return Message(worker, LOST, f"the worker died with {why}")

    def _end(self, worker: int) -> None:
        pipe, process = self._pipes[worker], self._processes[worker]
        if pipe is not None:
            self._selector.unregister(pipe)
            pipe.close()
            self._pipes[worker] = None
        process.join(0.2)
        if process.is_alive():
            process.kill()
            process.join()

    def replace(self, worker: int) -> None:
        self._processes[worker].kill()
        self._end(worker)
        self._start(worker)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        atexit.unregister(self.close)
        for process in self._processes:
            if process is not None:
                process.kill()
        for worker in range(self.size):
            if self._pipes[worker] is not None:
                self._end(worker)
        self._selector.close()


def _main(pipe: Connection, worker: int, build: Callable[[], Server], threads: int) -> None:
    """A worker's life: build, then serve; one thread listens, so that the driver's end is seen, and one speaks."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    calls: queue.SimpleQueue[Any] = queue.SimpleQueue()
    words: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()

    def listen() -> None:
        while True:
            try:
                calls.put(pipe.recv())
            except (EOFError, OSError):
                os._exit(0)  # the driver is gone: what is in flight has nobody to answer to

    def speak() -> None:
        while True:
            said = [words.get()]
            with suppress(queue.Empty):
                while True:
                    said.append(words.get_nowait())
            try:
                pipe.send(said)
            except (BrokenPipeError, ConnectionResetError):
                os._exit(0)
            except Exception as error:  # what cannot be sent
                pipe.send([(RAISED, f"the answer cannot be sent: {reason(error)}")])

    for loop in (listen, speak):
        threading.Thread(target=loop, daemon=True).start()
    enter(worker, process=True)
    try:
        import torch

        torch.set_num_threads(threads)
        server = build()
    except BaseException:
        words.put((BROKEN, traced()))
        threading.Event().wait()  # until the driver has read it, and lets go
    words.put((READY, about(server)))
    while True:
        call = calls.get()
        try:
            for answer in server(call):
                words.put((ANSWER, answer))
            words.put((DONE, about(server)))
        except (Exception, SystemExit) as error:
            words.put((RAISED, reason(error)))
