"""Workers that are processes of this machine.

A worker is forked from a server process that has imported the library and nothing else, so that replacing one takes
milliseconds and no state of the driver, no thread and no accelerator context is copied. Each has one pipe to the
driver. It is killed when it is given up; it ends by itself when the driver is gone, also in the middle of a call. An
answer is in the pipe before the next one is begun, so that what a worker was at when it died is known.

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
import sys
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from ..types import InputError
from .crew import ANSWER, BROKEN, DONE, LOST, RAISED, READY, Message, Server, enter
from .serving import about, reason, traced

__all__ = ["ProcessCrew"]

GUARD = "put what your script does under if __name__ == '__main__'"
STARTS = 3  # deaths in a row before a worker was ready, until it is broken: somebody may have killed the first ones


class ProcessCrew:
    """A crew of processes, with `threads` CPU threads each."""

    _closed = True  # until it is open

    def __init__(self, workers: int, build: Callable[[], Server], threads: int = 1) -> None:
        if getattr(multiprocessing.current_process(), "_inheriting", False):
            raise InputError(f"A worker that is being started has begun the run again: {GUARD}.")
        self.size = workers
        self.lives = [0] * workers
        self.about: list[dict[str, Any] | None] = [None] * workers
        self._build, self._threads = build, threads
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["elites"])
        self._selector = selectors.DefaultSelector()
        self._pipes: list[Connection | None] = [None] * workers
        self._processes: list[Any] = [None] * workers
        self._falls = [0] * workers  # deaths since it was ready
        self._closed = False
        self._at_exit = partial(_close, weakref.ref(self))
        atexit.register(self._at_exit)  # before multiprocessing waits for its children
        for worker in range(workers):
            self._start(worker)

    @property
    def pids(self) -> list[int]:
        """Process identifiers of the workers."""
        return [p.pid for p in self._processes]

    def _start(self, worker: int) -> None:
        self.lives[worker] += 1
        self.about[worker] = None
        ours, theirs = self._context.Pipe()
        args = (theirs, worker, self._build, self._threads)
        process = self._context.Process(target=_main, args=args, name=f"elites-{worker}", daemon=False)
        try:
            process.start()
        except Exception as error:
            if not _unsendable(error):
                raise
            raise InputError(
                f"The factory cannot be sent to a worker ({reason(error)}): give a function at the top of a module."
            ) from None
        finally:
            theirs.close()
        self._pipes[worker], self._processes[worker] = ours, process
        self._selector.register(ours, selectors.EVENT_READ, worker)

    def send(self, worker: int, call: Any) -> None:
        pipe = self._pipes[worker]
        assert pipe is not None
        try:
            pipe.send(call)
        except (BrokenPipeError, ConnectionResetError):
            pass  # `wait` will find that it is gone
        except Exception as error:
            if not _unsendable(error):
                raise
            raise InputError(
                f"The method cannot be sent to a worker ({reason(error)}): make its functions at the top of a module."
            ) from None

    def wait(self, seconds: float | None) -> list[Message]:
        """As `Crew` has it; one message of a worker at a time, so that an answer is used before the next is read."""
        out: list[Message] = []
        for found, _ in [] if self._closed else self._selector.select(seconds):
            worker, pipe = found.data, self._pipes[found.data]
            try:
                kind, value = pipe.recv()
            except (EOFError, OSError):
                out.append(self._lost(worker))
                continue
            if kind in (READY, DONE):
                self.about[worker], self._falls[worker] = value, 0
            out.append(Message(worker, kind, value))
        return out

    def _lost(self, worker: int) -> Message:
        process, ready = self._processes[worker], self.about[worker] is not None
        self._end(worker)
        code = process.exitcode
        why = f"signal {_named(-code)}" if code and code < 0 else f"exit code {code}"
        self._start(worker)
        if ready:
            return Message(worker, LOST, f"the worker died with {why}")
        self._falls[worker] += 1
        if self._falls[worker] < STARTS:
            return Message(worker, LOST, f"the worker died with {why} before it was ready")
        hint = f"; if it has begun your script anew, {GUARD}" if code == 1 else ""
        return Message(worker, BROKEN, f"it died {STARTS} times before it was ready, with {why}{hint}")

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
        if not self._closed:
            self._processes[worker].kill()
            self._end(worker)
            self._start(worker)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        atexit.unregister(self._at_exit)
        started = [worker for worker in range(self.size) if self._processes[worker] is not None]
        for worker in started:
            self._processes[worker].kill()
        for worker in started:
            self._end(worker)
        self._selector.close()

    def __del__(self) -> None:
        self.close()


def _close(crew: weakref.ref[ProcessCrew]) -> None:
    there = crew()
    if there is not None:
        there.close()


def _unsendable(error: Exception) -> bool:
    """Whether this is what pickling raises."""
    return isinstance(error, TypeError | AttributeError | ValueError) or "pickl" in f"{type(error)} {error}".lower()


def _named(number: int) -> str:
    with suppress(ValueError):
        return signal.Signals(number).name
    return str(number)


def _main(pipe: Connection, worker: int, build: Callable[[], Server], threads: int) -> None:
    """A worker's life: build, then serve; another thread listens, so that the end of the driver is seen."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.dup2(2, 1)  # the output of the driver is its own
    sys.stdout = sys.stderr
    calls: queue.SimpleQueue[Callable[[], Any]] = queue.SimpleQueue()

    def listen() -> None:
        while True:
            try:
                data = pipe.recv_bytes()
            except (EOFError, OSError):
                os._exit(0)  # the driver is gone: what is in flight has nobody to answer to
            calls.put(partial(multiprocessing.reduction.ForkingPickler.loads, data))

    def say(kind: int, value: Any) -> None:
        try:
            pipe.send((kind, value))
        except (BrokenPipeError, ConnectionResetError):
            os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    enter(worker, process=True)
    try:
        import torch

        torch.set_num_threads(threads)
        server = build()
    except BaseException:
        say(BROKEN, traced())
        threading.Event().wait()  # until the driver has read it, and lets go
    say(READY, about(server))
    while True:
        call = calls.get()
        try:
            for answer in server(call()):
                say(ANSWER, answer)
            say(DONE, about(server))
        except (Exception, SystemExit) as error:
            say(RAISED, reason(error))
