"""One thing for several users, none of whom sees what another does to it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

__all__ = ["Copies"]


class Copies:
    """What `make` makes, made when it is first asked for; made anew where it cannot be copied."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._made: list[Any] = []

    def __call__(self) -> Any:
        """A copy."""
        if not self._made:
            self._made.append(self._make())
        try:
            return copy.deepcopy(self._made[0])
        except Exception:  # objects of a user may raise anything
            return self._make()
