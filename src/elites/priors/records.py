"""What a pipeline's methods returned for one object, replayed for many."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import Tensor

__all__ = ["Records", "rows"]


def rows(value: Any, n: int) -> Any:
    """Records of one object for n; what has no rows, such as positions, as it is.

    With guidance an object has two rows, or three where an image guides it too. A list of one matrix is one prompt
    whose length the network is not told.
    """
    if isinstance(value, Tensor):
        if value.ndim and len(value) == 1:
            return value.expand(n, *value.shape[1:])
        many = value.ndim > 0 and (len(value) == 2 or (len(value) == 3 and value.ndim > 2))
        return value.repeat_interleave(n, 0) if many else value
    if isinstance(value, Mapping):
        known = {k: rows(v, n) for k, v in value.items()}
        return type(value)(**known) if hasattr(value, "to_tuple") else known  # an output class of diffusers
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], Tensor) and value[0].ndim == 2:
        return value * n if len(value[0]) > 2 else [rows(value[0], n)]
    if isinstance(value, list | tuple):
        return type(value)(rows(v, n) for v in value)
    return value


class Records:
    """Results of methods, in the order of their calls.

    Attributes:
        kept: name of a method to what it returned.
    """

    def __init__(self) -> None:
        self.kept: dict[str, list[Any]] = {}
        self._known: dict[int, dict[str, list[Any]]] = {}
        self._inside = False

    def listen(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        """The method, its results kept; what it calls itself is part of its own result."""

        def call(*args: Any, **kwargs: Any) -> Any:
            if self._inside:
                return method(*args, **kwargs)
            self._inside = True
            try:
                out = method(*args, **kwargs)
            finally:
                self._inside = False
            self.kept.setdefault(name, []).append(out)
            return out

        return call

    def replay(self, pipe: Any, n: int) -> dict[str, Callable[..., Any]]:
        """Functions that return the results for n objects; the methods of the pipeline where nothing is left."""
        if n not in self._known:
            self._known[n] = {name: [rows(v, n) for v in values] for name, values in self.kept.items()}
        return {name: _next(iter(values), getattr(pipe, name)) for name, values in self._known[n].items()}


def _next(values: Iterator[Any], method: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        for value in values:
            return value
        return method(*args, **kwargs)  # called more often than before the loop

    return call
