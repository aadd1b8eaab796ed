"""Who writes a run folder: one process at a time."""

from __future__ import annotations

import fcntl
import os
import socket
import time
import weakref
from contextlib import suppress
from pathlib import Path

from .ledger import StoreError
from .types import InputError

__all__ = ["Lock", "check_there", "held"]

TRIES, WAIT = 20, 0.01  # who only looks whether a folder is held has its lock for a moment


class Lock:
    """The lock of a folder, which is made if it is not there; the system lets go of it when its process dies.

    Raises:
        InputError: if another process holds it; the message says which, and on which machine.
        StoreError: if the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = (folder / "lock").open("a+")
        except OSError as error:
            raise StoreError(f"Cannot write {folder}: {error.strerror}; choose another folder.") from error
        if not self._taken():
            self._file.seek(0)
            who = self._file.read().strip() or "another process"
            self._file.close()
            raise InputError(f"{folder} is in use by {who}: wait for it, or stop it first.") from None
        _locks.add(self)
        with suppress(OSError):  # on a full disk it is held all the same
            os.truncate(self._file.fileno(), 0)
            os.write(self._file.fileno(), f"process {os.getpid()} on {socket.gethostname()}".encode())

    def _taken(self) -> bool:
        for i in range(TRIES):
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                time.sleep(WAIT if i < TRIES - 1 else 0)
            else:
                return True
        return False

    def close(self) -> None:
        """Let others in."""
        self._file.close()


def check_there(folder: Path) -> None:
    """Refuse to write into a folder that was taken away since it was locked.

    Raises:
        StoreError: that says so.
    """
    if not (folder / "lock").exists():
        raise StoreError(
            f"{folder} is gone: it was moved or deleted while its run went on; put it back and resume, or start the "
            "run again."
        )


def held(folder: Path) -> bool:
    """Whether a process holds the lock of a folder; it may be asked at any time, and writes nothing."""
    try:
        with (folder / "lock").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # there is no lock, or none that may be seen
        return False
    return False


_locks: weakref.WeakSet[Lock] = weakref.WeakSet()


def _let_go() -> None:
    """A child that outlives its parent must not hold the run."""
    for lock in _locks:
        lock.close()


os.register_at_fork(after_in_child=_let_go)
