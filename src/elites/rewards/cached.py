"""Rewards that are not paid for twice: what earlier runs have scored is answered from their ledgers."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ..answers import NoScore, Scored, Streaming, digest, gather, readings
from ..ledger import read
from ..types import InputError, Reward
from .basic import dress, name_of

__all__ = ["cached"]


def cached(reward: Reward, runs: Sequence[str | Path] = ()) -> Reward:
    """The reward, which is not asked again about an object that it has scored, here or in earlier runs.

        reward = cached(dock, ["runs/monday", "runs/tuesday"])

    Objects are told apart by 16 bytes of a hash of their contents: arrays, text, and what JSON can hold; others are
    always scored. Failures are scored again. It is meant for rewards that give the same number again; a cached one
    passes no gradient.

    Arguments:
        reward: any reward.
        runs: folders of runs with the same reward.

    Raises:
        InputError: if a folder holds no run, or one with another reward.
    """
    if not callable(reward):
        raise InputError(f"The reward is a {type(reward).__name__}: give a callable on a batch of objects.")
    name = name_of(reward)
    for run in runs:
        try:
            target = json.loads((Path(run) / "run.json").read_text())["target"]
        except (OSError, ValueError, KeyError):
            raise InputError(f"There is no run in {run}: give the folders of earlier runs.") from None
        if f", {name}, walk=" not in target:
            raise InputError(f"The run in {run} scored with another reward than {name}: leave it out. It is {target}.")
    known = _Known([Path(run) / "ledger.sqlite" for run in runs])
    out = _Stream(reward, known) if isinstance(reward, Streaming) else _Batch(reward, known)
    if "__qualname__" in vars(reward) or hasattr(type(reward), "__get__"):
        dress(out, reward)
    return out


@dataclass(eq=False)
class _Known:
    """Rewards by digest, read from the ledgers when they are first needed."""

    ledgers: list[Path]
    scores: dict[bytes, float] | None = None
    lock: Any = field(default_factory=threading.Lock)

    def get(self, obj: Any) -> tuple[bytes | None, float | None]:
        with self.lock:
            if self.scores is None:
                rows = (row for path in self.ledgers for row in read(path, "done"))
                self.scores = {bytes.fromhex(r["digest"]): r["reward"] for r in rows if r["digest"]}
        key = digest(obj)
        return key, None if key is None else self.scores.get(key)

    def put(self, key: bytes | None, answer: Any) -> None:
        values, reasons, _ = readings([answer], 1)
        if key is not None and self.scores is not None and not reasons and bool(torch.isfinite(values).all()):
            self.scores[key] = float(values[0])

    def split(self, objects: Any) -> tuple[list[bytes | None], dict[int, float], list[int]]:
        """Digests, what is known by position, and the positions of what is not."""
        found = [self.get(obj) for obj in objects]
        known = {i: score for i, (_, score) in enumerate(found) if score is not None}
        return [key for key, _ in found], known, [i for i in range(len(found)) if i not in known]

    def __getstate__(self) -> dict[str, Any]:
        return {"ledgers": self.ledgers}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, scores=None, lock=threading.Lock())


@dataclass(frozen=True, eq=False)
class _Batch:
    reward: Reward
    known: _Known

    def __repr__(self) -> str:
        return name_of(self.reward)

    def __call__(self, objects: Any) -> list[Any]:
        keys, known, new = self.known.split(objects)
        answers: list[Any] = []
        if new:
            out = self.reward(_few(objects, new))
            terms = {}
            if isinstance(out, Scored):
                out, terms = out.values, dict(out.terms)
            values, reasons, parts = readings(out, len(new))
            parts |= {name: readings(part, len(new))[0].tolist() for name, part in terms.items()}
            for k, value in enumerate(values.tolist()):
                answer = NoScore(reasons[k]) if k in reasons else value
                self.known.put(keys[new[k]], answer)
                answers.append(Scored(answer, {name: v[k] for name, v in parts.items()}) if parts else answer)
        return [known[i] if i in known else answers[new.index(i)] for i in range(len(objects))]


@dataclass(frozen=True, eq=False)
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
        keys, known, new = self.known.split(objects)
        yield from known.items()
        for k, answer in self.reward.each(_few(objects, new)) if new else ():
            self.known.put(keys[new[k]], answer.values if isinstance(answer, Scored) else answer)
            yield new[k], answer


def _few(objects: Any, rows: list[int]) -> Any:
    return [objects[i] for i in rows] if isinstance(objects, list | tuple) else objects[rows]
