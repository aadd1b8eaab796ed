"""The ledger: every evaluation of a run in an embedded database, written down before its reward is used.

`ledger.sqlite` in the run folder has one row for each evaluation: its key, whether it is pending, done or failed, its
reward or the reason, what it cost, a digest of the object, and a checksum of all that. The driver is the only writer;
anybody may read while it writes (write-ahead logging), and opening it never runs code. What begins and what ends is
committed at once, and survives the death of every process; the disk is synced about once a second, so that what
happened before that survives a power cut.

A run that goes on after a kill asks for the same keys again. What is done or failed is answered from here; what was
pending was in flight, and is evaluated again.
"""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import threading
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from .account import Entry, Key
from .types import InputError

__all__ = ["COLUMNS", "ROW", "Ledger", "StoreError", "checksum", "read"]

SCHEMA = 1
STATES = ("pending", "done", "failed")
KEY = ("run_step", "purpose", "step", "candidate", "draw", "repeat")
COLUMNS = (*KEY, "state", "reward", "reason", "calls", "nfe", "digest", "terms", "ended")
ROW = (*COLUMNS, "latent")
SELECT = f"SELECT {', '.join(ROW)}, checksum FROM evaluation"
WHERE = f"WHERE {' AND '.join(f'{name} = ?' for name in KEY)}"
OPENING = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=NORMAL",
    "PRAGMA wal_autocheckpoint=4000",  # pages: the log is folded into the database at 16 MB
    "PRAGMA secure_delete=ON",  # a repair takes nothing that was forgotten for a row
    "CREATE TABLE IF NOT EXISTS evaluation (run_step INTEGER, purpose INTEGER, step INTEGER, candidate INTEGER, "
    "draw INTEGER, repeat INTEGER, state INTEGER NOT NULL, reward, "  # a REAL would lose the sign of -0.0
    "reason TEXT, calls INTEGER, nfe INTEGER, digest BLOB, terms TEXT, ended REAL, latent BLOB, checksum INTEGER, "
    f"PRIMARY KEY ({', '.join(KEY)})) WITHOUT ROWID",
    f"PRAGMA user_version={SCHEMA}",
)
OFTEN = 1.0  # seconds between two syncs of the disk


class StoreError(RuntimeError):
    """A run folder cannot be written or read; the message says what to do."""


class _Damaged(sqlite3.DatabaseError):
    """What SQLite does not see by itself."""

    sqlite_errorname = "SQLITE_CORRUPT"


