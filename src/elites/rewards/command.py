"""A reward that is a program: a process of another environment that lives as long as it is needed.

    it reads     {"id": 7, "object": ...}
    it writes    {"id": 7, "score": 1.5}    or    {"id": 7, "error": "no pose found"}

One line of JSON each. It must flush its lines. What else it prints is kept aside and quoted when something fails.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..answers import gather
from ..types import InputError
from .encoding import shown, to_json
from .held import Held
from .programs import Job, Programs, Round

__all__ = ["Command"]


@dataclass(frozen=True, eq=False, repr=False)
class Command:
    """Scores from processes that read an object and write a score, one line of JSON each; see the module.

    A call that takes longer than `timeout` fails, and its process is killed, with all that it started, and replaced. A
    process that ends fails the object it was working on, and is replaced. Three processes in a row that end before
    their first answer fail what is left of the batch, with the reason. Processes are started when they are needed,
    one object is given to each at a time, and all are ended by `close()`, when the reward is no longer held, and when
    the program ends, however it does. A copy in another process has its own.

    Arguments:
        argv: the program and its arguments; no shell.
        encode: makes an object what JSON can hold.
        workers: processes.
        timeout: seconds of a call.
        start: seconds more for the first call of a process.
        env: environment variables to set besides those of this process; never shown.
        cwd: folder to start in.

    Raises:
        InputError: if there is no such program or folder, or a number cannot work.
    """

    argv: Sequence[str]
    encode: Callable[[Any], Any] = to_json
    workers: int = field(default=1, repr=False)  # what changes no score is not part of what identifies a run
    timeout: float = field(default=60.0, repr=False)
    start: float = field(default=60.0, repr=False)
    env: Mapping[str, str] | None = field(default=None, repr=False)
    cwd: str | Path | None = field(default=None, repr=False)
    _held: Held[Programs] = field(default_factory=Held, init=False, repr=False)

    __repr__ = shown

    def __post_init__(self) -> None:
        if isinstance(self.argv, str) or not self.argv or not all(isinstance(a, str) for a in self.argv):
            raise InputError(f"The command is {self.argv!r}: give a list of a program and its arguments.")
        if not self.workers >= 1:
            raise InputError(f"workers is {self.workers}: give at least 1.")
        if not (0 < self.timeout < math.inf and 0 <= self.start < math.inf):
            raise InputError(f"timeout is {self.timeout} s and start {self.start} s: give positive, finite times.")
        if self.cwd is not None and not Path(self.cwd).is_dir():
            raise InputError(f"There is no folder {self.cwd} to start in: make it, or leave out `cwd`.")
        program = self.argv[0]
        path = Path(self.cwd or ".").absolute() / program if os.sep in program else program
        if shutil.which(path, path=self._environment().get("PATH")) is None:
            raise InputError(f"There is no program {program!r}: give its whole path, or put its folder on PATH.")

    @property
    def width(self) -> int:
        """Objects that are away at a time."""
        return self.workers

    def __call__(self, objects: Any) -> list[Any]:
        """The answers in order."""
        return gather(self.each(objects), len(objects))

    def each(self, objects: Any) -> Iterator[tuple[int, Any]]:
        """(Position, answer) as answers come."""
        processes = self._held.get(lambda: Programs(self.argv, self.workers, self._environment(), self.cwd))
        this = Round()
        try:
            for row, obj in enumerate(objects):
                try:
                    line = json.dumps(self.encode(obj), allow_nan=False)
                except Exception as error:  # a user's encoder may raise anything
                    this.done.put((row, error))
                else:
                    processes.put(Job(row, line, self.timeout, self.start, this))
            for _ in range(len(objects)):
                yield this.done.get()
        finally:
            this.over = True

    def close(self) -> None:
        """End the processes; the next call starts others."""
        self._held.close()

    def _environment(self) -> dict[str, str]:
        return {**os.environ, **(self.env or {})}
