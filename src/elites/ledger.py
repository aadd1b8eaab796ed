"""The ledger: every evaluation of a run in an embedded database, written down before its reward is used.

`ledger.sqlite` in the run folder has one row for each evaluation: its key, whether it is pending, done or failed, its
reward or the reason, what it cost, and a digest of the object. The driver is the only writer; anybody may read while
it writes (write-ahead logging), and opening it never runs code. A commit survives the death of the process; where
evaluations take long, the disk is synced too, so that it survives a power cut.

A run that goes on after a kill asks for the same keys again. What is done or failed is answered from here; what was
pending was in flight, and is evaluated again.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from .account import Entry, Key
from .types import InputError

__all__ = ["COLUMNS", "Ledger", "StoreError", "read"]

SCHEMA = 1
STATES = ("pending", "done", "failed")
KEY = ("run_step", "purpose", "step", "candidate", "draw", "repeat")
COLUMNS = (*KEY, "state", "reward", "reason", "calls", "nfe", "digest", "terms", "ended")
SOON = 0.02  # seconds that what was settled may wait for its commit: a kill loses no more of cheap evaluations
OFTEN = 1.0  # seconds between two syncs of the disk


class StoreError(RuntimeError):
    """A run folder cannot be written or read; the message says what to do."""


class Ledger:
    """The evaluations of one run, open for writing; a `Book`.

    Arguments:
        path: of the database; made if it is not there.

    Raises:
        StoreError: if it cannot be written, or is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._replaying = False
        self._committed = self._synced = time.monotonic()
        with self._guarded():
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10.0)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            (schema,) = self._db.execute("PRAGMA user_version").fetchone()
            if schema > SCHEMA:
                raise StoreError(f"{path} was written by a newer elites: update elites to go on with it.")
            if self._db.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
                raise sqlite3.DatabaseError("malformed")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS evaluation (run_step INTEGER, purpose INTEGER, step INTEGER, "
                "candidate INTEGER, draw INTEGER, repeat INTEGER, state INTEGER NOT NULL, reward REAL, reason TEXT, "
                "calls INTEGER, nfe INTEGER, digest BLOB, terms TEXT, ended REAL, latent BLOB, "
                "PRIMARY KEY (run_step, purpose, step, candidate, draw, repeat)) WITHOUT ROWID"
            )
            self._db.execute(f"PRAGMA user_version={SCHEMA}")

    def begin(self, step: int) -> None:
        """A step of the run begins."""
        with self._guarded():
            found = self._db.execute("SELECT 1 FROM evaluation WHERE run_step = ? LIMIT 1", (step,)).fetchone()
            self._replaying = found is not None

    def known(self, keys: Sequence[Key]) -> dict[Key, Entry]:
        """The evaluations among `keys` that have ended."""
        if not self._replaying:
            return {}
        where = " AND ".join(f"{name} = ?" for name in KEY)
        found = {}
        with self._guarded():
            for key in keys:
                row = self._db.execute(
                    f"SELECT reward, reason, calls, nfe, digest, terms FROM evaluation WHERE {where} AND state > 0",
                    key,
                ).fetchone()
                if row is not None:
                    value, reason, calls, nfe, digest, terms = row
                    parts = json.loads(terms) if terms else {}
                    found[key] = Entry(
                        key, float("-inf") if value is None else value, reason, calls, nfe, digest, parts
                    )
        return found

    def pending(self, keys: Sequence[Key]) -> None:
        """These evaluations begin."""
        with self._guarded():
            self._write(
                "INSERT INTO evaluation (run_step, purpose, step, candidate, draw, repeat, state) "
                "VALUES (?, ?, ?, ?, ?, ?, 0) ON CONFLICT DO NOTHING",
                keys,
            )

    def settle(self, entries: Iterable[Entry]) -> None:
        """These evaluations have ended."""
        now = time.time()
        with self._guarded():
            self._write(
                f"INSERT OR REPLACE INTO evaluation ({', '.join(COLUMNS)}, latent) "
                f"VALUES ({', '.join('?' * (len(COLUMNS) + 1))})",
                [
                    (
                        *e.key,
                        1 if e.reason is None else 2,
                        e.value if e.reason is None else None,
                        e.reason,
                        e.calls,
                        e.nfe,
                        e.digest,
                        json.dumps(e.terms) if e.terms else None,
                        now,
                        e.latent,
                    )
                    for e in entries
                ],
            )
            if time.monotonic() - self._committed > SOON:
                self.flush()

    def flush(self) -> None:
        """Commit what was written, and sync the disk if it has been a while."""
        with self._guarded():
            if self._db.in_transaction:
                self._db.execute("COMMIT")
            self._committed = time.monotonic()
            if self._committed - self._synced > OFTEN:
                log = Path(f"{self.path}-wal")
                if log.exists():
                    with log.open("rb") as f:
                        os.fsync(f.fileno())
                self._synced = time.monotonic()

    def failed(self) -> list[tuple[Key, str, bytes | None]]:
        """Key, reason and latent of every failed evaluation."""
        with self._guarded():
            rows = self._db.execute(f"SELECT {', '.join(KEY)}, reason, latent FROM evaluation WHERE state = 2")
            return [(tuple(row[:6]), row[6], row[7]) for row in rows]

    def forget(self, keys: Iterable[Key]) -> None:
        """These evaluations are to be made again."""
        with self._guarded():
            where = " AND ".join(f"{name} = ?" for name in KEY)
            self._write(f"UPDATE evaluation SET state = 0 WHERE {where}", list(keys))
            self.flush()

    def close(self) -> None:
        """Commit, fold the log into the database, and let go of it."""
        self.flush()
        with self._guarded():
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._db.close()

    def _write(self, statement: str, rows: Iterable[Any]) -> None:
        if not self._db.in_transaction:
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
        InputError: if there is none.
        StoreError: if it is damaged.
    """
    if not path.is_file():
        raise InputError(f"There is no ledger {path}: runs in a folder keep one.")
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=10.0)) as db:
            which = "" if state is None else f"WHERE state = {STATES.index(state)} "
            for row in db.execute(f"SELECT {', '.join(COLUMNS)} FROM evaluation {which}ORDER BY {', '.join(KEY)}"):
                out = dict(zip(COLUMNS, row, strict=True))
                out["state"] = STATES[out["state"]]
                out["digest"] = out["digest"].hex() if out["digest"] else None
                out["terms"] = json.loads(out["terms"]) if out["terms"] else {}
                yield out
    except sqlite3.Error as error:
        raise StoreError(_sentence(path, error)) from error


def _sentence(path: Path, error: Exception) -> str:
    text = str(error)
    if "full" in text or "No space" in text:
        return f"Cannot write {path}: the disk is full; free space and resume: what was evaluated is kept."
    if "readonly" in text or "unable to open" in text or "Permission" in text or "Read-only" in text:
        return f"Cannot write {path}: it is read-only; make it writable and resume: what was evaluated is kept."
    if "malformed" in text or "not a database" in text or "disk I/O" in text:
        return (
            f"{path} is damaged ({text}): restore it from a copy, or run 'elites repair {path.parent}', which keeps "
            "the damaged file and takes over every evaluation that can be read."
        )
    return f"Cannot use {path} ({text}): resume when that is mended; what was evaluated is kept."