class Ledger:
    """The evaluations of one run, open for writing; a `Book`.

    Arguments:
        path: of the database; made if it is not there.

    Raises:
        StoreError: if it cannot be written, or is damaged; a damaged one is not touched.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._replaying = False
        self._synced = time.monotonic()
        with self._guarded():
            if path.exists():
                _inspect(path)
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10.0)
            try:
                for statement in OPENING:
                    self._db.execute(statement)
                found = self._db.execute("SELECT DISTINCT run_step FROM evaluation")
                self._begun = {step for (step,) in found}  # steps that may have evaluations here
            except BaseException:
                self._db.close()
                raise

    def begin(self, step: int) -> None:
        """A step of the run begins."""
        with self._lock:
            self._replaying = step in self._begun
            self._begun.add(step)

    def known(self, keys: Sequence[Key]) -> dict[Key, Entry]:
        """The evaluations among `keys` that have ended."""
        if not self._replaying:
            return {}
        found = {}
        with self._guarded():
            for key in keys:
                row = self._db.execute(f"{SELECT} {WHERE} AND state > 0", key).fetchone()
                if row is not None:
                    _, value, reason, calls, nfe, digest, terms, _, latent = _sound(row)[len(KEY) :]
                    parts = json.loads(terms) if terms else {}
                    value = float("-inf") if value is None else value
                    found[key] = Entry(key, value, reason, calls, nfe, digest, parts, latent)
        return found

    def pending(self, keys: Sequence[Key]) -> None:
        """These evaluations begin."""
        with self._guarded():
            self._begun.update(key[0] for key in keys)
            self._write(
                f"INSERT INTO evaluation ({', '.join(KEY)}, state) VALUES (?, ?, ?, ?, ?, ?, 0) "
                "ON CONFLICT DO NOTHING",
                keys,
            )

    def settle(self, entries: Iterable[Entry]) -> None:
        """These evaluations have ended."""
        now, rows = time.time(), []
        for e in entries:
            end = (1, e.value, None) if e.reason is None else (2, None, e.reason)
            terms = json.dumps(dict(e.terms)) if e.terms else None
            rows.append((*e.key, *end, e.calls, e.nfe, e.digest, terms, now, e.latent))
        self.take(rows)
        self.flush()

    def take(self, rows: Sequence[Sequence[Any]]) -> None:
        """Write rows down as they are, in the order of `ROW`."""
        columns = (*ROW, "checksum")
        with self._guarded():
            self._begun.update(row[0] for row in rows)
            self._write(
                f"INSERT OR REPLACE INTO evaluation ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})",
                [(*row, checksum(row)) for row in rows],
            )

    def flush(self) -> None:
        """Sync the disk, if it has been a while: everything is committed already."""
        with self._guarded():
            if time.monotonic() - self._synced > OFTEN:
                with suppress(FileNotFoundError), Path(f"{self.path}-wal").open("rb") as log:
                    os.fsync(log.fileno())
                self._synced = time.monotonic()

    def failed(self) -> list[tuple[Key, str, bytes | None]]:
        """Key, reason and latent of every failed evaluation."""
        with self._guarded():
            rows = [_sound(row) for row in self._db.execute(f"{SELECT} WHERE state = 2")]
            return [(row[:6], row[8], row[-1]) for row in rows]

    def forget(self, keys: Iterable[Key]) -> int:
        """These evaluations are to be made again, and all that may have followed from them.

        Returns:
            How many were forgotten.
        """
        keys = list(keys)
        with self._guarded():
            before = self._db.total_changes
            self.outdate(keys)  # first: a kill in between leaves nothing that follows from other rewards
            self._write(f"DELETE FROM evaluation {WHERE}", keys)
            return self._db.total_changes - before

    def outdate(self, keys: Iterable[Key]) -> int:
        """Forget what may have followed from evaluations whose rewards are to change or have changed.

        A run that goes on from before their step is led to other candidates, which would find the rewards of the old
        ones under their keys. So all later steps go, the finalists, and of the first step itself what was scored after
        these. Give no keys of steps that the run has behind it: they lead nowhere.

        Returns:
            How many were forgotten.
        """
        keys = [key for key in keys if key[0] > 0]  # nothing follows from the probe (0) or the finalists (below)
        if not keys:
            return 0
        first = min(key[0] for key in keys)
        least = min(key[-1] for key in keys if key[0] == first)
        beside = {(purpose, step, draw) for run_step, purpose, step, _, draw, _ in keys if run_step == first}
        kept = beside.pop() if len(beside) == 1 else (None, None, None)  # of several, one may lead to another
        with self._guarded():
            before = self._db.total_changes
            self._write(
                "DELETE FROM evaluation WHERE run_step > ?1 OR run_step < 0 OR run_step = ?1 "
                "AND (repeat > ?2 OR (purpose, step, draw) IS NOT (?3, ?4, ?5))",
                [(first, least, *kept)],
            )
            return self._db.total_changes - before

    def close(self) -> None:
        """Fold the log into the database, and let go of it."""
        with self._lock, suppress(sqlite3.Error):  # what cannot be folded stays in the log, and is read from there
            self._db.close()

    def _write(self, statement: str, rows: Iterable[Any]) -> None:
        """All or nothing, and committed."""
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany(statement, rows)

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """One thread at a time, and one sentence for what goes wrong."""
        with self._lock:
            try:
                yield
            except (sqlite3.Error, OSError) as error:
                raise StoreError(_sentence(self.path, error)) from error


def read(path: Path, state: str | None = None) -> Iterator[dict[str, Any]]:
    """The rows of a ledger, or those in one state, in the order of their keys; also while a run writes it.

    Raises:
        InputError: if there is none, or no such state.
        StoreError: if it is damaged.
    """
    if not path.is_file():
        raise InputError(f"There is no ledger {path}: runs in a folder keep one.")
    if state is not None and state not in STATES:
        raise InputError(f"There is no state {state!r}: an evaluation is {', '.join(STATES)}.")
    which = "" if state is None else f"WHERE state = {STATES.index(state)} "
    try:
        with closing(_reader(path)) as db:
            if db.execute("SELECT 1 FROM sqlite_master").fetchone() is None:
                return  # of a run that was killed before its first evaluation
            for row in db.execute(f"{SELECT} {which}ORDER BY {', '.join(KEY)}"):
                out = dict(zip(COLUMNS, _sound(row), strict=False))
                out["state"] = STATES[out["state"]]
                out["digest"] = out["digest"].hex() if out["digest"] else None
                out["terms"] = json.loads(out["terms"]) if out["terms"] else {}
                yield out
    except (sqlite3.Error, OSError) as error:
        raise StoreError(_sentence(path, error)) from error


def checksum(row: Sequence[Any]) -> int:
    """Of what is stored of an evaluation, in the order of `ROW`."""
    return zlib.crc32(ascii(tuple(row[:-1])).encode(), zlib.crc32(row[-1] or b""))


def _sound(row: Sequence[Any]) -> tuple[Any, ...]:
    """A row without its checksum, which an evaluation that has ended must match."""
    *values, check = row
    if check is None and values[len(KEY)] == 0:
        return tuple(values)
    if check != checksum(values):
        raise _Damaged("a row does not match its checksum")
    return tuple(values)


def _inspect(path: Path) -> None:
    """Refuse a damaged or newer database without touching it."""
    with closing(_reader(path)) as db:
        if db.execute("PRAGMA user_version").fetchone()[0] > SCHEMA:
            raise StoreError(f"{path} was written by a newer elites: update elites to go on with it.")
        (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise _Damaged(verdict.splitlines()[-1])


def _reader(path: Path) -> sqlite3.Connection:
    """A connection that writes nothing, also where nothing can be written."""
    name = f"{path.resolve().as_uri()}?mode=ro"
    db = sqlite3.connect(name, uri=True, timeout=10.0)
    try:
        db.execute("SELECT 1 FROM sqlite_master")
    except sqlite3.OperationalError as error:
        db.close()
        if not error.sqlite_errorname.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY")):
            raise
        log = Path(f"{path}-wal")
        if log.exists() and log.stat().st_size:
            raise  # it has to be read too, which takes a file beside it
        db = sqlite3.connect(f"{name}&immutable=1", uri=True)
    return db


def _sentence(path: Path, error: Exception) -> str:
    name = getattr(error, "sqlite_errorname", "") or errno.errorcode.get(getattr(error, "errno", None) or 0, "")
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_IOERR_SHORT_READ")):
        return (
            f"{path} is damaged ({error}): restore it from a copy, or run 'elites repair {path.parent}', which keeps "
            "the damaged file and takes over every evaluation that can be read."
        )
    if name in ("SQLITE_FULL", "ENOSPC", "EDQUOT"):
        return f"Cannot write {path}: the disk is full; free space and resume: what was written is kept."
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN")) or name in ("EACCES", "EPERM", "EROFS"):
        return f"Cannot write {path}: it or its folder is read-only; make it writable and resume: nothing is lost."
    if name.startswith("SQLITE_IOERR") or isinstance(error, OSError):
        return (
            f"Cannot write {path} ({error}): the disk is failing, or a quota or a limit on the size of files is "
            "reached; mend that and resume: what was written is kept."
        )
    return f"Cannot use {path} ({error}): resume when that is mended; what was written is kept."
