"""Rewards made of a function of one object."""

from __future__ import annotations

import functools
import inspect
import operator
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from ..answers import gather, name_of
from ..types import InputError

__all__ = ["PerSample", "dress", "goes_by_its_name", "is_async", "per_sample"]


@dataclass(frozen=True, eq=False, repr=False)
class PerSample:
    """A function of one object as a reward of a batch, which answers object by object; made by `per_sample`.

    It has the name and the docstring of the function, and can be pickled where the function or the reward can be
    imported under that name.
    """

    f: Callable[[Any], Any]

    def __post_init__(self) -> None:
        if is_async(self.f):
            raise InputError(f"{name_of(self.f)} is an async function: use concurrent() instead of per_sample.")
        dress(self, self.f)

    def __repr__(self) -> str:
        return f"per_sample({name_of(self.f)})"

    def __reduce__(self) -> str | tuple[Any, ...]:
        return vars(self)["__qualname__"] if goes_by_its_name(self) else (PerSample, (self.f,))

    @property
    def width(self) -> int:
        """It works in the thread that asks."""
        return 0

    def __call__(self, objects: Any) -> list[Any]:
        """The answers about all objects, an exception in the place of each that failed."""
        return gather(self.each(objects), len(objects))

    def each(self, objects: Any) -> Iterator[tuple[int, Any]]:
        """(Position, answer) one at a time."""
        for i, obj in enumerate(objects):
            try:
                answer = self.f(obj)
            except (Exception, SystemExit) as error:  # a user's code may raise anything
                answer = error
            yield i, answer


def per_sample(f: Callable[[Any], Any]) -> PerSample:
    """Turn a function of one object into a reward of a batch.

    An exception fails the object that caused it and no other. Each answer is written down as it comes.

        @per_sample
        def redness(image):
            return image[0].mean() - image[1:].mean()

    Raises:
        InputError: if the function is async; `concurrent` is for those.
    """
    return PerSample(f)


def is_async(f: Any) -> bool:
    """Whether a call of f has to be awaited."""
    return inspect.iscoroutinefunction(f) or inspect.iscoroutinefunction(getattr(f, "__call__", None))  # noqa: B004


def dress(reward: Any, f: Callable[..., Any]) -> None:
    """Give a frozen reward the name, the docstring and the attributes of a function, beside its own."""
    worn: Any = SimpleNamespace()  # a frozen reward refuses what update_wrapper does
    vars(reward).update({**vars(functools.update_wrapper(worn, f)), **vars(reward)})


def goes_by_its_name(reward: Any) -> bool:
    """Whether an import under the name of the function gives the reward, as it does where it was a decorator."""
    try:
        return operator.attrgetter(vars(reward)["__qualname__"])(sys.modules[reward.__module__]) is reward
    except (AttributeError, KeyError):
        return False
