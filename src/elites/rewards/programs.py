"""Programs that answer one object at a time, kept alive, killed in time, and replaced.

A guard, which is a small process of its own, ends what is left when this program dies without a chance to do so.
"""

from __future__ import annotations

import contextlib
import itertools
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .child import Child, Lost

__all__ = ["Job", "Programs", "Round"]

STARTS = 3  # processes in a row without one answer, before what is left is given up
PATIENCE = 0.5  # seconds to end by itself once the input is closed
GUARD = """
import os, signal, sys
alive = set()
for line in sys.stdin:
    pid = int(line)
    alive.add(pid) if pid > 0 else alive.discard(-pid)
for pid in alive:
    try:
        os.killpg(pid, signal.SIGKILL)
    except OSError:
        pass
"""


@dataclass
class Round:
    """The objects of one call: where answers go, and what was learned on the way.

    Attributes:
        done: (position, answer).
        over: nobody waits any more.
        starts: processes in a row that were lost before their first answer.
        hopeless: why the objects that are left are given up.
    """

    done: queue.SimpleQueue[tuple[int, Any]] = field(default_factory=queue.SimpleQueue)
    over: bool = False
    starts: int = 0
    hopeless: str = ""


@dataclass(frozen=True)
class Job:
    """One object: its position, its JSON, the seconds of a call, those more for a first call, and its round."""

    row: int
    line: str
    timeout: float
    start: float
    round: Round


class Programs:
    """`workers` processes of one command, started when they are needed."""

    def __init__(self, argv: Sequence[str], workers: int, env: Mapping[str, str], cwd: str | Path | None) -> None:
        self._argv, self._env, self._cwd = list(argv), dict(env), cwd
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._ids = itertools.count()
        self._lock = threading.RLock()  # the collector of garbage may close it in a thread that holds it
        self._busy: set[Child] = set()
        self._closed = False
        self._guard = subprocess.Popen(
            [sys.executable, "-ISc", GUARD],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,
        )
        self._threads = [
            threading.Thread(target=self._work, name="elites command", daemon=True) for _ in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def put(self, job: Job) -> None:
        """Have an object answered."""
        with self._lock:
            if self._closed:
                job.round.done.put((job.row, ConnectionError("the reward was closed")))
            else:
                self._jobs.put(job)

    def close(self) -> None:
        """End all processes: those at work are killed, the others may finish by themselves within half a second."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            for child in self._busy:
                child.kill()
            for _ in self._threads:
                self._jobs.put(None)
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(2 + PATIENCE)
        assert self._guard.stdin is not None
        self._guard.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._guard.wait(2)

    def _work(self) -> None:
        child = None
        while (job := self._jobs.get()) is not None:
            if not job.round.over:
                answer, child = self._answer(job, child)
                job.round.done.put((job.row, answer))
        if child is not None:
            self._drop(child, PATIENCE)

    def _answer(self, job: Job, child: Child | None) -> tuple[Any, Child | None]:
        """The answer about an object, and the process for the next; one that is given has answered before."""
        if child is not None and child.process.poll() is not None:
            self._drop(child)
            child = None
        while not job.round.hopeless:
            used = child is not None
            try:
                child = self._take(child)
                try:
                    answer = child.ask(next(self._ids), job.line, job.timeout + (0 if used else job.start))
                finally:
                    with self._lock:
                        self._busy.discard(child)
                job.round.starts = 0
                return answer, child
            except Exception as error:  # such as too many open files
                lost = error if isinstance(error, Lost) else Lost(error)
                if child is not None:
                    self._drop(child)
                    child = None
                if used and lost.left:
                    continue  # it left after its last answer, so another takes this object
                if not used:
                    self._count(job.round, lost)
                return lost.fault, None
        return ChildProcessError(job.round.hopeless), child

    def _take(self, child: Child | None) -> Child:
        """The same process or a new one, marked as at work."""
        with self._lock:
            if self._closed:
                raise Lost(ConnectionError("the reward was closed"))
            if child is None:
                try:
                    child = Child(self._argv, self._env, self._cwd)
                except OSError as error:
                    raise Lost(ChildProcessError(f"the program cannot be started: {error}")) from None
                self._tell(child.process.pid)
            self._busy.add(child)
            return child

    def _drop(self, child: Child, patience: float = 0.0) -> None:
        child.end(patience)
        self._tell(-child.process.pid)

    def _tell(self, pid: int) -> None:
        assert self._guard.stdin is not None
        with contextlib.suppress(OSError, ValueError):
            self._guard.stdin.write(b"%d\n" % pid)

    def _count(self, this: Round, lost: Lost) -> None:
        with self._lock:
            this.starts += 1
            if this.starts >= STARTS and not this.hopeless:
                this.hopeless = f"given up after {STARTS} processes in a row without one answer; the last: {lost}"
