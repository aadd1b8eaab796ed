"""Helpers for rewards, which are any callables on a batch of decoded objects."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

__all__ = ["per_sample"]


def per_sample(f: Callable[[Any], Any]) -> Callable[[Any], list[Any]]:
    """Turn a function of one object into a reward of a batch.

    An exception fails the object that caused it and no other.

        @per_sample
        def redness(image):
            return image[0].mean() - image[1:].mean()
    """

    @functools.wraps(f)
    def reward(objects: Any) -> list[Any]:
        return [_try(f, obj) for obj in objects]

    return reward


def _try(f: Callable[[Any], Any], obj: Any) -> Any:
    try:
        return f(obj)
    except (Exception, SystemExit) as error:  # a user's code may raise anything
        return error
