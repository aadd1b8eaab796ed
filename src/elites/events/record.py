"""What a run folder says of its run, finished or not, read without its model."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from ..store import Folder
from ..types import Reading
from .axes import number

__all__ = ["Record"]


@dataclass(frozen=True)
class Record:
    """A run as its folder has it.

    Attributes:
        path: of the folder.
        about: run.json.
        result: result.json; empty if the run has not ended, or was resumed since it did.
        rows: of the history, without those of finalists.
        final: the row of the finalists, if it is the last.
        failures: failures.jsonl.
        rewards, keys: of the best objects, if the run has ended.
        size: dimension of their noise; 0 if unknown.
    """

    path: Path
    about: dict[str, Any]
    result: dict[str, Any]
    rows: list[dict[str, float]]
    final: dict[str, float]
    failures: list[dict[str, Any]]
    rewards: list[float]
    keys: list[list[int]]
    size: int

    @classmethod
    def read(cls, path: Path) -> Record:
        """The run in a folder.

        Raises:
            InputError: if there is none, or it is of a newer version.
        """
        told = _objects(path / "history.jsonl")
        about = {} if told and not (path / "run.json").exists() else Folder(path).about()
        every = [{name: number(v) for name, v in row.items()} for row in told]
        result = next(iter(_objects(path / "result.json", whole=True)), {})
        if every and number(result.get("nfe")) < every[-1].get("nfe", math.nan):
            result = {}
        return cls(
            path,
            about,
            result,
            [row for row in every if "final" not in row],
            every[-1] if every and "final" in every[-1] else {},
            _objects(path / "failures.jsonl"),
            *(_kept(path / "best.safetensors") if result else ([], [], 0)),
        )

    def column(self, name: str) -> list[float]:
        """A column of the history, NaN where it has no value."""
        return [row.get(name, math.nan) for row in self.rows]

    def last(self, name: str) -> float:
        """The last number of a column, that of the finalists if they have one."""
        values = [*self.column(name), self.final.get(name, math.nan)]
        return next((v for v in reversed(values) if math.isfinite(v)), math.nan)

    def of_best(self, name: str) -> float:
        """The number that goes with the best sample in the end, NaN if it has none."""
        ended = [row for row in self.rows if "best" in row]
        row = self.final or (ended[-1] if ended else {})
        return row.get(name, math.nan)

    def spent(self, name: str) -> float:
        """What was spent in all."""
        return number(self.result[name]) if name in self.result else self.last(name)

    @property
    def steps(self) -> list[float]:
        """The steps of the rows."""
        return [row.get("step", float(i)) for i, row in enumerate(self.rows)]

    @property
    def best(self) -> float:
        """The reward of the best object; NaN if there is none."""
        told = number(self.result.get("best"))
        return told if math.isfinite(told) else self.final.get("final", self.last("best"))

    @property
    def probe(self) -> dict[str, float]:
        """The row of the probe; empty if there was none."""
        return self.rows[0] if self.rows and self.rows[0].get("step") == 0 else {}

    @property
    def evidence(self) -> list[Reading]:
        """What subscribers read of the winners; empty until the run has ended."""
        told = self.result.get("evidence")
        return [
            Reading(
                str(it.get("name", "")),
                number(it.get("value")),
                number(it.get("quantile")),
                str(it.get("says", "")),
                it.get("warns") is True,
            )
            for it in (told if isinstance(told, list) else [])
            if isinstance(it, dict)
        ]

    @property
    def alarm(self) -> float:
        """The step at which the hacking alarm rang, the last where it did at the end; NaN if it did not."""
        rang = (row.get("step", float(i)) for i, row in enumerate(self.rows) if row.get("alarm", 0.0) > 0)
        at_the_end = any(r.name == "alarm" and r.warns for r in self.evidence) and self.rows
        return next(rang, self.rows[-1].get("step", len(self.rows) - 1.0) if at_the_end else math.nan)

    @property
    def improvements(self) -> list[tuple[int, float]]:
        """Step and reward of every new best of the search, in their order; step 0 is the probe."""
        out: list[tuple[int, float]] = []
        for step, best in zip(self.steps, self.column("best"), strict=True):
            if math.isfinite(best) and math.isfinite(step) and (not out or best > out[-1][1]):
                out.append((int(step), best))
        return out

    @property
    def method(self) -> str:
        """The name of the method."""
        return str(self.about.get("method", "The run")).partition("(")[0]

    @property
    def failed(self) -> float:
        """How many candidates failed."""
        told = (row.get("failures", math.nan) for row in (*self.rows, self.final))
        counted = max(sum(v for v in told if math.isfinite(v)), len(self.failures))
        told_last = number(self.result.get("failures", counted))
        return told_last if math.isfinite(told_last) else counted

    @property
    def reasons(self) -> dict[str, list[tuple[Any, Any]]]:
        """Step and candidate of the failures of each reason, the most frequent first; "?" where one is not known."""
        groups: dict[str, list[tuple[Any, Any]]] = defaultdict(list)
        for failure in self.failures:
            key = failure.get("step", "?"), failure.get("candidate", "?")
            groups[str(failure.get("reason", ""))].append(key)
        return dict(sorted(groups.items(), key=lambda item: -len(item[1])))

    @property
    def finished(self) -> bool:
        """Whether there is nothing to resume."""
        return bool(self.result) and self.result.get("stopped") != "interrupted"


def _objects(file: Path, whole: bool = False) -> list[dict[str, Any]]:
    """The JSON objects in a file, one a line or one in all, without what a kill has torn."""
    found: list[Any] = []
    if file.is_file():
        text = file.read_text(encoding="utf-8", errors="replace")
        for part in [text] if whole else text.split("\n"):
            with suppress(ValueError, RecursionError):
                found.append(json.loads(part))
    return [row for row in found if isinstance(row, dict)]


def _kept(file: Path) -> tuple[list[float], list[list[int]], int]:
    """Rewards, keys and the size of the noise of the best objects."""
    try:
        with safe_open(file, "pt") as f:
            rewards = f.get_tensor("reward").flatten().tolist()
            keys = f.get_tensor("keys").reshape(-1, 2).tolist()
            noisy = "z" in f.keys()  # noqa: SIM118 (no iterator)
            return rewards, keys, math.prod(f.get_slice("z").get_shape()[1:]) if noisy else 0
    except (SafetensorError, OSError, RuntimeError, ValueError):
        return [], [], 0
