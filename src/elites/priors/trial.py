"""A first step of an opened pipeline, before anybody relies on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..types import InputError
from .components import listening

if TYPE_CHECKING:
    from .opened import Opened

__all__ = ["trial"]


def trial(opened: Opened) -> tuple[dict[str, Any], int]:
    """Which networks a step calls, with what they return for one object; and the most rows that one of them sees.

    Raises:
        InputError: if there is no network to be seen, or two equal objects are not predicted as the one is.
    """
    seen: dict[str, int] = {}
    returned: dict[str, Any] = {}
    x, time = opened.start.latents, opened.start.timesteps[0]

    def count(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
        first = next((v for v in [*args, *kwargs.values()] if _batched(v)), None)
        if first is None:
            raise InputError(f"{opened.name} calls pipe.{name} with no tensor: it cannot be opened.")
        seen[name] = seen.get(name, 0) + len(first)
        returned[name] = out

    # a compiled network would be compiled for these rows
    with torch.no_grad(), torch.compiler.set_stance("force_eager"):
        with listening(opened.pipe, count):
            one = opened.predict(x, time)
        if not seen:
            raise InputError(f"{opened.name} calls no network of its own: it cannot be opened.")
        _try_two(opened, x, time, one)
    return returned, max(seen.values())


def _try_two(opened: Opened, x: Tensor, time: Tensor, one: Tensor) -> None:
    try:
        two = opened.predict(x.expand(2, *x.shape[1:]), time)
    except torch.OutOfMemoryError:
        return  # a target with batch=1 will do
    except InputError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0].rstrip(".")
        raise InputError(
            f"{opened.name} makes no two objects in one call ({reason}): use OneStep with a function of your own."
        ) from error
    bound = 0.05 if one.dtype in (torch.float16, torch.bfloat16) else 1e-3
    if bool((two - one).float().norm() > bound * two.float().norm()):
        raise InputError(f"{opened.name} predicts equal rows differently: use OneStep with a function of your own.")


def _batched(value: Any) -> bool:
    """Whether this is what a network takes rows of: a tensor, or a list of them."""
    if isinstance(value, list):
        return bool(value) and all(isinstance(v, Tensor) for v in value)
    return isinstance(value, Tensor) and value.ndim > 1
