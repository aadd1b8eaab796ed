"""What the winners of a run, or of a saved one, say of how real they are, beside prior samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..copies import Copies
from ..stream import Stream
from ..types import InputError, Reading, Samples
from .diversity import Diversity
from .neighbours import DistanceToData
from .quantiles import quantile
from .reference import LOSS, MOVEMENT, WIDEST, Reference
from .typicality import whiteness
from .watch import one

if TYPE_CHECKING:
    from ..target import Target

__all__ = ["Respect", "readings", "respects"]

FEW, SETS = 8, 50  # winners whose diversity is looked at, and sets of prior samples beside them
WARN = 0.01  # share of prior samples below which a reading warns


@dataclass(frozen=True, eq=False)
class Respect:
    """One respect in which decoded objects look real.

    Attributes:
        name: of the column.
        function: of a batch of objects.
        higher: whether a higher value looks more real.
        follows: whether it is to follow the reward, as a judge is.
        values: of prior samples `(n,)`.
        says: what a quantile means.
        law: whether values are p-values, which warn by themselves; they are read at the end only.
    """

    name: str
    function: Callable[[Any], Any]
    higher: bool
    follows: bool
    values: Tensor
    says: str
    law: bool = False

    def scale(self, value: Tensor | float) -> Tensor:
        """On a scale where higher is more real, and prior samples are nearly normal."""
        value = torch.as_tensor(value, dtype=torch.float64)
        return value if self.higher else -value.clamp(min=1e-12).log()


def respects(
    reference: Reference | None, judge: Callable[[Any], Any] | None, distance: Callable[[Any], Any] | None
) -> list[Respect]:
    """A judge, a distance and whether objects are copies, with their values of prior samples, which may be none.

    Raises:
        InputError: if one of them fails on every prior sample, or does not return one number for each.
    """
    copied = None
    if reference is not None and isinstance(distance, DistanceToData) and len(distance.held_out) + 1 >= 1 / WARN:
        with suppress(InputError):  # of data that are all alike, or of held-out objects that are not finite
            copied = distance.memorised
    asked = (
        ("judge", judge, True, True, "the judge likes it better than {} of prior samples", False),
        ("distance", distance, False, False, "nearer to the data than {} of prior samples", False),
        ("memorised", copied, True, False, "less like a copy of the data than {} of prior samples", True),
    )
    values = dict.fromkeys((name for name, *_ in asked), torch.empty(0, dtype=torch.float64))
    if reference is not None:
        values |= reference.measured({name: f for name, f, *_ in asked if f is not None})
    return [Respect(n, f, up, on, values[n], says, law) for n, f, up, on, says, law in asked if f is not None]


def readings(
    winners: Samples,
    reference: Reference,
    judge: Callable[[Any], Any] | None = None,
    distance: Callable[[Any], Any] | None = None,
) -> list[Reading]:
    """How real the winner is, each number with the share of prior samples that look less real.

    The best of a search was chosen, so that small quantiles do not surprise. A reading warns where fewer than one
    prior sample in a hundred, itself among them, looks so unreal; beside fewer than 99 of them, where it is as far
    beyond the worst of them as that one is from their median; the p-values, `whiteness` and `memorised`, up to 0.01.

    Arguments:
        winners: best first, such as those of a result or of `Folder(path).best`.
        reference: prior samples of the same target.
        judge: a callable on a batch of objects that the search never saw; higher is more real.
        distance: such as `DistanceToData`; lower is more real.

    Returns:
        `typicality` (|z|^2 / d) and `whiteness` of the noise, `judge`, `distance`, `memorised` (`Memorised`, with a
        `DistanceToData` that holds out at least 99 objects), `movement` (`TrajectoryVariance`), `loss`
        (`DenoisingLoss`), `support` (`Subspace`) and `diversity` of the best eight, as far as they can be had.
    """
    return list(read(winners, reference, respects(reference, judge, distance)))


def read(winners: Samples, reference: Reference, asked: list[Respect]) -> Iterator[Reading]:
    """The same for respects whose prior samples are measured already."""
    prior, best = reference.samples, winners[:1]
    if not len(best):
        return
    if best.z is not None and prior.z is not None:
        (shell,), those = (z.flatten(1).double().square().mean(1).cpu() for z in (best.z, prior.z))
        far = _place((shell - 1).abs(), (those - 1).abs(), higher=False)
        says = "its noise has a more typical norm than that of {} of prior samples"
        yield _reading("typicality", float(shell), far, says)
        (white,) = whiteness(best.z)
        at = _place(white, whiteness(prior.z), higher=True, law=True)
        yield _reading("whiteness", float(white), at, "its noise is whiter than that of {} of prior samples")
    x = best.x.to(reference.target.prior.start(prior.x[:1]))
    objects = Copies(partial(reference.target.decode, x))
    for r in asked:
        with torch.no_grad():
            value = one(r.name, r.function, objects())
        yield _reading(r.name, value, _place(value, r.values, higher=r.higher, law=r.law), r.says)
    own, ids = reference.target, [(int(s), int(c)) for s, c in best.keys]
    if reference.movement is not None and (z := best.z) is not None:
        value = _alone(own, lambda it: MOVEMENT(it, z, Stream(0), ids), 1)
        at = _place(value, reference.movement, higher=False)
        yield _reading("movement", value, at, "its clean guess moves less at the end than that of {} of prior samples")
    if reference.loss is not None:
        value = _alone(own, lambda it: LOSS(it, best.x, Stream(0), ids), LOSS.draws)
        at = _place(value, reference.loss, higher=False)
        yield _reading("loss", value, at, "the network denoises it better than {} of prior samples")
    if reference.support is not None:
        space, those = reference.support
        value = float(space.off(best.x.cpu())[0])
        says = "nearer to the subspace of prior samples than {} of them"
        yield _reading("support", value, _place(value, those, higher=False), says)
    yield from _diverse(winners[:FEW], prior)


def _alone(target: Target, read: Callable[[Target], Tensor], rows: int) -> float:
    """The number of one object, without rows that only fill a batch; with them, where a network takes no fewer."""
    if target.batch > rows:
        smaller = target.apart()
        smaller.batch = rows
        with suppress(Exception):
            return float(read(smaller)[0])
    return float(read(target)[0])


def _diverse(winners: Samples, prior: Samples) -> Iterator[Reading]:
    """How many of the best latents are different; it never warns, as a search is to converge."""
    flat = prior.x.flatten(1).float()
    flat = flat[flat.isfinite().all(1)]
    if len(winners) > 1 and len(flat) > 2 * len(winners) and flat.shape[1] <= WIDEST and bool((flat != flat[0]).any()):
        latents = Diversity(flat)
        value = latents.effective(winners.x.flatten(1).float().cpu())
        sets = latents.among(len(winners), Diversity.effective, Stream(0), SETS)
        says = f"the best {len(winners)} are more diverse than {{}} of as many prior samples"
        at, _ = _place(value, sets, higher=True)
        yield _reading("diversity", value, (at, False), says)


def _place(value: Tensor | float, prior: Tensor, higher: bool, law: bool = False) -> tuple[float, bool]:
    """The quantile of one number, and whether it warns; NaN beside prior samples of which no number is finite."""
    prior = prior[prior.isfinite()].double()
    if not len(prior):
        return math.nan, False
    q, n = float(quantile(value, prior, higher)[0]), len(prior)
    if law:
        return q, float(value) <= WARN
    if n + 1 >= 1 / WARN:
        return q, (n * q + 1) / (n + 1) < WARN
    worst = float(prior.min() if higher else prior.max())
    return q, q == 0 and abs(float(value) - worst) > abs(worst - float(prior.median()))


def _reading(name: str, value: float, place: tuple[float, bool], says: str) -> Reading:
    q, warns = place
    said = f": {says.format(f'{q:.0%}')}" if q == q else ": it could not be read"
    return Reading(name, value, q, f"{value:.3g}{said}", warns)
