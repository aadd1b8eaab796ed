"""What a worker does for a target: draw candidates from their keys, walk, decode and score them.

A worker builds its own target once. A population is described by a `Law`: the search, its state and a stream. The
worker draws the noise of the candidates that it is given and answers with rewards; it keeps the best that it made of a
law, and gives them when it is asked. Nothing that is kept grows with the population.
"""

from __future__ import annotations

import heapq
import itertools
import json
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import torch
from safetensors.torch import load, save
from torch import Tensor

from .account import Account, Entry, Key, described
from .answers import Streaming
from .evaluation import while_drawing
from .packing import pack, unpack
from .scoring import Raise, Worst
from .stream import INNER, Stream

if TYPE_CHECKING:
    from .target import Target
    from .templates import Walk

__all__ = ["Asker", "Law", "Workplace", "heard", "same", "unwire", "wire"]

PLAIN = (1, None, None, None, None)  # one call, no terms, no failure, nothing asked on the way
PACKED = struct.Struct("<f16s")  # a reward and a digest

_versions = itertools.count(1)


class Asker(Protocol):
    """What draws the noise of candidates: a search."""

    def init(self, target: Target, stream: Stream) -> Any:
        """A state of the form that is sent."""

    def ask(self, state: Any, stream: Stream, ids: Sequence[int]) -> Tensor:
        """Noise of the candidates."""


class Law:
    """What the candidates of a step are drawn from, as it travels, once a step to each worker.

    Arguments:
        search, state, stream: what draws the noise.
        walk: from noise to object.
        keep: candidates that a worker keeps.
    """

    def __init__(self, search: Asker, state: Any, stream: Stream, walk: Walk, keep: int) -> None:
        tensors: dict[str, Tensor] = {}
        text = json.dumps(pack(state, "state", tensors))
        self.state = (text, save({name: v.clone() for name, v in tensors.items()}))
        self.version, self.search, self.stream, self.walk = next(_versions), search, stream, walk
        self.keep = keep

    def opened(self, target: Target) -> Any:
        """The state again."""
        text, tensors = self.state
        return unpack(json.loads(text), self.search.init(target, Stream(self.stream.seed)), load(tensors))


class _Notes:
    """The book of a worker: digests are made, and what walks ask on their way is kept until the driver writes it."""

    def __init__(self) -> None:
        self.inner: dict[int, list[Entry]] = {}  # by candidate

    def begin(self, step: int) -> None: ...

    def known(self, keys: Sequence[Key]) -> dict[Key, Entry]:
        return {}

    def pending(self, keys: Sequence[Key]) -> None: ...

    def settle(self, entries: Iterable[Entry]) -> None:
        for e in entries:
            if e.key[1] >= INNER:
                self.inner.setdefault(e.key[3], []).append(e)

    def flush(self) -> None: ...


