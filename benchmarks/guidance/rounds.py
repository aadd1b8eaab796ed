"""Rounds of guidance, watched: reward, and how far off the data samples are before and after their last jump.

The last step of a walk jumps to the clean guess, which a network that knows the data puts near them wherever the walk
was. So the samples are measured at the lowest noise level as well, divided by its alpha, where even unguided ones are
off the data by the noise of that level.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import elites as el
from benchmarks.guidance.setting import FRAME
from elites.steer import AheadLoss, Published, RawGradient

__all__ = ["PUSHES", "SIGMA", "Ends", "along", "guided", "off_subspace"]

SIGMA = 0.1  # of the measurement, as in the paper; lambda is its square over delta
PUSHES: dict[str, Any] = {
    "G_loss": AheadLoss(),
    "G_loss, published weight": AheadLoss(Published()),
    "G": RawGradient(),
}
Off = Callable[[Tensor], Tensor]


class Ends:
    """A prior that keeps the x of its last jump."""

    def __init__(self, prior: Any) -> None:
        self.prior = prior
        self.x = torch.zeros(0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.prior, name)

    def move(self, x: Tensor, x0: Tensor, t: Tensor, s: Tensor, z: Tensor | None = None) -> Tensor:
        """The prior's own; the jump to the clean end is remembered."""
        if float(self.prior.schedule(s)[1]) == 0:
            self.x = x / float(self.prior.schedule(t)[0])
        return self.prior.move(x, x0, t, s, z)


def off_subspace(x: Tensor) -> Tensor:
    """The paper's r_off `(B,)`."""
    return el.diagnose.Subspace(FRAME).off(x)


def guided(push: str, delta: float, n: int, levels: int, rounds: int) -> el.Lookahead:
    """The paper's setting in our terms."""
    return el.Lookahead(n, levels, rounds, SIGMA**2 / delta, delta, PUSHES[push])


def along(method: el.Lookahead, prior: Any, reward: Any, off: Off, seed: int) -> tuple[dict[str, Any], Tensor]:
    """Of each round the mean reward and distances off the data, and the samples `(rounds, n, d)`."""
    ends, kept = Ends(prior), []
    seen: dict[str, list[float]] = {"reward": [], "after": [], "before": []}

    def watch(event: el.types.Event) -> None:
        if event.info.x0 is None:
            return
        x = event.info.x0
        kept.append(x.clone())
        seen["reward"].append(float(event.info.rewards.double().mean()))
        seen["after"].append(float(off(x).mean()))
        seen["before"].append(float(off(ends.x).mean()))

    el.run(method, el.Target(ends, reward, batch=method.n), seed=seed, on=[watch], probe=None)
    rounded = {name: [_short(v) for v in values] for name, values in seen.items()}
    return rounded, torch.stack(kept).double()


def _short(v: float) -> float | None:
    """Five digits; `None`, which JSON knows, for what is not finite."""
    return float(f"{v:.5g}") if math.isfinite(v) else None
