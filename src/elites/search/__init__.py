"""Searches over noise."""

from .elites import Elites, Restart
from .guards import Anywhere, Typical
from .random import RandomSearch
from .refit import Diagonal, LowRank, Natural, Shell
from .zero_order import ZeroOrder

__all__ = [
    "Anywhere",
    "Diagonal",
    "Elites",
    "LowRank",
    "Natural",
    "RandomSearch",
    "Restart",
    "Shell",
    "Typical",
    "ZeroOrder",
]
