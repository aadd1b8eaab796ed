"""The run folder: what a run needs to go on, written so that a kill at any moment loses at most one save.

    run.json              seed, budget, method, target and versions, written once
    study.py              the study as it was run, if it came from one
    lock                  held by the process that writes
    ledger.sqlite         every evaluation: key, reward or reason, cost
    state.safetensors     the method's state, the kept samples and the counters, in one file
    history.jsonl         a row of numbers per step
    failures.jsonl        step, candidate and reason of each failure
    steps/                drawings of the best of some steps: PNG where they are pictures, JSON otherwise
    lineage/              drawings of some that were the best of their time
    best/                 drawings of the best
    best.safetensors      the best samples, and their objects where they are arrays; best.json where they are text
    control               what a person asks of the run: "pause" or "stop"
    report.html

Files are written aside, synced and renamed. Tensors are safetensors, numbers are JSON, and nothing is pickled, so that
opening a folder never runs code. There is no generator state: randomness is keyed by the seed and the step.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from .account import described
from .ledger import Ledger, StoreError, read
from .lines import Lines
from .lock import Lock, check_there
from .packing import pack, unpack
from .run import Start, versions
from .types import Failure, InputError, Meter, Samples, Setup

__all__ = ["CONTROL", "LEDGER", "SCHEMA", "Folder", "StoreError", "check_there", "write"]

SCHEMA = 1
LEDGER, CONTROL = "ledger.sqlite", "control"
EARLY = {"lock", ".run.json.tmp"}  # what a run leaves that is killed before it has said what it will do


def write(path: Path, data: bytes, *, sync: bool = True) -> None:
    """Write a file whole or not at all; without `sync`, a machine that loses power may lose it.

    Raises:
        StoreError: if the folder is read-only, the disk is full, or the like.
    """
    aside = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with aside.open("wb") as f:
            f.write(data)
            if sync:
                f.flush()
                os.fsync(f.fileno())
        aside.replace(path)
    except OSError as error:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
        raise StoreError(f"Cannot write {path}: {error.strerror}; what was saved before is intact.") from error


class Folder:
    """A run folder, held by one process.

    Use `Folder.create` for a new run and `Folder.open` to go on; `close` lets others in.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: Lock | None = None
        self._history, self._failures = Lines(path / "history.jsonl"), Lines(path / "failures.jsonl")

    @classmethod
    def create(cls, path: str | Path) -> Folder:
        """A new folder.

        Raises:
            InputError: if it exists and is not empty.
            StoreError: if it cannot be written.
        """
        folder = cls(Path(path))
        if folder.path.exists() and not (folder.path.is_dir() and {p.name for p in folder.path.iterdir()} <= EARLY):
            raise InputError(f"{path} exists: choose another folder, or go on with 'elites resume {path}'.")
        folder._hold()
        return folder

    @classmethod
    def open(cls, path: str | Path) -> Folder:
        """The folder of a run that was begun.

        Raises:
            InputError: if it is none, or another process holds it.
        """
        folder = cls(Path(path))
        folder.about()
        folder._hold()
        return folder

    def _hold(self) -> None:
        self._lock = Lock(self.path)

    def close(self) -> None:
        """Let others in."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def ledger(self) -> Ledger:
        """The ledger, open for writing.

        Raises:
            StoreError: if it cannot be written, or is damaged.
        """
        return Ledger(self.path / LEDGER)

    def discard(self) -> None:
        """Remove a folder in which nothing was saved yet, and nothing learned but that a probe finds no slope."""
        ledger = self.path / LEDGER
        rows = [r for r in read(ledger) if r["state"] != "pending"] if ledger.exists() else []
        learned = any(r["run_step"] for r in rows) or len({r["reward"] for r in rows if r["state"] == "done"}) > 1
        if not (self.path / "state.safetensors").exists() and not learned:
            for name in ("run.json", "study.py", "lock", "history.jsonl", "failures.jsonl", CONTROL):
                (self.path / name).unlink(missing_ok=True)
            for tail in ("", "-wal", "-shm"):
                Path(f"{ledger}{tail}").unlink(missing_ok=True)
            with suppress(OSError):
                self.path.rmdir()

    @property
    def step(self) -> int:
        """Steps that the saved state has behind it."""
        file = self.path / "state.safetensors"
        if not file.exists():
            return 0
        with safe_open(file, "pt") as f:
            return int(json.loads(f.metadata()["elites"])["step"])

    @property
    def finished(self) -> bool:
        """Whether the run ended by itself."""
        file = self.path / "result.json"
        try:
            return json.loads(file.read_text())["stopped"] != "interrupted"
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def about(self) -> dict[str, Any]:
        """What `run.json` says.

        Raises:
            InputError: if this is no run folder, or one of a newer version.
        """
        file = self.path / "run.json"
        try:
            about = json.loads(file.read_text())
            schema = int(about["schema"])
        except FileNotFoundError:
            raise InputError(f"{self.path} is no run folder: it has no run.json.") from None
        except (ValueError, KeyError, TypeError, OSError):
            raise InputError(f"{file} cannot be read: restore it from a copy, or start the run again.") from None
        if schema > SCHEMA:
            raise InputError(f"{self.path} was written by a newer elites (schema {schema}): upgrade to open it.")
        return about

    def begin(self, setup: Setup, study: str | None = None) -> None:
        """Write down what defines the run, that it has not ended, and that nobody has asked anything of it."""
        for name in ("result.json", CONTROL):
            (self.path / name).unlink(missing_ok=True)
        about = {
            "schema": SCHEMA,
            "seed": setup.seed,
            "budget": asdict(setup.budget),
            "method": _described(setup.method),
            "target": _described(setup.target),
            "versions": versions(),
            "study": study,
        }
        write(self.path / "run.json", json.dumps(about, indent=1).encode())

    def save(
        self,
        step: int,
        state: Any,
        meter: Meter,
        best: Samples | None,
        rows: Iterable[dict[str, float]],
        failures: Iterable[Failure],
    ) -> None:
        """Append rows and failures, then replace the state; what was appended past the state is cut off on resume."""
        self.append(rows, failures, sync=True)
        tensors: dict[str, Tensor] = {}
        values = {
            "of": self._identity(),
            "step": step,
            "meter": asdict(meter),
            "state": pack(state, "state", tensors),
            "best": pack(best, "best", tensors),
            "sizes": [self._history.size, self._failures.size],
        }
        write(self.path / "state.safetensors", save(_apart(tensors), {"elites": json.dumps(values)}))

    def append(self, rows: Iterable[dict[str, float]], failures: Iterable[Failure], *, sync: bool = False) -> None:
        """Append rows and failures; without `sync`, a machine that loses power may lose them before the next save."""
        check_there(self.path)
        self._history.append(rows, sync=sync)
        self._failures.append((asdict(f) for f in failures), sync=sync)

    def load(self, like: Any) -> Start:
        """Where the run stood, for a first state `like`.

        Raises:
            InputError: if the state file is damaged or belongs to something else.
        """
        file = self.path / "state.safetensors"
        if not file.exists():  # killed before the first save
            self._history.read(0)
            self._failures.read(0)
            return Start()
        try:
            with safe_open(file, "pt") as f:
                values = json.loads(f.metadata()["elites"])
                tensors = {name: f.get_tensor(name).clone() for name in f.keys()}  # noqa: SIM118 (no iterator)
            if values["of"] != self._identity():
                raise KeyError("another run")
            state = unpack(values["state"], like, tensors)
            samples = Samples(*[None] * len(fields(Samples)))  # type: ignore[arg-type]
            best = unpack(values["best"], samples, tensors)
            sizes = values["sizes"]
            start = Start(state, values["step"], Meter(**values["meter"]), best)
            start.history = self._history.read(sizes[0])
            start.failures = [Failure(**row) for row in self._failures.read(sizes[1])]
        except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, OSError) as error:
            raise InputError(
                f"{file} is damaged or belongs to another run ({type(error).__name__}): restore it from a "
                "copy, or delete it to start this run again from its seed."
            ) from None
        return start

    def _identity(self) -> str:
        """What tells the state of this run from that of another."""
        about = self.about()
        return hashlib.sha256(repr([about[k] for k in ("seed", "method", "target")]).encode()).hexdigest()[:16]

    def check(self, setup: Setup) -> None:
        """Refuse to go on with another method, target or seed than those of the folder."""
        about = self.about()
        now = {"seed": setup.seed, "method": _described(setup.method), "target": _described(setup.target)}
        for name, value in now.items():
            if about[name] != value:
                raise InputError(f"The run in {self.path} has {name} {about[name]}, not {value}: start a new run.")

    def history(self) -> list[dict[str, float]]:
        """All rows written, also those after the last state."""
        return self._history.read()

    def failures(self) -> list[dict[str, Any]]:
        """All failures written."""
        return self._failures.read()


def _described(thing: object) -> str:
    """What it is, without the failure policy, which may be another when a run goes on."""
    return re.sub(r", on_error=\w+\([^()]*\)\)$", ")", described(thing))


def _apart(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors that share no memory, as safetensors wants them."""
    return {name: value.clone() for name, value in tensors.items()}
