"""What a run has spent and met so far, shared by every view of a target: meter, failures, and the book of evaluations.

Every evaluation has a key: the step of the run, the purpose, step, candidate and draw that its stream draws with, and
how many times that was scored before in this step. A run that is repeated from a saved state asks for the same keys in
the same steps, so what the book holds under a key is the answer.
"""

from __future__ import annotations

import math
import re
import threading
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Protocol, overload

from .stream import Id, Stream
from .types import Failure, Meter

__all__ = ["Account", "Book", "Entry", "Key", "RewardError", "described"]

Key = tuple[int, int, int, int, int, int]  # (step of the run; purpose, step, candidate, draw of the stream; repeat)
SPARSE = 1_000_000  # candidates that may be counted before they come
FEW = 16  # steps of fewer objects are taken together before their failures are held against a limit


class RewardError(RuntimeError):
    """A reward failed and the policy is to raise, too much of a step failed, or every object of a probe did."""


@dataclass(frozen=True)
class Entry:
    """The end of one evaluation.

    Attributes:
        key: of the evaluation.
        value: the reward; -inf for a failure.
        reason: of a failure.
        calls: of the reward.
        nfe: network evaluations that made the object, where a worker did.
        digest: of the object, 16 bytes, where it has one.
        terms: named parts of the reward.
        latent: clean latent of a failed object as float32 bytes, to score it again.
    """

    key: Key
    value: float
    reason: str | None = None
    calls: int = 1
    nfe: int | None = None
    digest: bytes | None = None
    terms: Mapping[str, float] = field(default_factory=dict)
    latent: bytes | None = None

    def __post_init__(self) -> None:
        if self.reason is not None:  # half characters, as in names of files that are no text, cannot be stored
            object.__setattr__(self, "reason", self.reason.encode(errors="backslashreplace").decode())

    @property
    def failure(self) -> Failure:
        """As it is listed."""
        return Failure(self.key[2], self.key[3], self.reason or "")


class Book(Protocol):
    """Where evaluations are written down."""

    def begin(self, step: int) -> None:
        """A step of the run begins."""

    def known(self, keys: Sequence[Key]) -> dict[Key, Entry]:
        """The evaluations among `keys` that have ended."""

    def pending(self, keys: Sequence[Key]) -> None:
        """These evaluations begin."""

    def settle(self, entries: Iterable[Entry]) -> None:
        """These evaluations have ended."""

    def flush(self) -> None:
        """What was settled is about to be used: nothing may lose it now."""


