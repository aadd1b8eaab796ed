"""What a reward may answer with, besides one number for each object of a batch.

A reward is any callable on a batch. Two more things are understood wherever a reward is:

- `Scored`: numbers with named parts, such as the terms of a sum or a standard error. The parts are logged and never
  ranked.
- `Streaming`: a reward that answers object by object, as answers come. A run writes each answer down when it comes,
  so a kill loses only what is in flight; and the network works on while such a reward does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

__all__ = ["Scored", "Streaming", "gather"]


@dataclass(frozen=True)
class Scored:
    """Rewards and their named parts.

    Attributes:
        values: what a reward returns: one number for each object, an exception in the place of one that failed; or one
            number, as the answer about one object.
        terms: name to numbers of the same form.
    """

    values: Any
    terms: Mapping[str, Any] = field(default_factory=dict)


@runtime_checkable
class Streaming(Protocol):
    """A reward that answers object by object; `each` may be called from several threads at a time."""

    @property
    def width(self) -> int:
        """Objects that it works on at a time, away from the thread that asks; 0 if it works in that thread."""

    def __call__(self, objects: Any) -> Any:
        """The answers in order, as of any reward."""

    def each(self, objects: Any) -> Iterator[tuple[int, Any]]:
        """(Position, answer) as answers come: a number, a `Scored` number, or an exception for what failed."""


def gather(answers: Iterator[tuple[int, Any]], n: int) -> list[Any]:
    """The answers about n objects in order; an exception where there is none."""
    out: list[Any] = [ValueError("it gave no answer")] * n
    for i, answer in answers:
        out[i] = answer
    return out
