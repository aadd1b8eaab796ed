"""Searches over noise."""

from .asktell import AskTell
from .cma import CMA
from .elites import Elites, Geometric, Restart, Steady
from .evolve import Evolve
from .guards import Anywhere, Typical
from .quality import QualityDiversity
from .pcn import PCN
from .random import RandomSearch
from .refit import Diagonal, LowRank, Natural, Shell
from .zero_order import ZeroOrder

__all__ = [
    "CMA",
    "PCN",
    "Anywhere",
    "AskTell",
    "Diagonal",
    "Elites",
    "Evolve",
    "Geometric",
    "LowRank",
    "Natural",
    "QualityDiversity",
    "RandomSearch",
    "Restart",
    "Shell",
    "Steady",
    "Typical",
    "ZeroOrder",
]
