"""Several rewards asked about the same objects at a time, and what is made of them, told object by object.

- A reward of a batch is asked once for the batch, in the thread that asks.
- One that answers object by object in the thread that asks (`width` 0) is asked about one object after the other.
- One that works elsewhere has a thread that waits for its answers.

Rewards of the first two kinds may be anybody's functions, which are not made for several threads. While others work
elsewhere, a run asks from several; so these take turns.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from queue import SimpleQueue
from typing import Any

import torch

from ..answers import Scored, Streaming
from ..types import Reward
from .asking import Answer, ask, ask_each, take

__all__ = ["Each", "Found", "stream", "told"]

Found = Mapping[str, Answer]


def stream(reward: Any, parts: Iterable[Reward], each: Callable[[Any], Iterator[tuple[int, Any]]]) -> None:
    """Make a frozen reward `Streaming` if one of its parts is.

    So `each` and `width` belong to the object, and not to its class. `each` must not hold the reward: in a circle,
    its connections and processes would not be closed at once.
    """
    widths = [part.width for part in parts if isinstance(part, Streaming)]
    if widths:
        vars(reward).update(width=max(widths), each=each)


def told(tell: Callable[[], Scored]) -> Any:
    """The answer about one object: a `Scored` number, the reason of a failure, or what a scale of the user raised."""
    try:
        out = tell()
    except Exception as error:
        return error
    value = out.values[0]
    terms = {name: float(part[0].float()) for name, part in out.terms.items()}  # float32, as those of a batch
    return Scored(value if isinstance(value, Exception) else float(value), terms)


class _Turn:
    """A lock; copies have their own."""

    def __init__(self) -> None:
        self._lock = threading.RLock()

    def __reduce__(self) -> tuple[type[_Turn], tuple[()]]:
        return _Turn, ()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *error: object) -> None:
        self._lock.release()


def _never(found: Found) -> bool:
    return False


@dataclass(frozen=True, eq=False)
class Each:
    """`each` of a reward that is made of others; it passes no gradient.

    Arguments:
        parts: what is asked about every object.
        tell: what all parts say about one object to the answer about it.
        last: name to a reward that is asked when all parts of an object are known, or nothing.
        wanted: what all parts say about one object to whether that one is asked.
    """

    parts: Mapping[str, Reward]
    tell: Callable[[Found], Scored]
    last: Mapping[str, Reward] = field(default_factory=dict)
    wanted: Callable[[Found], bool] = _never
    turn: _Turn = field(default_factory=_Turn)

    def __call__(self, objects: Any) -> Iterator[tuple[int, Any]]:
        """(Position, answer) as answers come."""
        return _Round(self, objects).run()


class _Round:
    """What was said about one batch so far."""

    def __init__(self, each: Each, objects: Any) -> None:
        self.each, self.objects = each, objects
        self.found: list[dict[str, Answer]] = [{} for _ in range(len(objects))]
        self.heard: SimpleQueue[tuple[int, str, Answer] | BaseException] = SimpleQueue()
        self.due = 0  # answers that threads wait for
        self.late: list[int] = []  # objects for a last reward of a batch
        self.over = False

    def run(self) -> Iterator[tuple[int, Any]]:
        every, here = range(len(self.objects)), {}
        try:
            for name, part in self.each.parts.items():
                if isinstance(part, Streaming):
                    if part.width:
                        self._send(name, part, every)
                    else:
                        here[name] = ask_each(part, self.objects)
            for name, part in self.each.parts.items():
                if not isinstance(part, Streaming):
                    self._ask(name, part, every)
            yield from self._settle(every)
            for i in every if here else ():
                new = self._hear()
                for name, answers in here.items():
                    while name not in self.found[i]:
                        new.append(self._next(name, answers, every))
                yield from self._settle(new)
            while self.due:
                yield from self._settle(self._hear(wait=True))
            for name, last in self.each.last.items() if self.late else ():
                self._ask(name, last, sorted(self.late))
                yield from self._settle(sorted(self.late))
        finally:
            self.over = True

    def _settle(self, rows: Iterable[int]) -> Iterator[tuple[int, Any]]:
        """The answers about rows of which something new is known, if it is all; or the last question about them."""
        each, more = self.each, []
        for i in dict.fromkeys(rows):
            found = self.found[i]
            if len(found) == len(each.parts) and each.wanted(found):
                more.append(i)
            elif len(found) >= len(each.parts):
                in_order = {name: found[name] for name in (*each.parts, *each.last) if name in found}
                yield i, told(partial(each.tell, in_order))
        for name, last in each.last.items() if more else ():
            if not isinstance(last, Streaming):
                self.late += more
            elif last.width:
                self._send(name, last, more)
            else:
                answers = ask_each(last, take(self.objects, more))
                for _ in more:
                    yield from self._settle([self._next(name, answers, more)])

    def _ask(self, name: str, reward: Reward, rows: Sequence[int]) -> None:
        with self.each.turn, torch.no_grad():
            answer = ask(reward, take(self.objects, rows))
        for k, i in enumerate(rows):
            self.found[i][name] = answer.row(k)

    def _next(self, name: str, answers: Iterator[tuple[int, Answer]], rows: Sequence[int]) -> int:
        with self.each.turn, torch.no_grad():
            k, answer = next(answers)
        self.found[rows[k]][name] = answer
        return rows[k]

    def _send(self, name: str, reward: Streaming, rows: Sequence[int]) -> None:
        self.due += len(rows)
        threading.Thread(target=self._wait, args=(name, reward, rows), name="elites reward", daemon=True).start()

    def _wait(self, name: str, reward: Streaming, rows: Sequence[int]) -> None:
        torch.set_grad_enabled(False)  # in this thread alone
        try:
            with closing(ask_each(reward, take(self.objects, rows))) as answers:
                for k, answer in answers:
                    self.heard.put((rows[k], name, answer))
                    if self.over:  # nobody waits any more: what has not begun is left
                        return
        except BaseException as error:  # a thread has nowhere to raise to
            self.heard.put(error)

    def _hear(self, *, wait: bool = False) -> list[int]:
        """Rows of what the threads have heard."""
        rows: list[int] = []
        while not self.heard.empty() or (wait and not rows):
            said = self.heard.get()
            if isinstance(said, BaseException):
                raise said
            i, name, answer = said
            self.found[i][name] = answer
            self.due -= 1
            rows.append(i)
        return rows
