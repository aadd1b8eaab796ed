"""A reward behind a small HTTP server: another environment, another machine, another language.

    POST  {"objects": [o, ...], "keys": [k, ...], "about": {...}}
    200   {"scores": [s, ...], "errors": [e, ...], "terms": {name: [t, ...]}}

The server is a page of the standard library: see `examples/reward_server.py` and `docs/judges.md`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from ..answers import gather
from ..types import InputError
from .address import check_line
from .encoding import parsed, scored, shorten, shown, to_json
from .held import Held
from .transport import Line, Request, refusal

__all__ = ["HTTP"]


@dataclass(frozen=True, eq=False, repr=False)
class HTTP:
    """Scores from a reward server, object by object as they come.

    A time-out, a broken connection, and the codes 408, 409, 425, 429 and 5xx are tried again, later and later, with
    the same `Idempotency-Key`, which is a hash of the contents. Any other code is a failure at once, and so is an
    answer with a wrong number of scores. A score that is null, text, a boolean or not finite fails its own object.
    A copy in another process has its own connections, and its own limits.

    Arguments:
        url: such as http://127.0.0.1:8000/score; link-local addresses are refused.
        about: what goes with every request, such as the prompt; JSON.
        batch: objects of a request.
        encode: makes an object what JSON can hold.
        parallel: requests at a time, whoever asks.
        timeout: seconds of a request, from connecting to the last byte. With its waits, an object takes at most
            `timeout` times `again + 1`, from the first request on; a longer `Retry-After` is a failure at once.
        again: tries after the first.
        key_env: name of the environment variable with the key of the server, sent as a bearer token.

    Raises:
        InputError: if the address or a number cannot work, `about` is no JSON, or the variable is not set.
        ImportError: without the extra `http`.
    """

    url: str
    about: Mapping[str, Any] = field(default_factory=dict)
    batch: int = 1
    encode: Callable[[Any], Any] = to_json
    parallel: int = field(default=4, repr=False)  # what changes no score is not part of what identifies a run
    timeout: float = field(default=60.0, repr=False)
    again: int = field(default=2, repr=False)
    key_env: str | None = field(default=None, repr=False)
    _line: Held[Line] = field(default_factory=Held, init=False, repr=False)

    __repr__ = shown

    def __post_init__(self) -> None:
        check_line(self.url, self.parallel, self.timeout, self.again, self.key_env)
        if not self.batch >= 1:
            raise InputError(f"batch is {self.batch}: give at least 1.")
        try:
            json.dumps(self.about, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise InputError(f"`about` does not fit into JSON: {error}.") from None

    @property
    def width(self) -> int:
        """Objects that are away at a time."""
        return self.parallel * self.batch

    def __call__(self, objects: Any) -> list[Any]:
        """The answers in order."""
        return gather(self.each(objects), len(objects))

    def each(self, objects: Any) -> Iterator[tuple[int, Any]]:
        """(Position, answer) as answers come."""
        line = self._line.get(lambda: Line(self.url, self.parallel, self.timeout, self.again, self.key_env))
        faults: list[tuple[int, Exception]] = []
        yield from line.each(self._requests(objects, faults))
        yield from faults

    def _requests(self, objects: Any, faults: list[tuple[int, Exception]]) -> Iterator[tuple[list[int], Request]]:
        """Batches of the objects that can be sent; the others are faults."""
        ready = self._ready(objects, faults)
        while batch := list(islice(ready, self.batch)):
            sent = [text for _, text in batch]
            keys = [hashlib.sha256(text.encode()).hexdigest()[:32] for text in sent]
            body = f'{{"objects": [{", ".join(sent)}], "keys": {json.dumps(keys)}, "about": {json.dumps(self.about)}}}'
            key = hashlib.sha256(body.encode()).hexdigest()
            yield [row for row, _ in batch], Request(body.encode, _reader(len(batch)), {"Idempotency-Key": key})

    def _ready(self, objects: Any, faults: list[tuple[int, Exception]]) -> Iterator[tuple[int, str]]:
        for row, obj in enumerate(objects):
            try:
                yield row, json.dumps(self.encode(obj), allow_nan=False)
            except Exception as error:  # a user's encoder may raise anything
                faults.append((row, error))


def _reader(n: int) -> Callable[[int, str], list[Any]]:
    return lambda status, text: _read(status, text, n)


def _read(status: int, text: str, n: int) -> list[Any]:
    """Answers about n objects."""
    if status != 200:
        raise refusal(status, text)
    try:
        reply = parsed(text)
    except ValueError:
        reply = None
    try:
        scores = _column(reply["scores"], n, "scores")
        errors = _column(reply.get("errors") or [None] * n, n, "errors")
        terms = {name: _column(column, n, f"terms {name!r}") for name, column in (reply.get("terms") or {}).items()}
    except (AttributeError, KeyError, TypeError):
        raise ValueError(f'the answer is no {{"scores": [...]}}: {shorten(text)}') from None
    return [
        scored(
            {"error": errors[i]} if score is None and isinstance(errors[i], str) else score,
            {k: v[i] for k, v in terms.items()},
        )
        for i, score in enumerate(scores)
    ]


def _column(column: Sequence[Any], n: int, what: str) -> Sequence[Any]:
    if not isinstance(column, list):
        raise TypeError(what)
    if len(column) != n:
        raise ValueError(f"the answer has {len(column)} {what} for {n} objects")
    return column
