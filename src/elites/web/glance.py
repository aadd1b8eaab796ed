"""How a run stands, from a few small reads of its folder: nothing that the run has to wait for."""

from __future__ import annotations

import json
import math
import shlex
import sqlite3
import time
from contextlib import closing, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from ..events import control
from ..events.axes import number
from ..lock import held
from ..store import CONTROL, LEDGER

__all__ = ["FILES", "Glance", "sizes"]

FILES = (
    *("run.json", "history.jsonl", "failures.jsonl", "result.json"),
    *("best.safetensors", "best.json", "best", "steps", "lineage"),
)
SIGNS = ("run.json", "history.jsonl", LEDGER, f"{LEDGER}-wal", "state.safetensors")  # what a run at work writes to
TAIL = 65_536  # bytes from the end of the history in which the last rows are looked for
PATIENCE, STEPS = 60.0, 5.0  # seconds, and longest steps, of silence after which a run is called silent


@dataclass(frozen=True)
class Glance:
    """How a run stands.

    Attributes:
        path: of the folder.
        word: gone, ended, stopped, died, stopping, paused, pausing, silent or running.
        says: a sentence about that; may be empty.
        command: what goes on with the run, if it has to be told to.
        last: of the rows of the history.
        under_way: step that is under way, and how many of its objects have ended; zeros if unknown.
    """

    path: Path
    word: str
    says: str = ""
    command: str = ""
    last: dict[str, float] = field(default_factory=dict)
    under_way: tuple[int, int] = (0, 0)

    @classmethod
    def at(cls, path: Path) -> Glance:
        """How the run in a folder stands."""
        if not (path / "run.json").exists():
            return cls(path, "gone", "Its folder is not there, or is no run any more.")
        alive = held(path)  # first: a run lets go of its lock after it has written how it ended
        asked = _asked(path)  # before its rows: a run that waits has written them
        about, result, rows = _object(path / "run.json"), _object(path / "result.json"), _tail(path / "history.jsonl")
        last = {name: number(value) for name, value in rows[-1].items()} if rows else {}
        if result and not (last and number(result.get("nfe")) < last.get("nfe", math.nan)):
            if result.get("stopped") != "interrupted":
                return cls(path, "ended", last=last)
            return cls(path, "stopped", "It was interrupted; this goes on with it:", _again(path, about), last)
        if not alive:
            says = "Its process has ended before the run did; this goes on with it:"
            return cls(path, "died", says, _again(path, about), last)
        return cls(path, *(asked or _at_work(path, rows)), last=last, under_way=_under_way(path))

    @property
    def alive(self) -> bool:
        """Whether a process is at work on it, or waits."""
        return self.word in ("running", "silent", "pausing", "paused", "stopping")

    @property
    def best(self) -> float:
        """The best reward so far; NaN if there is none."""
        return self.last.get("final", self.last.get("best", math.nan))


def sizes(path: Path, names: tuple[str, ...] = FILES) -> tuple[tuple[int, int], ...]:
    """Time of the last change in nanoseconds, and bytes, of files of a run; zeros for those that are not there."""
    out = []
    for name in names:
        try:
            told = (path / name).stat()
            out.append((told.st_mtime_ns, told.st_size))
        except OSError:
            out.append((0, 0))
    return tuple(out)


def _asked(path: Path) -> tuple[str, str] | None:
    """Word and sentence of a run of which something was asked."""
    match control.order(path):
        case control.STOP:
            return "stopping", "It ends after this step, and can go on later."
        case control.PAUSE:
            (asked, _), (saved, _) = sizes(path, (CONTROL, "state.safetensors"))
            if saved >= asked:  # a run that waits is saved first
                return "paused", "It waits. The time is not charged."
            return "pausing", "It waits after this step."
        case _:
            return None


def _at_work(path: Path, rows: list[dict[str, Any]]) -> tuple[str, str]:
    """Word and sentence of a run whose folder is held, and of which nothing was asked."""
    clock = [number(row.get("seconds")) for row in rows]
    longest = max((b - a for a, b in pairwise(clock) if b > a), default=0.0)
    written = max(time_ns for time_ns, _ in sizes(path, SIGNS)) / 1e9
    if time.time() - written > max(PATIENCE, STEPS * longest):
        at = time.strftime("%H:%M:%S", time.localtime(written))
        return "silent", f"It has written nothing since {at}: a reward may hang, or the step is a long one."
    return "running", ""


def _under_way(path: Path) -> tuple[int, int]:
    """The last step that has evaluations in the ledger, and how many of them have ended."""
    name = f"{(path / LEDGER).resolve().as_uri()}?mode=ro"
    with suppress(sqlite3.Error, TypeError), closing(sqlite3.connect(name, uri=True, timeout=0.2)) as db:
        (step,) = db.execute("SELECT max(run_step) FROM evaluation").fetchone()
        (ended,) = db.execute("SELECT count(*) FROM evaluation WHERE run_step = ? AND state", (step,)).fetchone()
        return int(step), int(ended)
    return 0, 0


def _again(path: Path, about: dict[str, Any]) -> str:
    """What goes on with a run."""
    if about.get("study"):
        return shlex.join(["elites", "resume", str(path)])
    return f"elites.resume({str(path)!r}, method, target)"


def _object(file: Path) -> dict[str, Any]:
    """The JSON object in a file; empty if there is none."""
    with suppress(OSError, ValueError, RecursionError):
        found = json.loads(file.read_text(encoding="utf-8", errors="replace"))
        return found if isinstance(found, dict) else {}
    return {}


def _tail(file: Path) -> list[dict[str, Any]]:
    """The last rows of a history, without what is half written."""
    rows: list[dict[str, Any]] = []
    with suppress(OSError), file.open("rb") as f:
        start = max(0, f.seek(0, 2) - TAIL)
        f.seek(start)
        lines = f.read().decode(errors="replace").split("\n")
        for line in lines[1 if start else 0 :]:
            with suppress(ValueError, RecursionError):
                row = json.loads(line)
                rows += [row] if isinstance(row, dict) else []
    return rows
