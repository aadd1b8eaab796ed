r"""Quality diversity: many objects that are good and different, the best of every cell of a grid over their measures.

    1. z = ((1 - l) z_i + l z_j + b e) / sqrt((1 - l)^2 + l^2 + b^2),    z_i, z_j elites of two cells, e ~ N(0, I)
    2. make its object o, score it, and measure it: m(o) says which cell it falls into
    3. keep it, if the cell is empty or its elite has a lower reward

A child of two independent draws of the prior is a draw of the prior, whatever l and b are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..stream import Purpose, Stream
from ..target import Target
from ..templates import KEEP
from ..types import Info, InputError, Meter, Samples, ranked
from .guards import Guard, Typical

__all__ = ["QualityDiversity", "QualityState"]


@dataclass
class QualityState:
    """The archive: the elites as samples, with their cells `(k,)`, increasing, and measures `(k, m)`.

    `prior.decode(result.state.elites.x)` makes all objects of an archive, `result.state.elites.top(8)` has its best.
    """

    elites: Samples
    cells: Tensor
    measures: Tensor
    scored: int


@dataclass(frozen=True)
class QualityDiversity:
    """MAP-Elites over noise, with the line mutation made to keep the prior.

    l is normal with spread `line`; b is log-uniform between a hundredth of `spread` and `spread`, so that coarse and
    fine steps come side by side and neither has to be tuned.

    Arguments:
        measures: callable on a batch of objects, `(B, m)` numbers that say in what they differ, or `(B,)`. An object
            with a measure that is no number is in no cell.
        ranges: `(low, high)` of each measure; what lies outside is in the outermost cell.
        cells: of each measure.
        population: candidates of a step.
        first: candidates drawn from the prior before any has parents.
        line: spread along the difference of two elites.
        spread: largest share of fresh noise.
        guard: where candidates may be.

    Raises:
        InputError: if an argument is out of range, or what `measures` returns does not have the shape it should.

    References:
        Illuminating search spaces by mapping elites (Mouret and Clune, 2015), arXiv:1504.04909.
        Discovering the Elite Hypervolume by Leveraging Interspecies Correlation (Vassiliades and Mouret, 2018),
        arXiv:1804.03906.
        The tests compare the archive with that of pyribs (Tjanaka et al., 2023), arXiv:2303.00191.

    Differences:
        The child is divided by the norm of its weights, and placed by the guard; b is not fixed. The archive is
        tensors in the state, and not an object of pyribs: those cannot be saved without a pickle, and an archive is a
        few lines where pyribs is half a gigabyte. An object is decoded twice, once to be scored and once, if its
        reward is a number, to be measured.
    """

    measures: Callable[[Any], Any]
    ranges: Sequence[tuple[float, float]]
    cells: Sequence[int]
    population: int = 16
    first: int = 64
    line: float = 0.2
    spread: float = 0.5
    guard: Guard = Typical()  # noqa: RUF009 (frozen)

    def __post_init__(self) -> None:
        if not self.ranges or len(self.ranges) != len(self.cells):
            raise InputError(f"{len(self.ranges)} ranges and {len(self.cells)} cells: give one of each for a measure.")
        if any(not low < high for low, high in self.ranges) or any(n < 1 for n in self.cells):
            raise InputError(f"ranges={self.ranges}, cells={self.cells}: give low < high, and at least one cell each.")
        if self.population < 1 or self.first < 1 or self.line < 0 or self.spread <= 0:
            raise InputError(
                f"population={self.population}, first={self.first}, line={self.line}, spread={self.spread}: give at "
                "least one candidate and positive spreads."
            )

    def init(self, target: Target, stream: Stream) -> QualityState:
        none = torch.zeros(0, *target.prior.shape, dtype=torch.float32)
        keys = torch.zeros(0, 2, dtype=torch.int64)
        empty = torch.zeros(0, dtype=torch.float32)
        return QualityState(
            Samples(x=none, reward=empty, keys=keys, z=none), keys[:, 0], none.new_zeros(0, len(self.ranges)), 0
        )

    def ask(self, state: QualityState, stream: Stream, ids: Sequence[int], shape: Sequence[int]) -> Tensor:
        """Noise `(len(ids), *shape)` of the candidates `ids` of this step; a pure function."""
        e = stream.normal(ids, shape).reshape(len(ids), -1)
        k = len(state.cells)
        if state.scored < self.first or k < 2:
            return self.guard.place(e).reshape(-1, *shape)
        own = stream.at(purpose=Purpose.METHOD)
        u = own.uniform(ids, (3,))
        i = (u[:, 0] * k).long().clamp(max=k - 1)
        j = (i + 1 + (u[:, 1] * (k - 1)).long().clamp(max=k - 2)) % k  # another
        b = self.spread * 10 ** (-2 * u[:, 2:])
        l = self.line * own.at(draw=1).normal(ids, (1,))
        parents: Any = state.elites.z
        z = (1 - l) * parents[i].reshape(len(ids), -1) + l * parents[j].reshape(len(ids), -1) + b * e
        z = z / ((1 - l).square() + l.square() + b.square()).sqrt()
        return self.guard.place(z).reshape(-1, *shape)

    def step(self, target: Target, state: QualityState, stream: Stream) -> tuple[QualityState, Info]:
        """Ask, evaluate and measure in chunks of the target's batch; reports the best samples and all rewards."""
        ids = range(self.population)
        best: list[Samples] = []
        rewards, after = [], state
        size = target.batch  # before the loop: it may shrink when memory runs out
        for start in range(0, len(ids), size):
            chunk = ids[start : start + size]
            samples = target.evaluate(self.ask(state, stream, chunk, target.prior.shape), stream, chunk)
            rewards.append(samples.reward)
            best = [Samples.cat([*best, samples]).top(KEEP)]
            good = samples[ranked(samples.reward).sort().values]
            after = self._kept(after, good, self._measured(target, good.x))
        told = torch.cat(rewards)
        after = QualityState(after.elites, after.cells, after.measures, state.scored + len(told))
        scalars: dict[str, Tensor | float] = {"coverage": len(after.cells) / int(np.prod(self.cells))}
        if len(after.cells):
            scalars["elites"] = after.elites.reward.double().mean()
        return after, Info(samples=best[0], rewards=told, scalars=scalars)

    def done(self, state: QualityState) -> bool:
        """A search goes on until the budget is spent."""
        return False

    def cost(self, target: Target, state: QualityState) -> Meter:
        """A population of candidates."""
        each = target.cost
        return Meter(nfe=self.population * each.nfe, rewards=self.population * each.rewards)

    def _measured(self, target: Target, x: Tensor) -> Tensor:
        """Measures `(n, m)` of clean latents."""
        parts = [torch.zeros(0, len(self.ranges), dtype=torch.float32)]
        start = 0
        while start < len(x):
            rows = x[start : start + target.decode_batch]
            with torch.no_grad():
                found = self.measures(target.decode(rows))
            found = found.detach() if isinstance(found, Tensor) else torch.from_numpy(np.array(found, np.float64))
            found = found[:, None] if found.ndim == 1 else found
            if found.shape != (len(rows), len(self.ranges)):
                raise InputError(
                    f"The measures of {len(rows)} objects have shape {tuple(found.shape)}: return "
                    f"{(len(rows), len(self.ranges))}."
                )
            parts.append(found.float().cpu())
            start += len(rows)
        return torch.cat(parts)

    def _kept(self, state: QualityState, new: Samples, measures: Tensor) -> QualityState:
        """The archive with what is new and better than the elite of its cell; the first of equals stays."""
        placed = torch.isfinite(measures).all(1)
        new, measures = new[placed], measures[placed]
        low, high = torch.tensor(self.ranges, dtype=torch.float64).T
        sides = torch.tensor(list(self.cells))
        at = ((measures.double() - low) / (high - low) * sides).floor().clamp(min=0)
        at = torch.minimum(at.long(), sides - 1)
        cell = torch.zeros(len(new), dtype=torch.int64)
        for axis, side in enumerate(self.cells):
            cell = cell * side + at[:, axis]
        pool = Samples.cat([state.elites, new])
        cells, every = torch.cat([state.cells, cell]), torch.cat([state.measures, measures])
        order = torch.sort(pool.reward, descending=True, stable=True).indices
        order = order[torch.sort(cells[order], stable=True).indices]  # by cell, and best first in each
        sorted_cells = cells[order]
        leads = torch.ones(len(order), dtype=torch.bool)
        leads[1:] = sorted_cells[1:] != sorted_cells[:-1]
        order = order[leads]
        return QualityState(pool[order], cells[order], every[order], state.scored)
