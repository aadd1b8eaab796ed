r"""Returns of plans: what an environment or a model of the world gives for their actions.

    R = sum_h discount^h r_h    over the steps up to the one at which the episode ends, that one included

A plan is scored by what its actions do. Every candidate starts from the same state and meets the same random numbers,
so two of them differ by their actions alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..answers import gather
from ..types import InputError
from .basic import per_sample
from .held import Held

__all__ = ["Rollout", "WorldModel", "scaled"]

Step = Callable[[Tensor, Tensor], tuple[Tensor, ...]]


def scaled(space: Any, action: np.ndarray) -> Any:
    """An action of a Gymnasium space from numbers in [-1, 1], clipped.

    A Box goes from its low to its high end; a Discrete space of n is n equal intervals.

    Arguments:
        space: a bounded `Box`, or `Discrete`.
        action: as many numbers as the space has, 1 for a Discrete.

    Raises:
        InputError: if the space is of another kind or not bounded, or the numbers are not as many.
        ImportError: without the extra `gym`.
    """
    try:
        from gymnasium.spaces import Box, Discrete
    except ImportError as error:
        raise ImportError("Actions of a Gymnasium space need Gymnasium: pip install 'elites[gym]'.") from error
    if not isinstance(space, Discrete) and not (isinstance(space, Box) and space.is_bounded()):
        raise InputError(f"There is no scale for the actions {space}: give `act`, (space, numbers) to an action.")
    if len(action) != math.prod(space.shape or ()):
        raise InputError(f"A plan has {len(action)} numbers a step and the actions are {space}: give as many.")
    share = (np.clip(action, -1, 1) + 1) / 2
    if isinstance(space, Discrete):
        return space.start + min(int(share[0] * int(space.n)), int(space.n) - 1)
    low, high = space.low.astype(float), space.high.astype(float)
    return (low + share.reshape(space.shape) * (high - low)).astype(space.dtype)


@dataclass(frozen=True, eq=False)
class _Idle:
    """Environments that no thread is using."""

    envs: list[Any] = field(default_factory=list)

    def close(self) -> None:
        while self.envs:
            self.envs.pop().close()


@dataclass(frozen=True, eq=False)
class Rollout:
    """Return of plans in a Gymnasium environment, one after the other.

    Plans are `(B, H, A)`, torch or NumPy. Each begins with `reset(seed=...)`. Where the episode ends or is cut off by
    a time limit, the rest of the plan is not looked at. A plan with numbers that are not finite, or at which the
    environment raises, fails; the others do not. There is no gradient.

        Rollout(functools.partial(gymnasium.make, "Pendulum-v1"))

    Environments are made when they are needed, one for each thread that asks at a time, and used again. The reward can
    be pickled if its functions can, and takes no environment along, so worker processes make their own.

    Arguments:
        make_env: makes an environment of the API of Gymnasium 1.
        seed: of every reset.
        set_state: (environment, state) puts it there after the reset; mind `env.unwrapped`.
        state: for `set_state`.
        discount: of a step, in (0, 1].
        penalty: subtracted, discounted as the reward of that step, where an episode ends; not at a time limit.
        actions: plans to actions `(B, H, A)`: columns of plans that hold states as well, or inverse dynamics for
            plans that hold states only.
        act: (action space, numbers `(A,)`) to an action; `scaled` takes them from [-1, 1].

    Raises:
        InputError: if the discount is not in (0, 1], the penalty not finite, a state is given without `set_state` or
            the reverse, or the plans have another shape.
        ImportError: without the extra `gym`, for the default `act`.

    References:
        Gymnasium: A Standard Interface for Reinforcement Learning Environments (Towers et al., 2024),
        arXiv:2407.17032.
    """

    make_env: Callable[[], Any] = field(repr=False)
    seed: int = 0
    set_state: Callable[[Any, Any], None] | None = field(default=None, repr=False)
    state: Any = None
    discount: float = 1.0
    penalty: float = 0.0
    actions: Callable[[Any], Any] | None = field(default=None, repr=False)
    act: Callable[[Any, np.ndarray], Any] = field(default=scaled, repr=False)
    _idle: Held[_Idle] = field(default_factory=Held, init=False, repr=False)

    def __post_init__(self) -> None:
        _check(self.discount, self.penalty)
        if (self.set_state is None) != (self.state is None):
            raise InputError("Rollout: give both a state and set_state, which puts an environment there, or neither.")

    @property
    def width(self) -> int:
        """It works in the thread that asks."""
        return 0

    def __call__(self, plans: Any) -> list[Any]:
        """A return, or why it failed, for each plan."""
        return gather(self.each(plans), len(plans))

    def each(self, plans: Any) -> Iterator[tuple[int, Any]]:
        """(Position, return or why it failed) of each plan, as it comes."""
        plans = torch.as_tensor(_actions(self.actions, plans)).detach().cpu().double().numpy()
        yield from per_sample(self._one).each(plans)

    def _one(self, plan: np.ndarray) -> float:
        if not np.isfinite(plan).all():
            raise InputError("The plan has numbers that are not finite.")
        idle = self._idle.get(_Idle).envs
        try:
            env = idle.pop()
        except IndexError:
            env = self.make_env()
        try:
            total = self._play(env, plan)
        except BaseException:
            env.close()  # nobody knows in which state it is
            raise
        idle.append(env)
        return total

    def _play(self, env: Any, plan: np.ndarray) -> float:
        env.reset(seed=self.seed)
        if self.set_state is not None:
            self.set_state(env, self.state)
        total, weight = 0.0, 1.0
        for numbers in plan:
            _, reward, ended, cut, _ = env.step(self.act(env.action_space, numbers))
            total += weight * (float(reward) - self.penalty * bool(ended))
            if ended or cut:
                break
            weight *= self.discount
        return total


@dataclass(frozen=True, eq=False)
class WorldModel:
    """Return of plans in a model of the world: any function of a batch, with gradients if it has them.

    Plans are `(B, H, A)`, torch or NumPy. A model of the dynamics f and a cost c make

        WorldModel(lambda state, action: (f(state, action), -c(state, action)), start)

    Once a plan's episode has ended its state stands still and its rewards do not count.

    Arguments:
        step: (states `(B, *S)`, actions `(B, A)`) to the next states `(B, *S)` and the rewards `(B,)` of this step,
            and, if episodes end, booleans `(B,)`: whether this step was the last.
        start: state `(*S,)`, the same for all; taken to the type and device of the plans.
        discount: of a step, in (0, 1].
        penalty: subtracted, discounted as the reward of that step, where an episode ends.
        actions: plans to actions `(B, H, A)`: columns of plans that hold states as well, or inverse dynamics for
            plans that hold states only.

    Raises:
        InputError: if the discount is not in (0, 1], the penalty not finite, or the plans or what `step` returns have
            another shape.
    """

    step: Step = field(repr=False)
    start: Any = field(repr=False)
    discount: float = 1.0
    penalty: float = 0.0
    actions: Callable[[Any], Any] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        _check(self.discount, self.penalty)

    def __call__(self, plans: Any) -> Tensor:
        """Returns `(B,)` of plans `(B, H, k)`."""
        plan = torch.as_tensor(_actions(self.actions, plans))
        plan = plan.to(torch.promote_types(plan.dtype, torch.float32))
        start = torch.as_tensor(self.start).to(plan)
        n = len(plan)
        state, total = start.expand(n, *start.shape), plan.new_zeros(n)
        going = torch.ones(n, dtype=torch.bool, device=plan.device)
        weight = 1.0
        for action in plan.unbind(1):
            after, reward, ended = _checked(self.step(state, action), state)
            total = total + torch.where(going, weight * (reward - self.penalty * ended), 0)
            going = going & ~ended
            state = torch.where(going.reshape(n, *[1] * start.ndim), after, state)
            weight *= self.discount
        return total


def _check(discount: float, penalty: float) -> None:
    if not 0 < discount <= 1 or not math.isfinite(penalty):
        raise InputError(f"discount={discount}, penalty={penalty}: give a discount in (0, 1] and a finite penalty.")


def _actions(actions: Callable[[Any], Any] | None, plans: Any) -> Any:
    """Actions `(B, H, A)` of plans."""
    plans = plans if actions is None else actions(plans)
    if np.ndim(plans) != 3 or 0 in np.shape(plans):
        raise InputError(f"The actions of the plans have shape {tuple(np.shape(plans))}: give (B, H, A).")
    return plans


def _checked(out: tuple[Tensor, ...], state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The next states, rewards and ends of one step of a model."""
    if not isinstance(out, tuple | list) or len(out) not in (2, 3):
        raise InputError("The model of the world has to return (next states, rewards) or these and the ends.")
    after, reward, *rest = out
    ended = rest[0] if rest else torch.zeros_like(reward, dtype=torch.bool)
    if after.shape != state.shape or not reward.shape == ended.shape == state.shape[:1]:
        shapes = [tuple(v.shape) for v in (after, reward, ended)]
        raise InputError(f"The model of the world returned shapes {shapes} for states {tuple(state.shape)}.")
    if ended.dtype != torch.bool:
        raise InputError(f"The model of the world returned ends of {ended.dtype}: give booleans.")
    return after, reward, ended
