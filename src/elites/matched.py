"""Runs read from their folders, and those on the same target brought together."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from .events.record import Record
from .ledger import read
from .store import LEDGER
from .stream import Purpose
from .types import InputError

__all__ = ["BASELINE", "Opened", "each", "opened", "places"]

BASELINE = "RandomSearch"  # whose every sample is one of the prior
Key = tuple[int, int, int]  # seed, step, candidate


@dataclass
class Opened:
    """A run with what its ledger says of the prior."""

    record: Record
    name: str
    prior: dict[Key, float]
    sure: bool  # whether its reward gave the same number again

    @property
    def seed(self) -> int:
        return int(self.record.about.get("seed", 0))

    @property
    def method(self) -> str:
        return str(self.record.about.get("method", ""))

    @property
    def nfe(self) -> float:
        return self.record.spent("nfe")

    def at(self, nfe: float) -> float:
        """The best reward after so many network evaluations."""
        if self.nfe <= nfe:
            return self.record.best
        rows = (r for r in self.record.rows if r.get("nfe", math.inf) <= nfe)
        return max((r["best"] for r in rows if math.isfinite(r.get("best", math.nan))), default=math.nan)


def opened(path: Path, name: str) -> Opened:
    """A run, and every prior sample that its ledger has."""
    record = Record.read(path)
    if "method" not in record.about:
        raise InputError(f"{path} holds no run.json that says what was run: it cannot be compared.")
    seed, every = int(record.about.get("seed", 0)), record.method == BASELINE
    prior: dict[Key, float] = {}
    for row in read(path / LEDGER) if (path / LEDGER).is_file() else ():
        if row["run_step"] > 0 and not every:
            break  # rows come in the order of their steps
        drawn = row["purpose"] == Purpose.NOISE and row["draw"] == row["repeat"] == 0 and row["run_step"] >= 0
        if drawn and row["state"] != "pending":
            value = row["reward"]
            prior[seed, row["step"], row["candidate"]] = math.nan if value is None else value
    return Opened(record, name, prior, record.probe.get("repeat", math.nan) == 0)


def places(runs: list[Opened], notes: list[str]) -> list[list[Opened]]:
    """Runs on the same target together: of the same description, and of the same rewards for the same noise."""
    found: list[list[Opened]] = []
    for run in runs:
        alike = [p for p in found if p[0].record.about.get("target") == run.record.about.get("target")]
        home = next((p for p in alike if not any(_differ(run, other) for other in p)), None)
        if home is not None:
            home.append(run)
            continue
        if alike:
            notes.append(f"{run.name} gives other rewards to the same noise than {alike[0][0].name}: compared apart.")
        found.append([run])
    if len(found) > 1:
        notes.append("The runs are on several targets: rewards of different targets are not compared.")
    return found


def _differ(a: Opened, b: Opened) -> bool:
    both = a.prior.keys() & b.prior.keys() if a.sure and b.sure else ()
    pairs = [(a.prior[k], b.prior[k]) for k in both if math.isfinite(a.prior[k]) and math.isfinite(b.prior[k])]
    return any(abs(x - y) > 1e-3 * (1 + abs(x)) for x, y in pairs)


def each(record: Record) -> float:
    """Network evaluations of one prior sample; NaN if it is not known."""
    rows = record.rows if record.method == BASELINE else [record.probe]
    counts = sum(r.get("count", 0) for r in rows)
    last = max((r.get("nfe", 0) for r in rows), default=0)
    return last / counts if counts else math.nan
