"""Objects scored in parts as the answers come, each counted, listed and written down before it is used."""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .account import Entry, Key
from .answers import Streaming, digest
from .scoring import Part, RewardError, score
from .stream import Id, Stream

if TYPE_CHECKING:
    from .target import Target

__all__ = ["answers", "rewards", "while_drawing"]

UNTRACED = "Tensor that requires grad"  # what torch says where something goes on in NumPy


def answers(target: Target, x0: Tensor, keys: Sequence[Key]) -> Iterator[tuple[Part, list[Entry]]]:
    """Rewards of at most `decode_batch` clean latents, in parts as they come, with what is written of each row.

    What the book of the target holds already is not scored again, unless a gradient is wanted. Where there is no book,
    only failures are told one by one.
    """
    account, policy, n = target.account, target.on_error, len(x0)
    known = {} if target.gradients or account.book is None else account.known(keys)
    if known:
        held = [i for i in range(n) if keys[i] in known]
        found = [known[keys[i]] for i in held]
        account.settle(found, policy.limit, known=True)
        policy.settle([e.failure for e in found if e.reason is not None])
        yield recalled(held, found), found
    rows = [i for i in range(n) if keys[i] not in known] if known else list(range(n))
    if not rows:
        return
    if account.book is not None:
        account.pending([keys[i] for i in rows])
    new = x0 if len(rows) == n else x0[rows]
    where = "reward"
    prints: list[bytes | None] = [None] * len(rows)

    def view(latents: Tensor) -> Any:
        nonlocal where
        where = "decoder of the prior" if latents.requires_grad else "prior"
        objects = target.decode(latents)
        if not isinstance(objects, Tensor) or objects.requires_grad:
            where = "reward"
        if account.book is not None and len(latents) == len(rows):
            prints[:] = [digest(o) for o in objects]
        return objects

    def reward(objects: Any) -> Any:
        with target.mode():
            return target.reward(objects)

    call = _InMode(target, target.reward) if isinstance(target.reward, Streaming) else reward
    for part in score(call, view, new, len(rows), policy, time.sleep):
        reasons = part.reasons
        lost = target.gradients and not part.values.requires_grad
        if lost and all(UNTRACED in r for r in reasons.values()):
            account.meter.rewards += part.calls * len(part.rows)
            raise RewardError(f"The {where} has no gradient: use a method that needs none, such as Elites.")
        entries, values = [], part.values.tolist()
        for k, i in enumerate(part.rows):
            if account.book is not None or i in reasons:
                entries.append(
                    Entry(
                        keys[rows[i]],
                        values[k],
                        reasons.get(i),
                        part.calls,
                        digest=prints[i],
                        terms={name: v[k] for name, v in part.terms.items()},
                        latent=new[i].detach().float().cpu().numpy().tobytes() if i in reasons else None,
                    )
                )
        if rest := len(values) - len(entries):
            plain = [k for k, i in enumerate(part.rows) if i not in reasons] if part.terms else []
            account.count(rest, rest * part.calls, {name: [v[k] for k in plain] for name, v in part.terms.items()})
        account.settle(entries, policy.limit)
        policy.settle([e.failure for e in entries if e.reason is not None])
        part.rows, part.reasons = [rows[i] for i in part.rows], {rows[i]: r for i, r in reasons.items()}
        yield part, entries


@dataclass(frozen=True, eq=False)
class _InMode:
    """A streaming reward that works in the gradient mode of the target, whoever takes its answers."""

    target: Target
    reward: Streaming

    @property
    def width(self) -> int:
        return self.reward.width

    def __call__(self, objects: Any) -> Any:
        raise AssertionError("it is asked one by one")

    def each(self, objects: Any) -> Iterator[tuple[int, Any]]:
        with self.target.mode():
            answers = iter(self.reward.each(objects))
        while True:
            with self.target.mode():
                answer = next(answers, None)
            if answer is None:
                return
            yield answer


def recalled(rows: list[int], entries: Sequence[Entry]) -> Part:
    """What is known already about some rows."""
    values = torch.tensor([e.value for e in entries], dtype=torch.float32, device="cpu")
    return Part(rows, values, {i: e.reason for i, e in zip(rows, entries, strict=True) if e.reason is not None})


def rewards(target: Target, x0: Tensor, keys: Sequence[Key]) -> Tensor:
    """Rewards `(B,)` of at most `decode_batch` clean latents, gradients kept; -inf for failures."""
    values = torch.zeros(len(x0), dtype=torch.float32, device="cpu")
    for part, _ in answers(target, x0, keys):
        values = values.index_copy(0, torch.tensor(part.rows), part.values)
    return values


def while_drawing(
    target: Target, draw: Callable[[list[Any]], Tensor], stream: Stream, ids: Sequence[Id]
) -> Iterator[tuple[list[Any], Tensor, Part, list[Entry]]]:
    """(Candidates, their latents, answers about some rows of them, what is written), batch by batch.

    Where the reward works elsewhere, on several objects at a time, the network draws the next batches meanwhile: as
    many as keep it busy, and one more.
    """
    width = target.reward.width if isinstance(target.reward, Streaming) else 0
    size = target.batch  # which a halving may change
    starts = range(0, len(ids), size)  # of batches, which are not all made at once
    heard: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def score(batch: list[Any], x: Tensor) -> Iterator[tuple[list[Any], Tensor, Part, list[Entry]]]:
        keys, j = target.account.keys(stream, batch), 0
        while j < len(batch):
            rows = slice(j, j + target.decode_batch)
            try:
                for part, entries in answers(target, x[rows], keys[rows]):
                    part.rows = [row + j for row in part.rows]
                    yield batch, x, part, entries
            except torch.OutOfMemoryError:
                target.halve("decode_batch")
            else:
                j = rows.stop

    if not width:
        for i in starts:
            batch = list(ids[i : i + size])
            yield from score(batch, draw(batch))
        return

    over = threading.Event()

    def work(batch: list[Any], x: Tensor) -> None:
        try:
            for item in score(batch, x):
                heard.put(item)
                if over.is_set():  # nobody takes the answers any more: what is not begun stays undone
                    return
        except BaseException as error:  # a thread has nowhere to raise to
            heard.put(error)
        else:
            heard.put(None)

    deep, live = 1 + -(-width // target.batch), 0
    threads = ThreadPoolExecutor(deep)
    try:
        for n in range(len(starts) + 1):
            last = n == len(starts)
            if not last:
                batch = list(ids[starts[n] : starts[n] + size])
                threads.submit(work, batch, draw(batch))
                live += 1
            while live >= deep or not heard.empty() or (live and last):
                item = heard.get()
                live -= item is None
                if isinstance(item, BaseException):
                    raise item
                if item is not None:
                    yield item
    finally:
        over.set()
        threads.shutdown(wait=not isinstance(sys.exc_info()[1], KeyboardInterrupt | SystemExit), cancel_futures=True)
