"""The words of the library: what a prior, a method, a budget and a result are.

A *target* is `prior x exp(reward)`, a *method* turns a target into samples, and `run` is the only loop. Tensors of
objects are always `(B, *prior.shape)`: `x` noisy, `x0` a clean guess, `z` the noise. Times `t` and `s` are 0-dim
tensors that decrease along a walk from noise to data. Rewards are `(B,)` float32, and higher is better.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor

from .copies import Copies
from .samples import Samples, ranked

if TYPE_CHECKING:
    from .stream import Id, Stream
    from .target import Target

__all__ = [
    "Budget",
    "Event",
    "Failure",
    "Gaussian",
    "Info",
    "InputError",
    "Meter",
    "Method",
    "Prior",
    "Reading",
    "Result",
    "Reward",
    "Samples",
    "Setup",
    "Space",
    "ranked",
]

Reward = Callable[[Any], Any]


class InputError(ValueError):
    """What was asked for cannot be done; the message is one sentence that says what to do."""


class Space(Protocol):
    """A set of objects with a noise law: enough for methods on densities."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one object in latent space, without the batch."""

    def noise(self, stream: Stream, ids: Sequence[Id]) -> Tensor:
        """Standard normal noise `(len(ids), *shape)` of the candidates `ids`, on the CPU."""

    def decode(self, x0: Tensor) -> Any:
        """Clean latents `(B, *shape)` to the objects that rewards see: a tensor, array or list of length B."""


class Prior(Space, Protocol):
    """A pretrained law of objects, seen as a walk from noise to a clean object."""

    @property
    def cost(self) -> int:
        """Network evaluations per object of one `denoise` (a classifier-free pair costs 2)."""

    @property
    def noisy(self) -> bool:
        """Whether a walk has to feed fresh noise to `denoise` and `move`; `False` for ODE sampling."""

    def grid(self, steps: int) -> Tensor:
        """Decreasing times `(m + 1,)`; the prior decides m."""

    def start(self, z: Tensor) -> Tensor:
        """Noise to x at `grid[0]`, on the device of the prior."""

    def denoise(self, x: Tensor, t: Tensor, z: Tensor | None = None) -> Tensor:
        """Clean guess at x and t. Gaussian: E[x0 | x]. Discrete: a draw made of `z`, or the mode without."""

    def move(self, x: Tensor, x0: Tensor, t: Tensor, s: Tensor, z: Tensor | None = None) -> Tensor:
        """One transition from t to s given the clean guess; without `z` only its deterministic part."""


class Gaussian(Prior, Protocol):
    """A prior whose noisy law is `x = alpha x0 + sigma z`; gradient, inverse and particle methods need it."""

    @property
    def schedule(self) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
        """Time to (alpha, sigma)."""

    @property
    def kernel(self) -> Callable[..., tuple[Tensor, Tensor, Tensor]]:
        """(schedule, t, s) to the coefficients (a, b, c) of one transition."""


class Method(Protocol):
    """An algorithm. `init` makes no network call; `step` is a pure function of its arguments."""

    def init(self, target: Target, stream: Stream) -> Any:
        """First state, a dataclass of tensors, numbers, strings, or objects with `state_dict`."""

    def step(self, target: Target, state: Any, stream: Stream) -> tuple[Any, Info]:
        """The next state, and what is worth reporting about the step."""

    def done(self, state: Any) -> bool:
        """Whether there is nothing left to do."""

    def cost(self, target: Target, state: Any) -> Meter:
        """The most that the next step can spend, so that a run never exceeds its budget."""