class Workplace:
    """A worker's target as a server of calls.

        ("draw", law or None, ids)                      candidates of a law; without one, of the law it has
        ("score", rows, latents)                        clean latents, to decode and score
        ("best", version, ids)                          latents of the best that it made of a law

    Answers are lists of (row, (reward, digest, and what else there is)), or of (id, latent); the rows of a
    law are its candidates.
    """

    def __init__(self, build: Callable[[], Target]) -> None:
        self.target = build()
        self.target.pool = None
        if isinstance(self.target.on_error, Raise):  # the driver raises
            self.target.on_error = Worst(limit=1.0)
        reward = self.target.reward
        self.singly = isinstance(reward, Streaming) and reward.width == 0
        self.seconds = {"network": 0.0, "reward": 0.0}
        self.done = 1
        self.law: Law | None = None
        self.state: Any = None
        self.kept: list[tuple[float, int, Tensor]] = []
        self.notes = _Notes()

    @property
    def about(self) -> dict[str, Any]:
        """Whether it answers object by object, and the seconds that an object takes."""
        says = {"singly": self.singly, "target": same(self.target)}
        return says | {name: s / self.done for name, s in self.seconds.items()}

    def __call__(self, call: tuple[Any, ...]) -> Iterator[list[tuple[Any, Any]]]:
        kind = call[0]
        with torch.no_grad():
            if kind == "best":
                same = self.law is not None and self.law.version == call[1]
                yield [(-i, wire(x)) for _, i, x in self.kept if same and -i in call[2]]
            elif kind == "score":
                yield from self._score(*call[1:])
            else:
                yield from self._draw(call[1], call[2])

    def _fresh(self, target: Target) -> Target:
        target.account = Account()  # the driver counts
        target.account.book = self.notes = _Notes()
        return target

    def _score(self, rows: list[int], sent: tuple[bytes, str]) -> Iterator[list[tuple[Any, Any]]]:
        target, began, x = self._fresh(self.target), time.perf_counter(), unwire(sent)
        at = {i: k for k, i in enumerate(rows)}
        for batch, _, part, entries in while_drawing(target, lambda few: x[[at[i] for i in few]], Stream(0), rows):
            yield [(batch[k], _sent(e)) for k, e in zip(part.rows, entries, strict=True)]
        self._took(0.0, time.perf_counter() - began, len(rows))

    def _draw(self, law: Law | None, ids: list[int]) -> Iterator[list[tuple[Any, Any]]]:
        if law is not None:
            self.law, self.state, self.kept = law, law.opened(self.target), []
        law = self.law
        assert law is not None
        target = self._fresh(self.target.with_walk(law.walk))
        network, began = 0.0, time.perf_counter()

        def draw(batch: list[Any]) -> Tensor:
            nonlocal network
            clock = time.perf_counter()
            x = target.generate(law.search.ask(self.state, law.stream, batch), law.stream, batch)
            network += time.perf_counter() - clock
            return x

        for batch, x, part, entries in while_drawing(target, draw, law.stream, ids):
            for k, e in zip(part.rows, entries, strict=True):
                if e.reason is None:
                    item = (e.value, -batch[k], x[k].clone())
                    (heapq.heappush if len(self.kept) < law.keep else heapq.heappushpop)(self.kept, item)
            asked = self.notes.inner
            yield [(batch[k], _sent(e, asked.pop(batch[k], ()))) for k, e in zip(part.rows, entries, strict=True)]
        self._took(network, time.perf_counter() - began - network, len(ids))

    def _took(self, network: float, reward: float, n: int) -> None:
        self.seconds["network"] += network
        self.seconds["reward"] += reward
        self.done += n


def same(target: Target) -> str:
    """What the targets of the driver and of its workers have in common."""
    return described((target.prior, target.scorer))


def _sent(entry: Entry, asked: Sequence[Entry] = ()) -> bytes | tuple[Any, ...]:
    """What travels of an answer, besides its row; mostly a float32 and a digest, in 20 bytes.

    Arguments:
        entry: of the object.
        asked: what its walk asked on the way.
    """
    terms, inner = dict(entry.terms) or None, [(e.key[1:], _sent(e)) for e in asked] or None
    said = (entry.value, entry.digest, entry.calls, terms, entry.reason, entry.latent, inner)
    return PACKED.pack(entry.value, entry.digest) if entry.digest and said[2:] == PLAIN else said


def heard(said: bytes | tuple[Any, ...], key: Key, nfe: int | None) -> list[Entry]:
    """What is written of an answer that has travelled: what the walk asked on its way, and the answer."""
    full = (*PACKED.unpack(said), *PLAIN) if isinstance(said, bytes) else said
    value, digest, calls, terms, reason, latent, inner = full
    asked = [entry for rest, each in inner or () for entry in heard(each, (key[0], *rest), None)]
    return [*asked, Entry(key, value, reason, calls, nfe, digest, terms or {}, latent)]


def wire(x: Tensor) -> tuple[bytes, str]:
    """A tensor as it travels."""
    return save({"x": x.detach().cpu().contiguous()}), str(x.device)


def unwire(sent: tuple[bytes, str]) -> Tensor:
    """The tensor again, on the device where it was."""
    data, device = sent
    return load(data)["x"].to(device)
