"""Populations and latents spread over workers: what travels for a candidate is its key and its answer.

The driver alone keeps the account: it looks keys up in the book, writes down what begins and what has ended, counts,
and remembers the best. Only the best of a step travel as latents, once it is over.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .account import Entry, Key
from .evaluation import while_drawing
from .parallel.crew import ANSWER, DONE, LOST, RAISED, Crew
from .parallel.dispatch import Failed, spread
from .parallel.pools import Pool
from .stream import Id, Stream
from .types import InputError, Meter, Samples
from .workplace import Asker, Law, Workplace, heard, same, unwire, wire

if TYPE_CHECKING:
    from .target import Target

__all__ = ["alone", "drawn", "rescored", "scored"]

PATIENCE = 30.0  # seconds that idle workers have to hand over the best that they made


def drawn(
    target: Target, pool: Pool, search: Asker, state: Any, stream: Stream, n: int, keep: int
) -> tuple[Tensor, Samples]:
    """Rewards `(n,)` of the candidates 0 to n - 1 of a search, -inf for failures, and the `keep` best of them.

    Arguments:
        target: of the driver; each worker has its own.
        pool: the workers.
        search, state, stream: whose candidates.
        keep: samples to return, best first.

    Raises:
        WorkerError: if a worker cannot be built, or fails otherwise than by a reward.
        RewardError: if more of the step fails than the policy allows.
    """
    law = Law(search, state, stream, target.walk, keep)
    each, inner = target.cost, target.walk.scores(target.prior)
    best: list[tuple[float, int, int]] = []  # (reward, -candidate, worker)
    rewards = _worst(n)
    with pool.crew(_workplace(pool)) as crew:
        knows: dict[int, int] = {}  # worker to the life in which it got the law

        def call(worker: int, ids: list[int]) -> tuple[Any, ...]:
            new = knows.get(worker) != crew.lives[worker]
            knows[worker] = crew.lives[worker]
            return ("draw", law if new else None, ids)

        def latent(i: int) -> bytes | None:
            if inner:  # the walk would ask the reward here for what was too much for a worker
                return None
            return _bytes(target.apart().generate(search.ask(state, stream, [i]), stream, [i])[0])

        for worker, i, value in _settled(target, pool, crew, stream, range(n), call, target.batch, latent, each):
            rewards[i] = value
            target.meter.nfe += each.nfe
            target.meter.grads += each.grads
            if value > -torch.inf:
                (heapq.heappush if len(best) < keep else heapq.heappushpop)(best, (value, -i, worker))
        best.sort(reverse=True)
        made = {-i: worker for _, i, worker in best if knows.get(worker) == crew.lives[worker]}
        found = _fetched(crew, law, made)
    ids = [-i for _, i, _ in best]
    if not ids:  # every one failed
        none = torch.zeros(0, *target.prior.shape)
        return rewards, Samples(none, rewards[:0], torch.zeros(0, 2, dtype=torch.int64), none)
    z = search.ask(state, stream, ids)
    gone = [k for k, i in enumerate(ids) if i not in found]  # known from before, or made by a worker that is gone
    if gone:
        again = target.apart().generate(z[gone], stream, [ids[k] for k in gone])
        found |= {ids[k]: x for k, x in zip(gone, again, strict=True)}
    x = torch.stack([found[i] for i in ids])
    keys = torch.tensor([stream.key(i) for i in ids], dtype=torch.int64)
    return rewards, Samples(x=x, reward=rewards[ids], keys=keys, z=z)


def alone(target: Target, search: Asker, state: Any, stream: Stream, n: int, keep: int) -> tuple[Tensor, Samples]:
    """The same in this process."""
    ids, best = range(n), Samples(*[torch.zeros(0)] * 4)
    rewards = _worst(n)
    noise: dict[int, Tensor] = {}  # of the batches in flight, by their first candidate
    left: dict[int, int] = {}

    def draw(batch: list[Any]) -> Tensor:
        z = noise[batch[0]] = search.ask(state, stream, batch)
        left[batch[0]] = len(batch)
        return target.generate(z, stream, batch)

    for batch, x, part, _ in while_drawing(target, draw, stream, ids):
        first = batch[0]
        rewards[[batch[row] for row in part.rows]] = part.values
        left[first] -= len(part.rows)
        if not left[first]:
            keys = torch.tensor([stream.key(i) for i in batch], dtype=torch.int64)
            found = Samples(x=x, reward=rewards[first : first + len(batch)], keys=keys, z=noise.pop(first))
            both = Samples.cat([best, found]) if len(best) else found
            best = both[both.keys[:, 1].sort().indices].top(keep)  # ties by candidate, whichever batch came first
    target.account.flush()
    return rewards, best


def scored(target: Target, pool: Pool, x0: Tensor, stream: Stream, ids: Sequence[Id]) -> Tensor:
    """Rewards `(B,)` of clean latents, which travel to the workers; -inf for failures."""
    rewards = _worst(len(x0))
    with pool.crew(_workplace(pool)) as crew:

        def call(worker: int, rows: list[int]) -> tuple[Any, ...]:
            return ("score", rows, wire(x0[rows]))

        settled = _settled(target, pool, crew, stream, ids, call, target.decode_batch, lambda i: _bytes(x0[i]))
        for _, i, value in settled:
            rewards[i] = value
    return rewards


def rescored(target: Target, pool: Pool, x0: Tensor, keys: Sequence[Key]) -> None:
    """Score clean latents `(B, *shape)` by workers once more, and write the answers down under these keys."""
    with pool.crew(_workplace(pool)) as crew:

        def call(worker: int, rows: list[int]) -> tuple[Any, ...]:
            return ("score", rows, wire(x0[rows]))

        for _ in _ended(target, pool, crew, _Given(keys), call, target.decode_batch, lambda i: _bytes(x0[i])):
            pass


def _workplace(pool: Pool) -> Callable[[], Workplace]:
    if pool.build is None:
        raise InputError(
            f"{type(pool).__name__}({pool.workers}) does not know what its workers work with: give build=, a function "
            "at the top of a module that returns the target."
        )
    return partial(Workplace, pool.build)


class _Unknown:
    """The rows whose rewards the book does not hold; those that it holds are put aside."""

    def __init__(self, target: Target, stream: Stream, ids: Sequence[Id]) -> None:
        self.target, self.stream, self.ids = target, stream, ids
        self.at = 0
        self.keys: dict[int, Key] = {}  # of the rows in flight
        self.recalled: list[tuple[int, float]] = []

    @property
    def left(self) -> int:
        return len(self.ids) - self.at

    def take(self, n: int) -> list[int]:
        account, rows = self.target.account, list[int]()
        while self.left and not rows:
            chunk = range(self.at, min(self.at + n, len(self.ids)))
            self.at = chunk.stop
            keys = account.keys(self.stream, self.ids[chunk.start : chunk.stop])
            known = account.known(keys)
            policy, found = self.target.on_error, list(known.values())
            account.settle(found, policy.limit, known=True)
            policy.settle([e.failure for e in found if e.reason is not None])
            for row, key in zip(chunk, keys, strict=True):
                if key in known:
                    self.recalled.append((row, known[key].value))
                else:
                    rows.append(row)
                    self.keys[row] = key
            account.pending([self.keys[row] for row in rows])
        return rows


class _Given:
    """Rows with keys of their own, whatever a book holds."""

    def __init__(self, keys: Sequence[Key]) -> None:
        self.keys, self.at, self.n = dict(enumerate(keys)), 0, len(keys)
        self.recalled: list[tuple[int, float]] = []

    @property
    def left(self) -> int:
        return self.n - self.at

    def take(self, n: int) -> list[int]:
        rows = range(self.at, min(self.at + n, self.n))
        self.at = rows.stop
        return list(rows)


def _settled(
    target: Target,
    pool: Pool,
    crew: Crew,
    stream: Stream,
    ids: Sequence[Id],
    call: Callable[[int, list[int]], Any],
    batch: int,
    latent: Callable[[int], bytes | None],
    each: Meter | None = None,
) -> Iterator[tuple[int, int, float]]:
    """(Worker, row, reward) as answers come, each counted and written down; worker -1 where the book knew."""
    yield from _ended(target, pool, crew, _Unknown(target, stream, ids), call, batch, latent, each)


def _ended(
    target: Target,
    pool: Pool,
    crew: Crew,
    source: _Unknown | _Given,
    call: Callable[[int, list[int]], Any],
    batch: int,
    latent: Callable[[int], bytes | None],
    each: Meter | None = None,
) -> Iterator[tuple[int, int, float]]:
    account, policy, us = target.account, target.on_error, same(target)
    nfe, inner = (None, 0) if each is None else (each.nfe, target.walk.scores(target.prior))
    for worker, said in spread(crew, source, call, pool.rules(policy.again), batch):
        about = crew.about[worker] if worker >= 0 else None
        if about is not None and about["target"] != us:
            raise InputError(
                f"The factory of the pool makes a target with {about['target']}, and this one has {us}: let it "
                "return the same target."
            )
        entries, ends = [], []
        for row, answer in said:
            key = source.keys.pop(row)
            if isinstance(answer, Failed):
                told = [Entry(key, float("-inf"), answer.reason, answer.tries, nfe, latent=latent(row))]
                account.meter.rewards += inner  # what its walk asked, of which nothing was heard
            else:
                told = heard(answer, key, nfe)
            entries += told
            ends.append((worker, row, told[-1].value))
        account.settle(entries, policy.limit)
        policy.settle([e.failure for e in entries if e.reason is not None])
        yield from ends
    for row, value in source.recalled:
        account.meter.rewards += inner
        yield -1, row, value
    account.flush()


def _fetched(crew: Crew, law: Law, made: dict[int, int]) -> dict[int, Tensor]:
    """Latents of candidates from the workers that made them, but for those of workers that do not answer."""
    asked: dict[int, list[int]] = {}
    for candidate, worker in made.items():
        asked.setdefault(worker, []).append(candidate)
    for worker, ids in asked.items():
        crew.send(worker, ("best", law.version, ids))
    found: dict[int, Tensor] = {}
    waiting, patience = set(asked), time.monotonic() + PATIENCE
    while waiting:
        for message in crew.wait(0.25):
            if message.kind == ANSWER:
                found |= {i: unwire(x) for i, x in message.value}
            elif message.kind in (DONE, RAISED, LOST):
                waiting.discard(message.worker)
        if time.monotonic() > patience:
            for worker in waiting:
                crew.replace(worker)
            break
    return found


def _worst(n: int) -> Tensor:
    return torch.full((n,), -torch.inf, dtype=torch.float32, device="cpu")


def _bytes(x: Tensor) -> bytes:
    return x.detach().float().cpu().numpy().tobytes()
