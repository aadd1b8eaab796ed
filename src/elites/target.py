"""The one door to a model and a reward.

A target is `prior x exp(reward)`. Methods touch models only through it, so that everything is counted, the network
is always called with exactly `batch` rows, gradients are off unless asked for, and a failed reward is a failure
everywhere alike.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from .account import Account
from .answers import name_of
from .evaluation import rewards
from .levels import trainable
from .population import Asker, alone, drawn, scored
from .scoring import Policy, Worst
from .stream import INNER, Id, Stream
from .types import Failure, InputError, Meter, Prior, Reward, Samples

if TYPE_CHECKING:
    from .parallel import Pool
    from .templates import Walk

__all__ = ["Target"]

T = TypeVar("T")


class Target:
    """A prior, a reward and the walk that turns noise into a clean object.

    The network sees exactly `batch` rows at each call, the last row repeated where there are fewer; so the floats,
    too, are the same bits whatever the population, the order or the chunk a candidate falls into. If the device runs
    out of memory, `batch` is halved, with a warning.

    Arguments:
        prior: any `Prior`.
        reward: callable on a batch of decoded objects, one number each, higher is better.
        walk: how noise becomes an object; `Plain(steps=20)` by default.
        batch: rows of one network call.
        decode_batch: rows of one decoder call and of one reward call, at most; `batch` by default.
        on_error: `Worst()`, `Raise()` or `Retry(again)`, for objects whose reward is not a number.
        pool: workers that populations are spread over, such as `Processes(4, build)`; this process alone without.

    Raises:
        InputError: if a batch size is not positive, or the reward is not callable.
    """

    def __init__(
        self,
        prior: Prior,
        reward: Reward,
        *,
        walk: Walk | None = None,
        batch: int = 8,
        decode_batch: int | None = None,
        on_error: Policy = Worst(),  # noqa: B008 (frozen)
        pool: Pool | None = None,
    ) -> None:
        from .templates import Plain  # templates build on targets

        if not callable(reward):
            raise InputError(f"The reward is a {type(reward).__name__}: give a callable on a batch of objects.")
        if batch < 1 or (decode_batch is not None and decode_batch < 1):
            raise InputError(f"batch={batch}, decode_batch={decode_batch}: batch sizes start at 1.")
        self.prior, self.reward, self.pool = prior, reward, pool
        self.walk: Walk = walk or Plain()
        self.batch, self.decode_batch = batch, decode_batch or batch
        self.on_error, self.account = on_error, Account()
        self.gradients = self.walking = False
        self._asked = batch  # floats depend on it, so it is what a run is known by, also after a halving

    def __repr__(self) -> str:
        what = f"{self.prior!r}, {self.scorer}, walk={self.walk!r}, batch={self._asked}"
        return f"Target({what}, on_error={self.on_error!r})"

    @property
    def scorer(self) -> str:
        """What its reward is called."""
        return name_of(self.reward)

    def with_walk(self, walk: Walk) -> Target:
        """The same target, meter and failures, with another walk."""
        return self._like(self.prior, walk)

    def with_prior(self, prior: Prior) -> Target:
        """The same target, meter and failures, with another prior."""
        return self._like(prior, self.walk)

    def with_weights(self, weights: Mapping[str, Tensor]) -> Target:
        """The same target, meter and failures, with other weights in the network of its prior.

        Raises:
            InputError: if the prior has no weights.
        """
        return self.with_prior(trainable(self.prior).with_weights(weights))

    def apart(self) -> Target:
        """The same target in this process alone, with a meter of its own, no failures and no book."""
        other = self.with_walk(self.walk)
        other.account, other.pool = Account(), None
        return other

    def _like(self, prior: Prior, walk: Walk) -> Target:
        other = Target(
            prior,
            self.reward,
            walk=walk,
            batch=self.batch,
            decode_batch=self.decode_batch,
            on_error=self.on_error,
            pool=self.pool if prior is self.prior else None,  # workers have the prior that they built
        )
        other.account, other.walking, other._asked = self.account, self.walking, self._asked
        return other

    @property
    def meter(self) -> Meter:
        """What was spent."""
        return self.account.meter

    @property
    def failures(self) -> list[Failure]:
        """Candidates whose reward was not a number."""
        return self.account.failures

    @property
    def tries(self) -> int:
        """Calls that the reward of one object may take."""
        return 1 + self.on_error.again

    @property
    def cost(self) -> Meter:
        """The most that one candidate costs: its walk, with what that asks for on its way, and its reward."""
        walk, prior = self.walk, self.prior
        rewards = self.tries * (1 + walk.scores(prior))
        return Meter(nfe=walk.calls(prior) * prior.cost, rewards=rewards, grads=walk.pulls(prior))

    def denoise(self, x: Tensor, t: Tensor, z: Tensor | None = None) -> Tensor:
        """Clean guess `(B, *shape)` at noisy x `(B, *shape)` and 0-dim t, with noise z if the prior is `noisy`.

        It counts when it begins: a backward pass that recomputes it may leave once it has what it needs.
        """
        self.meter.nfe += len(x) * self.prior.cost

        def call(rows: slice) -> Tensor:
            x_full, z_full = _pad(x[rows], self.batch), None if z is None else _pad(z[rows], self.batch)
            with self.mode():
                return self.prior.denoise(x_full, t, z_full)[: rows.stop - rows.start]

        out = self._each("batch", len(x), call)
        return out[0] if len(out) == 1 else torch.cat(out)

    def generate(self, z: Tensor, stream: Stream, ids: Sequence[Id], *, recompute: bool = False) -> Tensor:
        """Clean latents `(B, *shape)`: the walk from noise z, where the candidates `ids` draw what noise it injects.

        Arguments:
            z, stream, ids: the noise, and what draws more.
            recompute: keep no activations for a backward pass, which then calls the network once more at each level.

        Raises:
            InputError: if z does not have the shape of the prior, before the first network call.
        """
        if tuple(z.shape) != (len(ids), *self.prior.shape):
            want = (len(ids), *self.prior.shape)
            raise InputError(f"The noise has shape {tuple(z.shape)}: the prior needs {want}.")
        outer, self.walking = self.walking, True
        try:
            with self.mode():

                def call(rows: slice) -> Tensor:
                    return self.walk.solve(self, z[rows], stream, ids[rows], recompute=recompute)

                return torch.cat(self._each("batch", len(z), call))
        finally:
            self.walking = outer

    def score(self, x0: Tensor, stream: Stream, ids: Sequence[Id]) -> Tensor:
        """Rewards `(B,)` float32 on the CPU of clean latents; -inf for failures, which are listed under their keys.

        An exception of the decoder is a failure, as one of the reward is. What a book holds already is not scored
        again, unless a gradient is wanted.
        """
        if self.walking:
            stream = stream.at(purpose=stream.purpose + INNER)
        if self.pool is not None and not self.gradients:
            return scored(self, self.pool, x0, stream, ids)

        keys = self.account.keys(stream, ids)
        out = torch.cat(self._each("decode_batch", len(x0), lambda rows: rewards(self, x0[rows], keys[rows])))
        self.account.flush()
        return out

    def decode(self, x0: Tensor) -> Any:
        """Objects of clean latents `(B, *shape)`, B at most `decode_batch`; they share no memory with `x0`."""
        with self.mode():
            objects = self.prior.decode(_pad(x0, self.decode_batch).clone())
        return objects[: len(x0)]

    def evaluate(self, z: Tensor, stream: Stream, ids: Sequence[Id]) -> Samples:
        """Generate, decode and score, without gradients: what one candidate is. `z` is `(B, *shape)`."""
        x = self.generate(z, stream, ids)
        keys = torch.tensor([stream.key(i) for i in ids], dtype=torch.int64).reshape(-1, 2)
        return Samples(x=x, reward=self.score(x, stream, ids), keys=keys, z=z)

    def population(self, search: Asker, state: Any, stream: Stream, n: int, keep: int) -> tuple[Tensor, Samples]:
        """Rewards `(n,)` of the candidates 0 to n - 1 of a search, and the `keep` best: by workers, or here."""
        if self.pool is not None:
            return drawn(self, self.pool, search, state, stream, n, keep)
        return alone(self, search, state, stream, n, keep)

    def grad(
        self, f: Callable[..., tuple[Tensor, Any]], x: Tensor, ids: Sequence[Id] | None = None
    ) -> tuple[Tensor, list[Any], Tensor]:
        """Values `(B,)`, auxiliary results and gradients `(B, *shape)` of f, chunk by chunk.

        Arguments:
            f: chunk of x to (value `(n,)`, anything); it may call `denoise`, `generate` and `score`.
            x: where, `(B, *shape)`.
            ids: candidates of the rows; then f is called with a chunk of x and the candidates in it.
        """

        def call(rows: slice) -> tuple[Tensor, Any, Tensor]:
            outer, self.gradients = self.gradients, True
            try:
                with torch.enable_grad():
                    leaf = x[rows].detach().clone().requires_grad_()
                    value, extra = f(leaf) if ids is None else f(leaf, ids[rows])
                    total = value.sum()  # a constant, if every object of the chunk failed
                    grad = torch.autograd.grad(total, leaf)[0] if total.requires_grad else torch.zeros_like(leaf)
            finally:
                self.gradients = outer
            self.meter.grads += len(leaf)
            return value.detach(), extra, grad

        values, aux, grads = zip(*self._each("batch", len(x), call), strict=True)
        return torch.cat(values), list(aux), torch.cat(grads)

    def learn(
        self, loss: Callable[[Target], Tensor], weights: Mapping[str, Tensor], rows: int
    ) -> tuple[float, dict[str, Tensor]]:
        """A loss and its gradient by the weights of the network.

        Arguments:
            loss: target, whose network has these weights, to a 0-dim tensor; it may call `denoise` on `rows` objects.
            weights: of the prior, by name.
            rows: objects of one network call, however many the target takes at once: so the bits are those of any.
        """
        leaves = {name: v.detach().clone().requires_grad_() for name, v in weights.items()}
        before = self.meter.nfe
        with torch.enable_grad():
            other = self.with_weights(leaves)
            other.batch, other.gradients = rows, True
            value = loss(other)
            slopes = torch.autograd.grad(value, list(leaves.values()), allow_unused=True)
        self.meter.grads += (self.meter.nfe - before) // self.prior.cost
        filled = (torch.zeros_like(v) if g is None else g for g, v in zip(slopes, leaves.values(), strict=True))
        return float(value.detach()), dict(zip(leaves, filled, strict=True))

    def pull(self, out: Tensor, leaf: Tensor, v: Tensor) -> Tensor:
        """v times d out / d leaf `(B, *shape)`, for a function of `grad` that needs more than one; it is counted."""
        self.meter.grads += len(leaf)
        return torch.autograd.grad(out, leaf, v.to(out), retain_graph=True)[0]

    def mode(self) -> AbstractContextManager[None]:
        """Gradients on or off as the method asked, and the caller's mode restored, whatever happens inside."""
        return torch.set_grad_enabled(self.gradients)

    def halve(self, size: str) -> None:
        """Take half as many rows at a time after an out-of-memory error; raise it where that is no help."""
        half = getattr(self, size) // 2
        if half < 1 or self.gradients:  # a graph keeps what its chunks hold: `grad` begins again with fewer
            raise
        setattr(self, size, half)
        warnings.warn(f"Out of memory: {size} is now {half}, and floats may differ.", stacklevel=3)

    def _each(self, size: str, n: int, call: Callable[[slice], T]) -> list[T]:
        """Call on consecutive slices of at most `self.<size>` rows; where memory runs out, halve them and go on."""
        out, done = list[T](), 0
        while done < n:
            rows = slice(done, min(done + getattr(self, size), n))
            try:
                out.append(call(rows))
            except torch.OutOfMemoryError:
                self.halve(size)
            else:
                done = rows.stop
        return out


def _pad(x: Tensor, rows: int) -> Tensor:
    """Repeat the last row until there are `rows`."""
    return x if len(x) >= rows else torch.cat([x, x[-1:].expand(rows - len(x), *x.shape[1:])])
