"""Workers that are Ray actors: on this machine without any set-up, or on a cluster by its address.

Ray's servers listen on every interface of the machine. So a cluster that is started here asks for a token, which is
made at random and never written down; usage statistics are off, and there is no dashboard. What is lost is not tried
again by Ray, but by `dispatch`, so that every evaluation is accounted for.
"""

from __future__ import annotations

import logging
import math
import os
import queue
import secrets
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from ..types import InputError
from .crew import ANSWER, BROKEN, DONE, LOST, RAISED, READY, Message, Server, enter
from .serving import about, reason, traced

__all__ = ["RayCrew"]

STARTS = 3  # deaths in a row before a worker was ready, until it is broken
STORE = 128 * 2**20  # bytes of a local object store: what travels is small


class RayCrew:
    """A crew of Ray actors, each with `cpus` and `gpus` of the cluster."""

    def __init__(
        self, workers: int, build: Callable[[], Server], address: str | None, cpus: float, gpus: float, threads: int
    ) -> None:
        self._ray = _connected(address, workers, cpus)
        self.size = workers
        self.lives = [0] * workers
        self.about: list[dict[str, Any] | None] = [None] * workers
        self._falls = [0] * workers  # deaths since it was ready
        self._build, self._threads = build, threads
        self._path = sys.path if address is None else []  # modules of a script are found on this machine alone
        self._actor = self._ray.remote(num_cpus=cpus, num_gpus=gpus, max_restarts=0, max_task_retries=0)(_Actor)
        self._actors: list[Any] = [None] * workers
        self._closed = False
        self._streams: dict[Any, int] = {}  # what a worker says at present, to its number
        for worker in range(workers):
            self._start(worker)

    def pids(self) -> list[int]:
        """Process identifiers of the workers, each on its own machine."""
        return list(self._ray.get([actor.pid.remote() for actor in self._actors]))

    def _start(self, worker: int) -> None:
        self.lives[worker] += 1
        self.about[worker] = None
        self._actors[worker] = self._actor.remote(worker, self._path, self._threads)
        try:
            self._ask(worker, self._build, build=True)
        except Exception as error:  # whatever its pickler raises
            raise InputError(
                f"The factory cannot be sent to a worker ({reason(error)}): give a function at the top of a module."
            ) from None

    def _ask(self, worker: int, call: Any, *, build: bool = False) -> None:
        stream = self._actors[worker].serve.options(num_returns="streaming").remote(call, build)
        self._streams[stream] = worker

    def send(self, worker: int, call: Any) -> None:
        try:
            self._ask(worker, call)
        except (TypeError, AttributeError) as error:
            raise InputError(f"The call cannot be sent to a worker: {reason(error)}.") from None

    def wait(self, seconds: float | None) -> list[Message]:
        out: list[Message] = []
        if not self._streams:
            time.sleep(seconds or 0.0)
            return out
        ready, _ = self._ray.wait(list(self._streams), num_returns=1, timeout=seconds)
        more, _ = self._ray.wait(list(self._streams), num_returns=len(self._streams), timeout=0)
        for stream in {id(s): s for s in (*ready, *more)}.values():
            worker = self._streams[stream]
            try:
                said = self._ray.get(next(stream))
            except StopIteration:
                del self._streams[stream]
                continue
            except self._ray.exceptions.RayError as error:
                out.append(self._lost(worker, type(error).__name__))
                continue
            for kind, value in said:
                if kind in (READY, DONE):
                    self.about[worker], self._falls[worker] = value, 0
                out.append(Message(worker, kind, value))
        return out

    def _lost(self, worker: int, why: str) -> Message:
        self._end(worker)
        self._falls[worker] += 1
        if self._falls[worker] > STARTS:
            return Message(worker, BROKEN, f"it died {STARTS} times before it was ready, with {why}")
        self._start(worker)
        return Message(worker, LOST, f"the worker died ({why})")

    def _end(self, worker: int) -> None:
        for stream in [s for s, w in self._streams.items() if w == worker]:
            del self._streams[stream]
        with suppress(Exception):  # it may be gone
            self._ray.kill(self._actors[worker], no_restart=True)

    def replace(self, worker: int) -> None:
        self._end(worker)
        if not self._closed:
            self._start(worker)

    def close(self) -> None:
        self._closed = True
        for worker in range(self.size):
            self._end(worker)


class _Actor:
    """A worker: it builds at the first word, and says what there is to say in as few messages as it comes in."""

    def __init__(self, number: int, path: list[str], threads: int) -> None:
        self.number, self.threads = number, threads
        self.server: Server | None = None
        sys.path += [entry for entry in path if entry not in sys.path]

    def pid(self) -> int:
        return os.getpid()

    def serve(self, call: Any, build: bool) -> Iterator[list[tuple[int, Any]]]:
        words: queue.SimpleQueue[tuple[int, Any] | None] = queue.SimpleQueue()

        def work() -> None:
            try:
                for word in self._words(call, build):
                    words.put(word)
            finally:
                words.put(None)

        threading.Thread(target=work, daemon=True).start()
        word = words.get()
        while word is not None:
            said = []
            with suppress(queue.Empty):
                while word is not None:
                    said.append(word)
                    word = words.get_nowait()
            yield said
            if word is not None:
                word = words.get()

    def _words(self, call: Any, build: bool) -> Iterator[tuple[int, Any]]:
        enter(self.number, process=True)
        if build:
            try:
                import torch

                torch.set_num_threads(self.threads)
                self.server = call()
                yield READY, about(self.server)
            except BaseException:
                yield BROKEN, traced()
            return
        try:
            assert self.server is not None
            for answer in self.server(call):
                yield ANSWER, answer
            yield DONE, about(self.server)
        except (Exception, SystemExit) as error:
            yield RAISED, reason(error)


def _connected(address: str | None, workers: int, cpus: float) -> Any:
    """The module `ray`, connected."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        if address is None:
            _locked()
        import ray
    except ImportError:
        raise ImportError("Ray workers need Ray: pip install 'elites[ray]'.") from None
    if not ray.is_initialized():
        if address is not None:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        else:
            ray.init(
                address="local",  # never one that somebody else has started
                num_cpus=max(math.ceil(workers * cpus), 1),
                include_dashboard=False,
                dashboard_host="127.0.0.1",
                object_store_memory=STORE,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
    return ray


def _locked() -> None:
    """Have a cluster that is started here ask for a token, unless the environment says what it should do."""
    if "RAY_AUTH_MODE" in os.environ:
        return
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    if "ray" not in sys.modules:
        return
    try:  # it was imported before, and has read the environment
        from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]

        Config.initialize("")
        AuthenticationTokenLoader.instance().reset_cache()
    except (ImportError, AttributeError):
        raise InputError(
            "Ray was imported before its token was made: set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN before."
        ) from None
