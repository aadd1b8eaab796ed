"""Rewards that are not paid for twice: what earlier runs have scored is answered from their ledgers."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..answers import NoScore, Scored, Streaming, digest, gather, name_of, readings
from ..ledger import read
from ..types import InputError, Reward
from .asking import ask, take

__all__ = ["cached"]


def cached(reward: Reward, runs: Sequence[str | Path] = ()) -> Reward:
    """The reward, which is not asked again about an object that it has scored, here or in earlier runs.

        reward = cached(dock, ["runs/monday", "runs/tuesday"])

    Objects are told apart by 16 bytes of a hash of their contents: arrays, text, and what JSON can hold; others are
    always scored. Equal objects of a batch are scored once. Failures are scored again. It is meant for rewards that
    give the same number again; a cached one passes no gradient.

    Arguments:
        reward: any reward.
        runs: folders of runs with the same reward.

    Raises:
        InputError: if the reward is not callable, a folder holds no run with a ledger, or one with another reward.
    """
    if not callable(reward):
        raise InputError(f"The reward is a {type(reward).__name__}: give a callable on a batch of objects.")
    name = re.sub(r" at 0x[0-9a-f]+", "", name_of(reward))  # as it is written in a run folder
    for run in runs:
        try:
            target = json.loads((Path(run) / "run.json").read_text())["target"]
        except (OSError, ValueError, KeyError):
            target = None
        if target is None or not (Path(run) / "ledger.sqlite").is_file():
            raise InputError(f"There is no run with a ledger in {run}: give the folders of earlier runs.")
        if f", {name}, walk=" not in target:
            raise InputError(f"The run in {run} scored with another reward than {name}: leave it out. It is {target}.")
    known = _Known([Path(run).absolute() / "ledger.sqlite" for run in runs])
    return _Stream(reward, known) if isinstance(reward, Streaming) else _Batch(reward, known)


class _Known:
    """Numbers, with their terms, by digest; those of the ledgers are read when they are first needed."""

    def __init__(self, ledgers: list[Path]) -> None:
        self.ledgers = ledgers
        self._lock = threading.Lock()
        self._scores: dict[bytes, Any] | None = None

    def __reduce__(self) -> tuple[type[_Known], tuple[list[Path]]]:
        return _Known, (self.ledgers,)

    def split(self, objects: Any) -> tuple[dict[int, Any], dict[Any, list[int]]]:
        """What is known, by row; and the rows of what is not, by digest, or by row where an object has none."""
        scores = self._read()
        known: dict[int, Any] = {}
        new: dict[Any, list[int]] = {}
        for i, obj in enumerate(objects):
            key = digest(obj)
            if key in scores:
                known[i] = scores[key]
            else:
                new.setdefault(i if key is None else key, []).append(i)
        return known, new

    def put(self, key: Any, answer: Any) -> None:
        """Remember a number; failures are not, and neither is what has no digest."""
        values, reasons, parts = readings([answer], 1)
        if isinstance(key, bytes) and not reasons:
            value = float(values[0].detach())
            self._read()[key] = Scored(value, {name: part[0] for name, part in parts.items()}) if parts else value

    def _read(self) -> dict[Any, Any]:
        with self._lock:
            if self._scores is None:
                self._scores = {
                    bytes.fromhex(row["digest"]): Scored(row["reward"], row["terms"])
                    if row["terms"]
                    else row["reward"]
                    for path in self.ledgers
                    for row in read(path, "done")
                    if row["digest"]
                }
            return self._scores


@dataclass(frozen=True, eq=False, repr=False)
class _Batch:
    reward: Reward
    known: _Known

    def __repr__(self) -> str:
        return name_of(self.reward)  # so that a run is described as without a cache

    def __call__(self, objects: Any) -> list[Any]:
        known, new = self.known.split(objects)
        if new:
            said = ask(self.reward, take(objects, [rows[0] for rows in new.values()]))
            for k, (key, rows) in enumerate(new.items()):
                answer: Any = NoScore(said.reasons[k]) if k in said.reasons else float(said.values[k].detach())
                if said.parts:
                    answer = Scored(answer, {name: float(part[k]) for name, part in said.parts.items()})
                self.known.put(key, answer)
                known |= dict.fromkeys(rows, answer)
        return [known[i] for i in range(len(objects))]


@dataclass(frozen=True, eq=False, repr=False)
class _Stream:
    reward: Streaming
    known: _Known

    def __repr__(self) -> str:
        return name_of(self.reward)

    @property
    def width(self) -> int:
        return self.reward.width

    def __call__(self, objects: Any) -> list[Any]:
        return gather(self.each(objects), len(objects))

    def each(self, objects: Any) -> Iterator[tuple[int, Any]]:
        known, new = self.known.split(objects)
        yield from known.items()
        keys = list(new)
        if not new:
            return
        for k, answer in self.reward.each(take(objects, [rows[0] for rows in new.values()])):
            self.known.put(keys[k], answer)
            yield from ((i, answer) for i in new[keys[k]])