@dataclass
class Meter:
    """What has been spent. `nfe` counts network evaluations per object: a batch of 8 is 8."""

    nfe: int = 0
    rewards: int = 0
    grads: int = 0
    failures: int = 0
    seconds: float = 0.0

    def __add__(self, other: Meter) -> Meter:
        return Meter(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def __sub__(self, other: Meter) -> Meter:
        return Meter(*(getattr(self, f.name) - getattr(other, f.name) for f in fields(self)))


@dataclass(frozen=True)
class Budget:
    """How much may be spent; a run stops at the last whole step that fits. `None` is no limit.

    Arguments:
        nfe: network evaluations, counted per object.
        rewards: objects scored.
        seconds: wall time; a step fits if it should end in time, judged by the longest step, or by the probe.
        steps: steps of the method.

    Raises:
        InputError: if a limit is not positive.
    """

    nfe: int | None = None
    rewards: int | None = None
    seconds: float | None = None
    steps: int | None = None

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if value is not None and not value > 0:
                raise InputError(f"Budget({f.name}={value}) leaves nothing to spend: give a positive number.")
            if value is not None and f.name != "seconds":
                if value != int(value):
                    raise InputError(f"Budget({f.name}={value}) is no whole number: give one.")
                object.__setattr__(self, f.name, int(value))

    @property
    def empty(self) -> bool:
        """Whether no limit is set."""
        return all(getattr(self, f.name) is None for f in fields(self))

    def lacks(self, spent: Meter, cost: Meter, steps: int) -> str | None:
        """Why `cost` more does not fit after `steps` steps and `spent`, or `None` if it does."""
        if self.steps is not None and steps >= self.steps:
            return f"all {self.steps} steps are done"
        for name, word in (("nfe", "network evaluations"), ("rewards", "rewards"), ("seconds", "seconds")):
            limit, used, more = getattr(self, name), getattr(spent, name), getattr(cost, name)
            if limit is not None and used + more > limit:
                left, digits = max(limit - used, 0), ",.1f" if name == "seconds" else ",.0f"
                if left == 0:
                    return f"all {limit:{digits}} {word} are spent"
                return f"the next step needs {more:{digits}} {word} and {left:{digits}} of {limit:{digits}} are left"
        return None


@dataclass(frozen=True)
class Failure:
    """A candidate whose reward is not a number, with the key that draws it again and the reason."""

    step: int
    candidate: int
    reason: str


@dataclass
class Info:
    """What is worth reporting about one step; dropping it changes nothing.

    Attributes:
        samples: the best of the step.
        rewards: all rewards of the step `(n,)`, -inf for failures.
        scalars: further numbers, as 0-dim tensors or floats.
        x0: clean guesses of a walk.
    """

    samples: Samples | None = None
    rewards: Tensor | None = None
    scalars: dict[str, Tensor | float] = field(default_factory=dict)
    x0: Tensor | None = None


@dataclass(frozen=True)
class Setup:
    """What defines a run: all that is needed, with the code, to do it again."""

    method: Method
    target: Target
    budget: Budget
    seed: int


@dataclass
class Event:
    """What subscribers see after the probe (step 0), after each step, and once more with the result.

    A subscriber may add columns to `row`, the line of the history, and readings to the evidence of the result; nothing
    else in an event is to be changed.
    """

    setup: Setup
    step: int
    state: Any
    info: Info
    meter: Meter
    best: Samples | None
    row: dict[str, float]
    failures: list[Failure]
    result: Result | None = None

    @property
    def winner(self) -> Any:
        """The best sample so far as an object, a batch of one; it is decoded once, and each who asks has a copy."""
        return self._winner()

    @cached_property
    def _winner(self) -> Copies:
        assert self.best is not None
        best = self.best.x[:1]
        return Copies(lambda: self.setup.target.decode(best))


@dataclass(frozen=True)
class Reading:
    """One number that says how real the winners of a run are, beside what prior samples show.

    Attributes:
        name: of what was read, such as "typicality".
        value: the number.
        quantile: the share of prior samples that look less real by it, from 0 to 1; NaN if none were read.
        says: one sentence that needs no manual.
        warns: whether prior samples hardly ever look so unreal.
    """

    name: str
    value: float
    quantile: float
    says: str
    warns: bool = False


@dataclass
class Result:
    """What a run leaves.

    Attributes:
        best: the best sample ever scored, as `Samples` of length 1 (length 0 if everything failed).
        samples: the best ones, best first.
        history: a dict of numbers per step; step 0 is the probe of prior samples.
        meter: what was spent.
        failures: every candidate whose reward was not a number.
        stopped: why the run ended.
        seed: with the study, it repeats the run.
        versions: of Python, elites, torch and NumPy.
        state: the last state of the method.
        evidence: what subscribers read of the winners.
    """

    best: Samples
    samples: Samples
    history: list[dict[str, float]]
    meter: Meter
    failures: list[Failure]
    stopped: str
    seed: int
    versions: dict[str, str]
    state: Any
    evidence: list[Reading] = field(default_factory=list)
