"""One process that reads objects and writes answers, one line of JSON each; it lives no longer than it is told to."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .encoding import parsed, scored, shorten

__all__ = ["Child", "Lost"]

LARGEST = 10_000_000  # bytes of a line


class Lost(Exception):
    """A process that is of no more use, and why; `left` if it ended by itself, in order."""

    def __init__(self, fault: Exception, left: bool = False) -> None:
        super().__init__(str(fault))
        self.fault, self.left = fault, left


class Child:
    """A process, in a session of its own so that all it starts can be killed with it."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], cwd: str | Path | None) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            argv, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0, env=dict(env), cwd=cwd, start_new_session=True
        )
        assert self.process.stdin and self.process.stdout and self.process.stderr
        self._pipes = self.process.stdin, self.process.stdout, self.process.stderr
        for end in self._pipes:
            os.set_blocking(end.fileno(), False)
        self.answers = 0
        self._line = b""
        self._aside: deque[str] = deque(maxlen=3)
        self._said = b""

    def ask(self, ident: int, obj: str, seconds: float) -> Any:
        """The answer about one object; `Lost` if there is none within some seconds."""
        stdin, stdout, stderr = self._pipes
        unsent = memoryview(f'{{"id": {ident}, "object": {obj}}}\n'.encode())
        end = time.monotonic() + seconds
        with selectors.DefaultSelector() as watch:
            watch.register(stdin, selectors.EVENT_WRITE)
            watch.register(stdout, selectors.EVENT_READ)
            watch.register(stderr, selectors.EVENT_READ)
            while (left := end - time.monotonic()) > 0:
                ready = {key.fileobj for key, _ in watch.select(min(left, 0.2))}
                if not ready and self.process.poll() is not None:  # what it started may hold its output open
                    raise self._ended()
                if stderr in ready and not self._listen():
                    watch.unregister(stderr)
                if stdin in ready:
                    unsent = self._tell(unsent)
                    if not unsent:
                        watch.unregister(stdin)
                if stdout in ready:
                    chunk = os.read(stdout.fileno(), 1 << 16)
                    if not chunk:
                        raise self._ended()
                    found = self._find(chunk, ident)
                    if found is not None and not unsent:
                        self.answers += 1
                        score = found if isinstance(found.get("error"), str) else found.get("score")
                        return scored(score, found.get("terms"))
        raise Lost(TimeoutError(f"there was no answer within {seconds:.3g} s{self._quotes()}"))

    def kill(self) -> None:
        """Kill it and all that it started."""
        with contextlib.suppress(OSError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def end(self, patience: float = 0.0) -> None:
        """Close its input, wait for its end, and kill what is left."""
        self._pipes[0].close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(patience)
        self.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        for pipe in self._pipes:
            pipe.close()

    def _tell(self, unsent: memoryview) -> memoryview:
        try:
            return unsent[os.write(self._pipes[0].fileno(), unsent[: 1 << 16]) :]
        except BlockingIOError:
            return unsent
        except OSError:
            return unsent[:0]  # it reads no more; its end, if it is one, shows on its output

    def _listen(self) -> bool:
        """Keep the last of what it says on stderr; false at its end."""
        try:
            chunk = os.read(self._pipes[2].fileno(), 1 << 16)
        except BlockingIOError:
            return False
        self._said = (self._said + chunk)[-4000:]
        return bool(chunk)

    def _find(self, chunk: bytes, ident: int) -> dict[str, Any] | None:
        """The line that answers, if it has come; others are kept aside."""
        *lines, self._line = (self._line + chunk).split(b"\n")
        if len(self._line) > LARGEST:
            raise Lost(ValueError(f"it wrote a line of more than {LARGEST:,} bytes"))
        answer = None
        for line in lines:
            try:
                found = parsed(line.decode())
            except ValueError:
                found = None
            if isinstance(found, dict) and type(found.get("id")) is int and found["id"] == ident:
                answer = found
            elif line.strip():
                self._aside.append(shorten(line.decode("utf-8", "replace"), 100))
        return answer

    def _ended(self) -> Lost:
        try:
            code = self.process.wait(1)
        except subprocess.TimeoutExpired:
            return Lost(ChildProcessError(f"the process closed its output{self._quotes()}"))
        while self._listen():
            pass
        how = {-s: s.name for s in signal.Signals}.get(code, f"code {code}")
        return Lost(ChildProcessError(f"the process ended with {how}{self._quotes()}"), left=code == 0)

    def _quotes(self) -> str:
        said = " | ".join(self._said.decode("utf-8", "replace").strip().splitlines()[-3:])
        unread = [*self._aside, *([shorten(self._line.decode("utf-8", "replace"), 100)] if self._line else [])]
        return (f"; on stderr: {shorten(said, 300)}" if said else "") + (
            f"; it printed: {' | '.join(unread)}" if unread else ""
        )