class Account:
    """Meter, failures and book of a run; safe to use from several threads."""

    def __init__(self) -> None:
        self.meter = Meter()
        self.failures: list[Failure] = []
        self.book: Book | None = None
        self.lock = threading.RLock()
        self.at = 0  # the step of the run
        self._seen: dict[tuple[int, int, int], array[int]] = {}
        self._terms: dict[str, tuple[list[float], int]] = {}
        self._sparse: Counter[tuple[int, ...]] = Counter()
        self._expected: int | None = None  # outside of a run, nothing is held against a limit
        self._scored = 0
        self._reasons: Counter[str] = Counter()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """A run of its own: one inside of another, on the same target, neither reads nor writes the other's book."""
        book, self.book = self.book, None
        try:
            yield
        finally:
            self.book = book

    def begin(self, step: int, expected: int | None) -> None:
        """A step of the run begins, which scores at most about `expected` objects; `None` if the run has ended."""
        with self.lock:
            self.at, self._seen, self._terms = step, {}, {}
            self._sparse.clear()
            if self._scored >= FEW or expected is None:
                self._scored, self._reasons = 0, Counter()
            self._expected = None if expected is None else max(expected, FEW)
            if self.book is not None:
                self.book.begin(step)

    def keys(self, stream: Stream, ids: Sequence[Id]) -> Sequence[Key]:
        """Keys of candidates that are about to be scored; where nothing is written down, repeats are not counted."""
        if self.book is None:
            return _Unwritten(self.at, stream, ids)
        with self.lock:
            return [self._key(stream, *stream.key(i)) for i in ids]

    def _key(self, stream: Stream, step: int, candidate: int) -> Key:
        name = (int(stream.purpose), int(step), stream.draw)
        seen = self._seen.setdefault(name, array("I"))
        sparse = (*name, int(candidate))
        if candidate > 2 * len(seen) + SPARSE or sparse in self._sparse:  # no counts, such as hashes
            self._sparse[sparse] += 1
            again = self._sparse[sparse] - 1
        else:
            if candidate >= len(seen):
                seen.frombytes(bytes(seen.itemsize * (candidate + 1 - len(seen))))  # four bytes a candidate
            seen[candidate] += 1
            again = seen[candidate] - 1
        return (self.at, *name[:2], int(candidate), stream.draw, again)

    def known(self, keys: Sequence[Key]) -> dict[Key, Entry]:
        """What the book holds of these keys."""
        return {} if self.book is None else self.book.known(keys)

    def pending(self, keys: Sequence[Key]) -> None:
        """Write down what begins."""
        if self.book is not None and keys:
            self.book.pending(keys)

    def settle(self, entries: Sequence[Entry], limit: float, *, known: bool = False) -> None:
        """Count, list and write down what has ended.

        Raises:
            RewardError: if more than `limit` of the step has failed.
        """
        with self.lock:
            if self.book is not None and not known:
                self.book.settle(entries)
            for e in entries:
                self.count(1, e.calls, {name: (value,) for name, value in e.terms.items()})
                if e.reason is not None:
                    self.meter.failures += 1
                    self.failures.append(e.failure)
                    self._reasons[e.reason] += 1
            failed, most = self._reasons.total(), max(self._expected or 0, self._scored)
            if self._expected is not None and limit < 1 and failed > limit * most:
                if self.book is not None:
                    self.book.flush()
                what = "; ".join(f"{reason} ({n})" for reason, n in self._reasons.most_common(3))
                raise RewardError(
                    f"{failed} of {most} objects of step {self.at} have failed, more than the limit "
                    f"of {limit:.0%}: {what}. Mend the reward and let 'elites retry' evaluate them again, or give "
                    "on_error another limit."
                )

    def count(self, n: int, calls: int, terms: Mapping[str, Iterable[float]]) -> None:
        """Count n objects that have ended, what they took, and their parts; `settle` does so itself."""
        with self.lock:
            self._scored += n
            self.meter.rewards += calls
            for name, values in terms.items():
                for value in values:
                    if math.isfinite(value):  # others are missing
                        total, finite = self._terms.get(name, ([], 0))
                        self._terms[name] = (_plus(total, value), finite + 1)

    def flush(self) -> None:
        """Nothing that was settled may be lost from here on."""
        if self.book is not None:
            self.book.flush()

    def terms(self) -> dict[str, float]:
        """Mean of each named part of the rewards of this step."""
        with self.lock:
            return {f"term.{name}": math.fsum(total) / n for name, (total, n) in self._terms.items()}


@dataclass(frozen=True)
class _Unwritten(Sequence[Key]):
    """Keys that are made when they are asked for."""

    step: int
    stream: Stream
    ids: Sequence[Id]

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, i: int) -> Key: ...
    @overload
    def __getitem__(self, i: slice) -> _Unwritten: ...
    def __getitem__(self, i: int | slice) -> Key | _Unwritten:
        if isinstance(i, slice):
            return replace(self, ids=self.ids[i])
        step, candidate = self.stream.key(self.ids[i])
        return (self.step, int(self.stream.purpose), int(step), int(candidate), self.stream.draw, 0)


def _plus(total: list[float], value: float) -> list[float]:
    """A sum as parts that add up to it exactly, so that the order of the answers does not change a bit.

    References:
        Adaptive precision floating-point arithmetic and fast robust geometric predicates (Shewchuk, 1997).
    """
    parts = []
    for part in total:
        high = value + part
        big, small = (value, part) if abs(value) > abs(part) else (part, value)
        if low := small - (high - big):
            parts.append(low)
        value = high
    return [*parts, value]


def described(thing: object) -> str:
    """Its repr without memory addresses, which another process would not repeat."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(thing))
